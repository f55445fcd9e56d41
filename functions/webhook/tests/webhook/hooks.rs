//! Requests to the function's URL.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;
use transship_testkit::lambda_runtime::{Ended, events};

use crate::fixture::{Fixture, SECRET, push};

#[tokio::test]
async fn a_delivery_is_accepted_when_its_tasks_are_in_the_queue() {
    let fixture = Fixture::start().await;
    let plain = fixture.deliver(&push("v1")).await;
    assert_eq!((plain.status, &plain.body["accepted"]), (202, &json!(1)), "{plain:?}");
    let encoded = BASE64_STANDARD.encode(push("v2"));
    let encoded = fixture.post("/hooks/hub", SECRET, &encoded, true).await;
    assert_eq!(encoded.status, 202, "{encoded:?}");
    let mut sent = fixture.sent().await;
    sent.sort_by_key(|task| task.source.to_string());
    let sources: Vec<String> = sent.iter().map(|task| task.source.to_string()).collect();
    assert_eq!(sources, ["hub/core/app:v1", "hub/core/app:v2"]);
    assert_eq!(plain.body["executions"], json!([sent[0].execution.id]));
    let log = fixture.lambda.log();
    assert!(log.contains("accepted a delivery") && !log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_delivery_that_cannot_be_made_durable_is_to_be_sent_again() {
    let fixture = Fixture::start().await;
    let queue = fixture.deployment.queue_url();
    fixture.deployment.queue_remove(queue).await.unwrap();
    let answer = fixture.deliver(&push("v1")).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (503, &json!("UNAVAILABLE")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_ledger_that_is_missing_costs_no_delivery() {
    let fixture = Fixture::start().await;
    fixture.deployment.table_remove().await.unwrap();
    assert_eq!(fixture.deliver(&push("v1")).await.status, 202);
    assert_eq!(fixture.sent().await.len(), 1);
}

#[tokio::test]
async fn every_refusal_has_its_status() {
    let fixture = Fixture::start().await;
    let large = "x".repeat(1024 * 1024 + 1);
    for (path, secret, body, status, code) in [
        ("/hooks/hub", "Bearer wrong", push("v1").as_str(), 401, "NOT_AUTHENTIC"),
        ("/hooks/missing", SECRET, push("v1").as_str(), 404, "UNKNOWN_SOURCE"),
        ("/elsewhere", SECRET, "", 404, "NOT_FOUND"),
        ("/hooks/hub", SECRET, large.as_str(), 413, "DELIVERY_TOO_LARGE"),
        ("/hooks/hub", SECRET, "no JSON", 400, "DELIVERY_INVALID"),
    ] {
        let answer = fixture.post(path, secret, body, false).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{path}");
    }
    let nothing = fixture.deliver(r#"{"events":[]}"#).await;
    assert_eq!((nothing.status, &nothing.body["accepted"]), (200, &json!(0)));
    assert!(fixture.sent().await.is_empty());
    let get = events::function_url("GET", "/healthz", &[], "", false);
    let Ended::Answered(health) = fixture.invoke(&get).await else {
        panic!("{}", fixture.lambda.log());
    };
    assert_eq!(health["statusCode"], 200);
}

#[tokio::test]
async fn without_a_document_a_delivery_is_to_be_sent_again() {
    let fixture = Fixture::without_document().await;
    let answer = fixture.deliver(&push("v1")).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (503, &json!("CONFIG_UNAVAILABLE")),
        "{answer:?}"
    );
    assert!(!answer.body.to_string().contains("s3://"), "{answer:?}");

    fixture.deployment.document_put("version: 1\nrules: 7\n").await.unwrap();
    assert_eq!(fixture.deliver(&push("v1")).await.status, 503);

    let whole = Fixture::start().await;
    assert_eq!(whole.deliver(&push("v1")).await.status, 202);
}
