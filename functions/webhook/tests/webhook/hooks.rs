//! Requests to the function's URL.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;
use transship_testkit::lambda_runtime::{Ended, events};
use transship_testkit::signing::hmac_sha256;

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

#[tokio::test]
async fn a_signature_covers_the_bytes_of_a_body_in_both_encodings() {
    let fixture = Fixture::start().await;
    let body = include_str!("../../../../events/ghcr-push.json");
    let signature = format!("sha256={}", hmac_sha256(SECRET, body.as_bytes()));
    let headers = |signature| {
        [
            ("X-GitHub-Event", "package"),
            ("X-GitHub-Delivery", "d-1"),
            ("X-Hub-Signature-256", signature),
        ]
    };
    let right = headers(signature.as_str());
    let plain = fixture.post_with("/hooks/ghcr", &right, body, false).await;
    assert_eq!((plain.status, &plain.body["accepted"]), (202, &json!(1)), "{plain:?}");
    let encoded = BASE64_STANDARD.encode(body);
    let encoded = fixture.post_with("/hooks/ghcr", &right, &encoded, true).await;
    assert_eq!(
        (encoded.status, &encoded.body),
        (202, &plain.body),
        "the same delivery makes the same tasks"
    );
    let changed = fixture
        .post_with("/hooks/ghcr", &right, &format!("{body} "), false)
        .await;
    assert_eq!(changed.status, 401, "{changed:?}");
    let unsigned = fixture.post_with("/hooks/ghcr", &[], body, false).await;
    assert_eq!(unsigned.status, 401, "{unsigned:?}");
}

#[tokio::test]
async fn event_grid_is_answered_with_its_code_if_the_url_has_the_secret() {
    let fixture = Fixture::start().await;
    let body = include_str!("../../../../events/azure-eventgrid-validation.json");
    let path = format!("/hooks/grid/{}", SECRET.replace(' ', "%20"));
    let answer = fixture.post_with(&path, &[], body, false).await;
    assert_eq!(
        (answer.status, &answer.body["validationResponse"]),
        (200, &json!("5f0b7c62-6d6e-4d10-8a0c-2d7a4c9b1e34")),
        "{answer:?}"
    );
    let refused = fixture.post_with("/hooks/grid/wrong", &[], body, false).await;
    assert_eq!(refused.status, 401, "{refused:?}");
}
