//! Google: messages of Pub/Sub, wrapped and not.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use transship_notifications::Origin;

use crate::{digest, named, read_from, read_json};

const IMAGE: &str = "europe-docker.pkg.dev/project/core/app";

fn wrapped(data: &Value) -> Value {
    let data = BASE64_STANDARD.encode(data.to_string());
    json!({ "message": { "data": data, "messageId": "7", "publishTime": "2026-03-14T09:26:53.5Z" }, "subscription": "s" })
}

#[test]
fn a_message_names_a_tag_a_digest_or_both() {
    let (by_tag, by_digest) = (format!("{IMAGE}:v1"), format!("{IMAGE}@{}", digest('a')));
    for (data, tag, expected) in [
        (
            json!({ "action": "INSERT", "tag": by_tag, "digest": by_digest }),
            json!("v1"),
            json!(digest('a')),
        ),
        (
            json!({ "action": "INSERT", "digest": by_digest }),
            json!(null),
            json!(digest('a')),
        ),
        (json!({ "action": "INSERT", "tag": by_tag }), json!("v1"), json!(null)),
        (
            json!({ "action": "INSERT", "tag": by_tag, "digest": format!("{IMAGE}2@{}", digest('a')) }),
            json!("v1"),
            json!(null),
        ),
    ] {
        let events = read_json("google-ar", &[], &wrapped(&data));
        assert_eq!((&events[0]["tag"], &events[0]["digest"]), (&tag, &expected), "{data}");
        assert_eq!(
            (&events[0]["registry_host"], &events[0]["repository"]),
            (&json!("europe-docker.pkg.dev"), &json!("project/core/app"))
        );
        assert_eq!(
            (&events[0]["event_id"], &events[0]["time"]),
            (&json!("7"), &json!("2026-03-14T09:26:53.5Z"))
        );
    }
    let deleted = read_json(
        "google-ar",
        &[],
        &wrapped(&json!({ "action": "DELETE", "tag": by_tag })),
    );
    assert_eq!(deleted[0]["action"], "delete");
    let port = read_json("google-ar", &[], &json!({ "action": "INSERT", "tag": "h:5000/a/b:v1" }));
    assert_eq!(
        (&port[0]["registry_host"], &port[0]["tag"]),
        (&json!("h:5000"), &json!("v1"))
    );
}

#[test]
fn an_unwrapped_message_has_its_id_in_the_headers() {
    let headers = [
        ("x-goog-pubsub-message-id", "8"),
        ("x-goog-pubsub-publish-time", "2026-03-14T09:26:53Z"),
    ];
    let events = read_json(
        "google-ar",
        &headers,
        &json!({ "action": "INSERT", "tag": format!("{IMAGE}:v1") }),
    );
    assert_eq!(
        (&events[0]["event_id"], &events[0]["time"]),
        (&json!("8"), &json!("2026-03-14T09:26:53Z"))
    );
}

#[test]
fn a_message_that_is_not_an_event_is_refused_or_of_no_interest() {
    for body in [
        json!({ "message": { "messageId": "1" } }),
        json!({ "message": { "data": "%%" } }),
        json!({ "message": { "data": BASE64_STANDARD.encode("text") } }),
        wrapped(&json!({})),
        wrapped(&json!([])),
        json!({ "subscription": "s" }),
    ] {
        let error = read_from(named("google-ar"), &body.to_string(), &Origin::default()).unwrap_err();
        assert_eq!(error.code(), "DELIVERY_INVALID", "{body}");
    }
    for data in [
        json!({ "action": "UPDATE", "tag": format!("{IMAGE}:v1") }),
        json!({ "action": "INSERT" }),
        json!({ "action": "INSERT", "tag": "no-host" }),
        json!({ "action": "INSERT", "tag": format!("{IMAGE}:") }),
    ] {
        assert!(read_json("google-ar", &[], &wrapped(&data)).is_empty(), "{data}");
    }
}
