//! Events ahead of their tag, and clocks that disagree: how long what is not there yet is looked for.

use std::sync::Arc;
use std::time::Duration;

use transship_copy::Clock;
use transship_engine::{Next, TaskState};
use transship_oci::Digest;
use transship_testkit::clock::ManualClock;
use transship_testkit::images;

use crate::house::House;

#[tokio::test]
async fn an_event_that_is_ahead_of_its_tag_is_waited_for() {
    let house = House::new().await;
    let (old, new) = (images::image(200, &[100]), images::image(201, &[200]));
    // Told before anything is there, and before the tag names the new image.
    for sample in [&old, &new] {
        house.tell(&house.event("v1", &sample.root)).await;
        let before = house.arrived();
        let Next::Again(wait) = house.attempt().await else {
            panic!("the event was taken for a mistake")
        };
        assert!(wait < Duration::from_secs(3), "{wait:?}");
        assert_eq!(house.arrived(), before);
        house.push(sample);
        house.clock.advance(wait);
        assert_eq!(house.attempt().await, Next::Done);
        house.assert_equal(sample);
    }
    assert_eq!(house.states().await, ["succeeded", "succeeded"]);
}

#[tokio::test]
async fn an_event_that_never_comes_true_is_a_hint_to_look() {
    let house = House::new().await;
    let sample = images::image(202, &[100]);
    house.push(&sample);
    house.tell(&house.event("v1", &Digest::sha256(b"never pushed"))).await;
    assert!(matches!(house.attempt().await, Next::Again(_)));
    assert_eq!(house.task().await.code.as_deref(), Some("SOURCE_NOT_SETTLED"));
    house.drain().await;
    house.assert_equal(&sample);
}

#[tokio::test]
async fn a_webhook_whose_clock_is_minutes_behind_does_not_make_an_event_old() {
    let house = House::new().await;
    let sample = images::image(203, &[100]);
    house.tell(&house.event("v1", &sample.root)).await;
    house.clock.advance(Duration::from_mins(5));
    assert!(matches!(house.attempt().await, Next::Again(_)));
    house.push(&sample);
    house.clock.advance(Duration::from_mins(1));
    assert_eq!(house.attempt().await, Next::Done);
    house.assert_equal(&sample);
}

#[tokio::test]
async fn a_webhook_whose_clock_is_minutes_ahead_does_not_keep_an_event_young() {
    let mut house = House::new().await;
    let sample = images::image(204, &[100]);
    house.push(&sample);
    let ahead = ManualClock::new(house.clock.now() + Duration::from_mins(5));
    house.intake.clock = Arc::new(ahead);
    house.tell(&house.event("v1", &Digest::sha256(b"never pushed"))).await;
    while let Next::Again(wait) = house.attempt().await {
        house.clock.advance(wait);
    }
    house.assert_equal(&sample);
    assert!(house.task().await.attempts < 20, "{:?}", house.task().await);
}

#[tokio::test]
async fn a_tag_that_is_not_there_is_looked_for_a_few_times() {
    let house = House::new().await;
    house.tell(&house.event("v1", &Digest::sha256(b"gone"))).await;
    house.clock.advance(Duration::from_hours(1));
    house.drain().await;
    let task = house.task().await;
    assert_eq!(
        (task.state, task.attempts, task.code.as_deref()),
        (TaskState::Failed, 4, Some("SOURCE_NOT_FOUND"))
    );
}
