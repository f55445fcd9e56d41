//! A rule whose pushes only the sweep finds is reported, and no other.

use std::time::Duration;

use jiff::Timestamp;
use transship_copy::Clock as _;
use transship_engine::ledger::{Silence, last_delivery};
use transship_testkit::images;
use transship_testkit::metrics::Metrics;

use crate::fixture::{Fixture, RULE, document};
use crate::sweep::sweep;

/// The pushes that the sweep after the next hour reports.
async fn reported(fixture: &Fixture) -> i64 {
    let metrics = Metrics::default();
    let _guard = metrics.record();
    fixture.clock.advance(Duration::from_hours(1));
    sweep(fixture).await;
    metrics.take("PushesNotAnnounced")
}

/// What the ledger knows of the rule.
async fn silence(fixture: &Fixture) -> Silence {
    let snapshot = fixture.configuration.current();
    let rule = snapshot.document.rule("core-images").unwrap();
    let now = Timestamp::try_from(fixture.clock.now()).unwrap();
    let silences = &fixture.jobs.ledger.silences;
    silences.of(&rule.name, &snapshot.fingerprint(rule), now).await.unwrap()
}

#[tokio::test]
async fn pushes_that_no_delivery_announces_are_reported_from_the_second_sweep_until_one_does() {
    let fixture = Fixture::new().await;
    assert_eq!(reported(&fixture).await, 0);
    let mark = silence(&fixture).await.whole;
    fixture.push(&images::image(1, &[100]));
    assert_eq!(reported(&fixture).await, 0, "its delivery may be on its way");
    assert_eq!(
        (silence(&fixture).await.all(), silence(&fixture).await.since),
        (1, mark)
    );
    assert_eq!(reported(&fixture).await, 1);
    fixture.push(&images::image(2, &[100]));
    assert_eq!(reported(&fixture).await, 1);
    assert_eq!(reported(&fixture).await, 2);
    let history = fixture.ledger.as_ref();
    assert_eq!(last_delivery(history, "core-images", None).await.unwrap(), None);

    fixture.push_and_tell(&images::image(3, &[100])).await;
    fixture.drain().await;
    assert!(last_delivery(history, "core-images", mark).await.unwrap() > mark);
    assert_eq!(reported(&fixture).await, 0);
    assert_eq!(silence(&fixture).await.all(), 0);
}

#[tokio::test]
async fn what_was_there_before_the_rule_is_no_push_that_was_missed() {
    let fixture = Fixture::new().await;
    fixture.push(&images::image(1, &[100]));
    for _ in 0..3 {
        assert_eq!(reported(&fixture).await, 0);
    }
    // Another rule of the same name may select what was there before.
    fixture.configuration.replace(document(
        &fixture.a,
        &fixture.b,
        &RULE.replace("namespace: copy", "namespace: other"),
    ));
    for _ in 0..3 {
        assert_eq!(reported(&fixture).await, 0);
    }
}

#[tokio::test]
async fn a_delivery_that_is_late_ends_the_silence_before_it_is_reported() {
    let fixture = Fixture::new().await;
    assert_eq!(reported(&fixture).await, 0);
    let image = images::image(1, &[100]);
    fixture.push(&image);
    assert_eq!(reported(&fixture).await, 0);
    fixture.tell(&fixture.event("v1", &image.root)).await;
    fixture.drain().await;
    assert_eq!(reported(&fixture).await, 0);
    assert_eq!(silence(&fixture).await.all(), 0);
}

#[tokio::test]
async fn an_image_that_was_removed_at_the_destination_is_no_push() {
    let fixture = Fixture::new().await;
    let image = images::image(1, &[100]);
    fixture.push_and_tell(&image).await;
    fixture.drain().await;
    assert_eq!(reported(&fixture).await, 0);
    fixture.b.forget(&fixture.to(), &image.root);
    for _ in 0..3 {
        assert_eq!(reported(&fixture).await, 0);
    }
    fixture.assert_equal(&image);
}
