//! Events ahead of their tag, and clocks that disagree: how long what is not there yet is looked for.

use std::sync::Arc;
use std::time::Duration;

use transship_copy::Clock;
use transship_engine::{Next, TaskState};
use transship_oci::Digest;
use transship_testkit::clock::ManualClock;
use transship_testkit::images;

use crate::fixture::Fixture;

#[tokio::test]
async fn an_event_that_is_ahead_of_its_tag_is_waited_for() {
    let fixture = Fixture::new().await;
    let (old, new) = (images::image(200, &[100]), images::image(201, &[200]));
    // Told before anything is there, and before the tag names the new image.
    for sample in [&old, &new] {
        fixture.tell(&fixture.event("v1", &sample.root)).await;
        let before = fixture.arrived();
        let Next::Again(wait) = fixture.attempt().await else {
            panic!("the event was taken for a mistake")
        };
        assert!(wait < Duration::from_secs(3), "{wait:?}");
        assert_eq!(fixture.arrived(), before);
        fixture.push(sample);
        fixture.clock.advance(wait);
        assert_eq!(fixture.attempt().await, Next::Done);
        fixture.assert_equal(sample);
    }
    assert_eq!(fixture.states().await, ["succeeded", "succeeded"]);
}

#[tokio::test]
async fn an_event_that_never_comes_true_is_a_hint_to_look() {
    let fixture = Fixture::new().await;
    let sample = images::image(202, &[100]);
    fixture.push(&sample);
    fixture
        .tell(&fixture.event("v1", &Digest::sha256(b"never pushed")))
        .await;
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    assert_eq!(fixture.task().await.code.as_deref(), Some("SOURCE_NOT_SETTLED"));
    fixture.drain().await;
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn a_webhook_whose_clock_is_minutes_behind_does_not_make_an_event_old() {
    let fixture = Fixture::new().await;
    let sample = images::image(203, &[100]);
    fixture.tell(&fixture.event("v1", &sample.root)).await;
    fixture.clock.advance(Duration::from_mins(5));
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    fixture.push(&sample);
    fixture.clock.advance(Duration::from_mins(1));
    assert_eq!(fixture.attempt().await, Next::Done);
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn a_webhook_whose_clock_is_minutes_ahead_does_not_keep_an_event_young() {
    let mut fixture = Fixture::new().await;
    let sample = images::image(204, &[100]);
    fixture.push(&sample);
    let ahead = ManualClock::new(fixture.clock.now() + Duration::from_mins(5));
    fixture.intake.clock = Arc::new(ahead);
    fixture
        .tell(&fixture.event("v1", &Digest::sha256(b"never pushed")))
        .await;
    while let Next::Again(wait) = fixture.attempt().await {
        fixture.clock.advance(wait);
    }
    fixture.assert_equal(&sample);
    assert!(fixture.task().await.attempts < 20, "{:?}", fixture.task().await);
}

#[tokio::test]
async fn a_tag_that_is_not_there_is_looked_for_a_few_times() {
    let fixture = Fixture::new().await;
    fixture.tell(&fixture.event("v1", &Digest::sha256(b"gone"))).await;
    fixture.clock.advance(Duration::from_hours(1));
    fixture.drain().await;
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.attempts, task.code.as_deref()),
        (TaskState::Failed, 4, Some("SOURCE_NOT_FOUND"))
    );
}
