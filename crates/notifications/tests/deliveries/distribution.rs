//! Distribution's envelope, in the shapes that its versions and those who embed it send.

use serde_json::{Value, json};
use transship_notifications::{Event, Origin};

use super::{digest, named, read, read_from};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A push of `app:v1` in Distribution's envelope, changed by `target`.
pub fn push(target: Value) -> Value {
    let mut event = json!({
        "id": "1", "timestamp": "2026-03-14T09:26:53Z", "action": "push",
        "target": { "mediaType": MANIFEST, "digest": digest('a'), "repository": "core/app", "tag": "v1",
                    "url": "http://told.example:5000/v2/core/app/manifests/x" },
        "request": { "host": "asked.example" }, "actor": { "name": "build" }
    });
    merge(&mut event["target"], target);
    event
}

fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else { return };
    for (name, value) in from {
        into[name] = value;
    }
}

pub fn envelope(events: &[Value]) -> Value {
    json!({ "events": events })
}

fn one(target: Value) -> Value {
    let events = read(named("distribution"), &envelope(&[push(target)]));
    assert_eq!(events.len(), 1);
    events[0].clone()
}

fn none(target: Value) {
    let body = envelope(&[push(target), push(json!({ "tag": "neighbour" }))]);
    let events = read(named("distribution"), &body);
    assert_eq!(events.len(), 1, "{body}");
    assert_eq!(events[0]["tag"], "neighbour");
}

#[test]
fn an_event_is_read_back_from_its_json() {
    let event = &read_from(
        named("distribution"),
        &envelope(&[push(json!({}))]).to_string(),
        &Origin::default(),
    )
    .unwrap()[0];
    let text = serde_json::to_string(event).unwrap();
    assert!(
        text.starts_with(
            r#"{"action":"push","registry_host":"told.example:5000","repository":"core/app","tag":"v1","digest":"#
        ),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), *event);
}

#[test]
fn the_host_is_the_configured_one_then_the_urls_then_the_requests() {
    let host = |target| one(target)["registry_host"].clone();
    assert_eq!(host(json!({})), "told.example:5000");
    assert_eq!(host(json!({ "url": "/v2/core/app/manifests/x" })), "asked.example");
    assert_eq!(host(json!({ "url": "https:///v2/" })), "asked.example");
    assert_eq!(host(json!({ "url": null })), "asked.example");
    assert_eq!(host(json!({ "url": "https://user@told.example/v2/" })), "told.example");
    let origin = Origin {
        registry_host: Some("mine.example"),
        ..Origin::default()
    };
    let body = envelope(&[push(json!({}))]).to_string();
    let events = read_from(named("generic"), &body, &origin).unwrap();
    assert_eq!(events[0].registry_host.as_ref().unwrap().as_str(), "mine.example");
}

#[test]
fn a_push_by_digest_has_no_tag() {
    for tag in [json!(digest('a')), json!(""), Value::Null, json!("a:b"), json!(5)] {
        let event = one(json!({ "tag": tag }));
        assert_eq!(
            (&event["tag"], &event["digest"]),
            (&Value::Null, &json!(digest('a'))),
            "{tag}"
        );
    }
}

#[test]
fn a_malformed_digest_costs_the_digest_and_not_the_event() {
    for bad in [json!("sha256:xyz"), json!(""), json!("md5:00"), json!([1]), Value::Null] {
        let event = one(json!({ "digest": bad }));
        assert_eq!((&event["tag"], &event["digest"]), (&json!("v1"), &Value::Null), "{bad}");
        none(json!({ "digest": bad, "tag": null }));
    }
}

#[test]
fn a_tag_has_at_most_128_characters_and_a_repository_255() {
    assert_eq!(one(json!({ "tag": "t".repeat(128) }))["tag"], "t".repeat(128));
    let long = "t".repeat(129);
    for tag in [&long, "-x", ".x", "a b", "v1\0", "v1\n", "v\u{fe0f}1", "\u{0432}1"] {
        // What is left is a push by digest, which is copied only with what it belongs to.
        assert_eq!(one(json!({ "tag": tag }))["tag"], Value::Null, "{tag}");
        none(json!({ "tag": tag, "digest": "" }));
    }
    assert_eq!(
        one(json!({ "repository": "r".repeat(255) }))["repository"],
        "r".repeat(255)
    );
    none(json!({ "repository": "r".repeat(256) }));
}

#[test]
fn blobs_are_told_from_manifests() {
    none(json!({ "mediaType": "application/octet-stream", "tag": null }));
    none(json!({ "mediaType": "application/vnd.docker.container.image.rootfs.diff+x-gtar", "tag": null }));
    none(json!({ "mediaType": "", "tag": null, "url": "http://h/v2/core/app/blobs/x" }));
    let untyped = one(json!({ "mediaType": "", "tag": null }));
    assert_eq!(
        (&untyped["kind"], &untyped["media_type"]),
        (&json!("unknown"), &Value::Null)
    );
    assert_eq!(one(json!({ "mediaType": null, "url": null }))["kind"], "unknown");
}

#[test]
fn only_pushes_and_deletions_are_of_interest() {
    for action in ["pull", "mount", "PUSH", "", "ping"] {
        let mut event = push(json!({}));
        event["action"] = json!(action);
        assert_eq!(read(named("gitlab"), &envelope(&[event])), [Value::Null; 0], "{action}");
    }
}

#[test]
fn deletions_are_read_in_the_shapes_of_both_versions() {
    let delete = |target: Value| {
        let event = json!({ "action": "delete", "id": "1", "target": target, "request": { "host": "asked.example" } });
        read(named("distribution"), &envelope(&[event]))
    };
    let by_digest = delete(json!({ "mediaType": "", "digest": digest('a'), "size": 0, "repository": "core/app" }));
    assert_eq!(by_digest[0]["digest"], digest('a'));
    assert_eq!(
        (&by_digest[0]["tag"], &by_digest[0]["kind"]),
        (&Value::Null, &json!("unknown"))
    );
    let by_tag = delete(json!({ "mediaType": "", "digest": "", "size": 0, "repository": "core/app", "tag": "v1" }));
    assert_eq!((&by_tag[0]["tag"], &by_tag[0]["digest"]), (&json!("v1"), &Value::Null));
    assert_eq!(by_tag[0]["action"], "delete");
    assert_eq!(
        delete(json!({ "repository": "core/app" })),
        [Value::Null; 0],
        "an event for a repository is not an image"
    );
}

#[test]
fn the_config_tells_what_a_manifest_is() {
    let kind = |media_type: &str, config: Value| {
        one(json!({ "mediaType": media_type, "references": [{ "mediaType": config }] }))["kind"].clone()
    };
    assert_eq!(
        kind(MANIFEST, json!("application/vnd.oci.image.config.v1+json")),
        "image"
    );
    assert_eq!(
        kind(MANIFEST, json!("application/vnd.cncf.helm.config.v1+json")),
        "chart"
    );
    assert_eq!(kind(MANIFEST, json!("application/vnd.oci.empty.v1+json")), "artifact");
    assert_eq!(kind(MANIFEST, json!(7)), "manifest");
    assert_eq!(kind(INDEX, json!(MANIFEST)), "index");
    assert_eq!(one(json!({ "references": "none" }))["kind"], "manifest");
    let signature = format!("sha256-{}.sig", "a".repeat(64));
    assert_eq!(one(json!({ "tag": signature }))["kind"], "signature");
}

#[test]
fn one_bad_event_never_costs_its_neighbours() {
    let good = push(json!({})).to_string();
    let mut bad: Vec<String> = [
        "null",
        "5",
        "\"x\"",
        "[]",
        "{}",
        "{\"action\":\"push\"}",
        "{\"action\":{}}",
        "{\"action\":\"push\",\"target\":[]}",
    ]
    .map(str::to_owned)
    .to_vec();
    for repository in ["../etc", "Core/App", "a b", "", "/core", "core:app", "core/app@x"] {
        bad.push(push(json!({ "repository": repository })).to_string());
    }
    bad.push(push(json!({})).to_string().replace("\"core/app\"", "\"\\ud800\""));
    let body = format!("{{\"events\":[{},{good}]}}", bad.join(","));
    let events = read_from(named("distribution"), &body, &Origin::default()).unwrap();
    assert_eq!(events.len(), 1);
}

#[test]
fn what_is_not_needed_may_be_anything() {
    let text = push(json!({ "length": "long", "size": -1, "x": [[[]]] }))
        .to_string()
        .replace("\"id\":\"1\"", "\"id\":1e999,\"body\":{\"x\":1e999,\"y\":\"\\ud800\"}")
        .replace("\"2026-03-14T09:26:53Z\"", "\"yesterday\"")
        .replace("{\"name\":\"build\"}", "\"build\"")
        .replace("{\"host\":\"asked.example\"}", "null");
    let events = read_from(
        named("distribution"),
        &format!("{{\"events\":[{text}],\"more\":7}}"),
        &Origin::default(),
    )
    .unwrap();
    let event = &events[0];
    assert_eq!(event.tag.as_ref().unwrap().as_str(), "v1");
    assert_eq!((&event.time, &event.actor, &event.event_id), (&None, &None, &None));
}

#[test]
fn ten_thousand_events_are_read_and_not_one_more() {
    let event = "{\"action\":\"push\",\"target\":{\"repository\":\"a\",\"tag\":\"v1\"}}";
    let body = |count: usize| format!("{{\"events\":[{}]}}", vec![event; count].join(","));
    assert_eq!(
        read_from(named("distribution"), &body(10_000), &Origin::default())
            .unwrap()
            .len(),
        10_000
    );
    let error = read_from(named("distribution"), &body(10_001), &Origin::default()).unwrap_err();
    assert_eq!(error.code(), "DELIVERY_INVALID");
}
