//! Events of S3 and `EventBridge` for uploads.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use transship_engine::Envelope;
use transship_engine::ledger::{PendingBlobs, PendingScan};
use transship_oci::Digest;
use transship_testkit::suites;

use crate::fixture::{Fixture, eventbridge, notification};

#[tokio::test]
async fn an_index_that_was_uploaded_is_looked_at() {
    let fixture = Fixture::start().await;
    let from_s3 = json!({ "Records": [notification("to+b%2B%C3%BC/app/index.json")] });
    assert_eq!(fixture.answer(&from_s3).await, json!({ "looks": 1 }));
    assert_eq!(
        fixture.answer(&eventbridge("to b+ü/web.tar")).await,
        json!({ "looks": 1 })
    );
    assert_eq!(fixture.looked_at().await, ["to b+ü/app/", "to b+ü/web.tar"]);
    assert_eq!((fixture.metric("Uploads"), fixture.metric("Looks")), (2.0, 2.0));
    assert_eq!(fixture.lambda.starts().len(), 1);
}

#[tokio::test]
async fn what_no_import_holds_and_test_events_are_nothing() {
    let fixture = Fixture::start().await;
    let test = json!({
        "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-01-02T03:04:05.678Z", "Bucket": "layouts",
        "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
    });
    for event in [
        test,
        eventbridge("elsewhere/app/index.json"),
        eventbridge("to b+ü/notes.txt"),
    ] {
        assert_eq!(fixture.answer(&event).await, json!({ "looks": 0 }), "{event}");
    }
    assert!(fixture.sent().await.is_empty());
}

#[tokio::test]
async fn a_blob_is_looked_for_only_if_somebody_waits_for_it() {
    let fixture = Fixture::start().await;
    let blob = Digest::sha256(b"layer");
    let key = format!("to b+ü/app/blobs/sha256/{}", blob.hex());
    assert_eq!(fixture.answer(&eventbridge(&key)).await, json!({ "looks": 0 }));
    let now = Timestamp::now();
    let waiting = PendingScan {
        id: "l-1".to_owned(),
        job: Envelope::new(suites::copy_task(1)).to_json().unwrap(),
        since: now,
        blobs: 1,
    };
    let until = now + SignedDuration::from_hours(1);
    let place = "s3://layouts/to b+ü/app/";
    let pending = PendingBlobs::new(Arc::new(fixture.ledger().await));
    pending.wait_for(&waiting, place, &[blob], until).await.unwrap();
    assert_eq!(fixture.answer(&eventbridge(&key)).await, json!({ "looks": 1 }));
    assert_eq!(fixture.sent().await.len(), 1);
}

#[tokio::test]
async fn a_bad_message_fails_its_invocation_after_the_good_ones_were_taken_in() {
    let fixture = Fixture::start().await;
    let record = |body: &str| json!({ "messageId": "m", "eventSource": "aws:sqs", "body": body });
    let good = eventbridge("to b+ü/app/index.json").to_string();
    let (code, sentence) = fixture
        .refusal(&json!({ "Records": [record("no JSON"), record(&good)] }))
        .await;
    assert_eq!(code, "EVENT_INVALID", "{sentence}");
    assert_eq!(fixture.looked_at().await, ["to b+ü/app/"]);
}

#[tokio::test]
async fn an_upload_that_cannot_be_made_durable_fails_its_invocation() {
    let fixture = Fixture::start().await;
    let queue = fixture.deployment.queue_url().to_owned();
    fixture.deployment.queue_remove(&queue).await.unwrap();
    let (code, sentence) = fixture.refusal(&eventbridge("to b+ü/app/index.json")).await;
    assert_eq!(code, "QUEUE_UNAVAILABLE", "{sentence}");
}

#[tokio::test]
async fn without_a_table_blobs_fail_and_an_index_does_not() {
    let fixture = Fixture::start().await;
    fixture.deployment.table_remove().await.unwrap();
    let key = format!("to b+ü/app/blobs/sha256/{}", Digest::sha256(b"layer").hex());
    let (code, sentence) = fixture.refusal(&eventbridge(&key)).await;
    assert_eq!(code, "LEDGER_UNAVAILABLE", "{sentence}");
    assert_eq!(
        fixture.answer(&eventbridge("to b+ü/app/index.json")).await,
        json!({ "looks": 1 })
    );
}

#[tokio::test]
async fn without_a_document_an_upload_fails_its_invocation() {
    let fixture = Fixture::without_document().await;
    let (code, _) = fixture.refusal(&eventbridge("to b+ü/app/index.json")).await;
    assert_eq!(code, "CONFIG_UNAVAILABLE");
    fixture
        .deployment
        .document_put("version: 1\nimports: 7\n")
        .await
        .unwrap();
    let (code, _) = fixture.refusal(&eventbridge("to b+ü/app/index.json")).await;
    assert_ne!(code, "CONFIG_UNAVAILABLE", "the error is reported");
}
