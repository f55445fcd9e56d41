//! Azure: webhooks of the registry, and Event Grid in both schemas.

use serde_json::{Value, json};
use transship_notifications::{Delivery, handshake};

use crate::{digest, headers_of, named, read_json, with};

fn webhook(changes: Value) -> Value {
    let body = json!({
        "id": "1", "timestamp": "2026-03-14T09:26:53Z", "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest('a'), "repository": "core/app", "tag": "v1",
        },
        "request": { "id": "2", "host": "core.azurecr.io", "method": "PUT" },
    });
    with(body, changes)
}

#[test]
fn a_push_needs_neither_type_nor_time() {
    let body = json!({
        "action": "push", "target": { "digest": digest('a'), "repository": "core/app", "tag": "" },
        "request": { "host": "core.azurecr.io" },
    });
    let events = read_json("azure-acr", &[], &body);
    assert_eq!(
        (&events[0]["digest"], &events[0]["tag"]),
        (&json!(digest('a')), &Value::Null)
    );
    assert_eq!(events[0]["kind"], "unknown");
}

#[test]
fn only_pushes_and_deletes_of_manifests_are_of_interest() {
    for action in ["chart_push", "chart_delete", "quarantine", "ping", "PUSH"] {
        let events = read_json("azure-acr", &[], &webhook(json!({ "action": action })));
        assert!(events.is_empty(), "{action}");
    }
    let delete = webhook(json!({ "action": "delete", "target": { "tag": null } }));
    assert_eq!(read_json("azure-acr", &[], &delete)[0]["action"], "delete");
    let of_repository = webhook(json!({ "action": "delete", "target": { "tag": null, "digest": null } }));
    assert!(read_json("azure-acr", &[], &of_repository).is_empty());
    let blob = webhook(json!({ "target": { "mediaType": "application/octet-stream" } }));
    assert!(read_json("azure-acr", &[], &blob).is_empty());
}

fn grid_event(changes: Value) -> Value {
    let event = json!({
        "id": "9", "subject": "core/app:v1", "eventType": "ImagePushed", "eventTime": "2026-03-14T09:26:54Z",
        "data": webhook(json!({})), "dataVersion": "1.0",
    });
    with(event, changes)
}

#[test]
fn both_schemas_and_every_prefix_of_a_type_are_read() {
    let cloud_event = json!({
        "specversion": "1.0", "id": "9", "type": "Microsoft.ContainerRegistry.ImagePushed", "source": "/subscriptions/1",
        "time": "2026-03-14T09:26:54Z", "data": webhook(json!({})),
    });
    for body in [
        json!([grid_event(json!({}))]),
        json!([grid_event(
            json!({ "eventType": "Microsoft.ContainerRegistry.ImagePushed" })
        )]),
        cloud_event.clone(),
        json!([cloud_event]),
    ] {
        let events = read_json("azure-eventgrid", &[], &body);
        assert_eq!(events.len(), 1, "{body}");
        assert_eq!(
            (&events[0]["event_id"], &events[0]["time"]),
            (&json!("9"), &json!("2026-03-14T09:26:53Z"))
        );
        assert_eq!(events[0]["registry_host"], "core.azurecr.io");
    }
}

#[test]
fn one_bad_event_of_a_batch_costs_no_other() {
    let body = json!([
        5,
        [],
        { "eventType": "ChartPushed", "data": webhook(json!({ "action": "chart_push" })) },
        { "eventType": "ImageDeleted", "data": webhook(json!({})) },
        { "eventType": "ImagePushed", "data": null },
        grid_event(json!({ "data": { "timestamp": "" } })),
    ]);
    let events = read_json("azure-eventgrid", &[], &body);
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0]["time"], "2026-03-14T09:26:54Z",
        "the bus says when, if the registry does not"
    );
}

#[test]
fn a_new_subscription_is_answered_with_its_code() {
    let event = |kind: &str, data: Value| json!({ "id": "1", "eventType": kind, "data": data });
    let code = |body: &Value| {
        let body = body.to_string();
        let delivery = Delivery {
            headers: &headers_of(&[]),
            body: body.as_bytes(),
            token: None,
        };
        handshake(named("azure-eventgrid"), &delivery)
    };
    let kind = "Microsoft.EventGrid.SubscriptionValidationEvent";
    let validation = event(
        kind,
        json!({ "validationCode": "c0de", "validationUrl": "https://evil.example" }),
    );
    assert_eq!(code(&json!([validation])).as_deref(), Some("c0de"));
    assert!(read_json("azure-eventgrid", &[], &json!([validation])).is_empty());
    for body in [
        json!([validation, validation]),
        json!([event(kind, json!({}))]),
        json!([event(kind, json!({ "validationCode": "a\nb" }))]),
        json!([event("ImagePushed", json!({ "validationCode": "c0de" }))]),
        json!({}),
    ] {
        assert_eq!(code(&body), None, "{body}");
    }
    let body = json!([validation]).to_string();
    let delivery = Delivery {
        headers: &headers_of(&[]),
        body: body.as_bytes(),
        token: None,
    };
    assert_eq!(handshake(named("harbor"), &delivery), None);
}
