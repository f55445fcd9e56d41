//! Several messages of one task: they take turns, none is lost, and none makes the others wait longer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use transship_copy::{NoProgress, TimeBudget};
use transship_embedded_registry::faults::Action;
use transship_engine::{Envelope, Next};
use transship_testkit::images;

use crate::fixture::Fixture;
use crate::replicate::always;

#[tokio::test]
async fn of_two_messages_of_one_task_one_goes_on_at_a_time_and_none_is_lost() {
    let fixture = Fixture::new().await;
    let sample = images::image(206, &[100]);
    fixture.push_and_tell(&sample).await;
    let task = Envelope::new(fixture.queued().await.remove(0));
    let length = Duration::from_mins(1);
    let slot = Some(TimeBudget::until(Instant::now() + length, length));
    fixture
        .b
        .set_faults(Some(always("HEAD", "/manifests/v1", Action::status(503))));
    let failed = fixture.jobs.run(&task, Arc::new(NoProgress), slot).await.unwrap();
    assert!(matches!(failed, Next::Again(_)));
    fixture.b.set_faults(None);

    // The second attempt never ends.
    let (worker, same) = (Arc::clone(&fixture.jobs), task.clone());
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    fixture.ledger.before(move |call, _| {
        let first = (call == "locations_get").then(|| tell.lock().unwrap().take()).flatten();
        Box::pin(async move {
            if let Some(first) = first {
                first.send(()).ok();
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    });
    let stopped = tokio::spawn(async move { worker.run(&same, Arc::new(NoProgress), slot).await });
    told.await.unwrap();

    let other = fixture.other_worker();
    let before = fixture.b.requests().len();
    for _ in 0..2 {
        let Next::Again(wait) = other.run(&task, Arc::new(NoProgress), slot).await.unwrap() else {
            panic!("the message is lost")
        };
        assert!(wait > Duration::from_secs(1) && wait <= length, "{wait:?}");
    }
    assert_eq!(fixture.b.requests().len(), before, "it met the other one");
    stopped.abort();
    stopped.await.unwrap_err();
    fixture.clock.advance(length);
    let ended = other.run(&task, Arc::new(NoProgress), slot).await.unwrap();
    assert_eq!(ended, Next::Done);
    fixture.assert_equal(&sample);
    let turn = format!("task {}", task.job.task().unwrap().id);
    assert!(fixture.take_lease(&turn, length).await, "a turn is left");
}

#[tokio::test]
async fn messages_of_one_task_do_not_make_the_waits_of_each_other_longer() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(207, &[100])).await;
    fixture
        .b
        .set_faults(Some(always("POST", "/uploads/", Action::status(503))));
    let task = Envelope::new(fixture.queued().await.remove(0));
    let length = Duration::from_mins(1);
    for _ in 0..6 {
        let slot = Some(TimeBudget::until(Instant::now() + length, length));
        let again = fixture.jobs.run(&task, Arc::new(NoProgress), slot).await.unwrap();
        let Next::Again(wait) = again else { panic!("{again:?}") };
        assert!(wait < Duration::from_secs(2), "{wait:?}");
    }
    assert_eq!(fixture.task().await.attempts, 6);
}
