//! Ownership of tags: a tag that Transship wrote is replaced, even if the worker that wrote it crashed; another one is kept.

use std::sync::Arc;
use std::time::Duration;

use transship_engine::{Next, TaskState};
use transship_testkit::images;

use crate::fixture::{Fixture, copy, name, tag};

#[tokio::test]
async fn a_tag_that_is_not_ours_is_kept_and_said_so() {
    let fixture = Fixture::new().await;
    let foreign = images::image(8, &[10]);
    foreign.seed_into(&fixture.b, &name("copy/app"), &tag("v1"));
    fixture.push_and_tell(&images::image(9, &[100])).await;
    fixture.drain().await;
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Kept, Some("DESTINATION_KEPT"))
    );
    assert_eq!(task.digest, Some(foreign.root.clone()));
    assert_eq!(fixture.arrived(), Some(foreign.root));
}

#[tokio::test]
async fn a_tag_we_wrote_is_replaced_until_somebody_else_writes_it() {
    let fixture = Fixture::new().await;
    for seed in 10..13 {
        let sample = images::image(seed, &[100]);
        fixture.push_and_tell(&sample).await;
        fixture.drain().await;
        fixture.assert_equal(&sample);
    }
    let foreign = images::image(13, &[10]);
    foreign.seed_into(&fixture.b, &name("copy/app"), &tag("v1"));
    fixture.push_and_tell(&images::image(14, &[100])).await;
    fixture.drain().await;
    assert_eq!(fixture.arrived(), Some(foreign.root));
    assert_eq!(fixture.states().await, ["succeeded", "succeeded", "succeeded", "kept"]);
}

#[tokio::test]
async fn a_worker_that_dies_after_the_tag_and_before_the_record_keeps_what_it_wrote() {
    let fixture = Fixture::new().await;
    let (first, second, third) = (
        images::image(15, &[100]),
        images::image(16, &[200]),
        images::image(17, &[300]),
    );
    fixture.push_and_tell(&first).await;
    fixture.drain().await;

    // What is written is recorded in two steps, and the ledger dies before the second.
    fixture.ledger.fail(|call, _| call == "finish");
    fixture.push_and_tell(&second).await;
    let task = fixture.queued().await.remove(0);
    assert!(copy(&fixture.jobs, &task).await.is_err());
    assert_eq!(fixture.arrived(), Some(second.root.clone()), "the tag was written");
    fixture.ledger.heal();

    fixture.push(&third);
    fixture.drain().await;
    fixture.assert_equal(&third);
    assert_eq!(fixture.states().await, ["succeeded", "succeeded"]);
}

#[tokio::test]
async fn a_worker_that_vanishes_at_the_tag_keeps_what_it_wrote() {
    let fixture = Fixture::new().await;
    let (first, second) = (images::image(18, &[100]), images::image(19, &[200]));
    fixture.push_and_tell(&first).await;
    let task = fixture.queued().await.remove(0);
    // It is dropped after the tag and before the record.
    let (worker, b) = (Arc::clone(&fixture.jobs), Arc::clone(&fixture.b));
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    fixture.ledger.before(move |call, _| {
        let is_last = call == "finish";
        if is_last && let Some(tell) = tell.lock().unwrap().take() {
            tell.send(()).ok();
        }
        Box::pin(async move {
            if is_last {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    });
    let attempt = tokio::spawn(async move { copy(&worker, &task).await });
    told.await.unwrap();
    attempt.abort();
    attempt.await.unwrap_err();
    fixture.ledger.heal();
    assert_eq!(b.digest(&name("copy/app"), &tag("v1")), Some(first.root.clone()));
    assert_eq!(fixture.task().await.state, TaskState::Running);

    fixture.push(&second);
    // Its lease is still held and expires by itself.
    fixture.clock.advance(Duration::from_mins(1));
    fixture.drain().await;
    fixture.assert_equal(&second);
    assert_eq!(fixture.task().await.state, TaskState::Succeeded);
    // The tag is ahead of the event, which takes some looks.
    assert!(fixture.task().await.attempts >= 2);
}

#[tokio::test]
async fn a_memory_of_tags_that_fails_stops_the_write() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(24, &[100])).await;
    fixture.ledger.fail(|call, _| call == "claim");
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    assert_eq!(
        fixture.arrived(),
        None,
        "nothing is written that could not be found again"
    );
    assert_eq!(fixture.task().await.code.as_deref(), Some("LEDGER_UNAVAILABLE"));
}
