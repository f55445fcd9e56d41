//! GitHub: both events, as JSON and as a form, with the contradictions of its samples.

use serde_json::{Value, json};
use transship_notifications::Origin;

use crate::{digest, named, read_json, read_with, with};

const PACKAGE: [(&str, &str); 2] = [("x-github-event", "package"), ("x-github-delivery", "d-1")];

fn version(changes: Value) -> Value {
    let version = json!({
        "version": digest('a'), "name": digest('a'), "created_at": "0001-01-01T00:00:00Z",
        "container_metadata": {
            "tag": { "name": "v1", "digest": digest('a') },
            "manifest": {
                "digest": digest('a'), "media_type": "application/vnd.oci.image.manifest.v1+json",
                "config": { "media_type": "application/vnd.oci.image.config.v1+json" },
            },
        },
        "package_url": "ghcr.io/Team/App:v1",
    });
    with(version, changes)
}

fn body(changes: Value) -> Value {
    json!({
        "action": "published", "sender": { "login": "Alice" },
        "package": { "name": "App", "package_type": "npm", "owner": { "login": "Team" }, "package_version": version(changes) },
    })
}

#[test]
fn both_events_are_pushes() {
    let mut registry_package = body(json!({}));
    registry_package["registry_package"] = registry_package["package"].take();
    let events = read_json("ghcr", &PACKAGE, &body(json!({})));
    assert_eq!(
        events,
        [json!({
            "action": "push", "registry_host": "ghcr.io", "repository": "team/app", "tag": "v1", "digest": digest('a'),
            "kind": "image", "media_type": "application/vnd.oci.image.manifest.v1+json", "time": null, "actor": "Alice",
            "event_id": "d-1",
        })]
    );
    let headers = [("x-github-event", "registry_package"), ("x-github-delivery", "d-1")];
    assert_eq!(read_json("ghcr", &headers, &registry_package), events);
}

#[test]
fn a_child_has_no_tag() {
    let changes =
        json!({ "package_url": "ghcr.io/team/app:", "container_metadata": { "tag": { "name": "", "digest": "" } } });
    let events = read_json("ghcr", &PACKAGE, &body(changes));
    assert_eq!(
        (&events[0]["tag"], &events[0]["digest"]),
        (&Value::Null, &json!(digest('a')))
    );
}

#[test]
fn the_first_valid_digest_counts() {
    let changes = json!({ "container_metadata": { "tag": { "digest": "sha256:3da1" }, "manifest": { "digest": "sha256:3da1" } } });
    assert_eq!(read_json("ghcr", &PACKAGE, &body(changes))[0]["digest"], digest('a'));
}

#[test]
fn an_enterprise_server_has_its_own_host() {
    let changes = json!({ "package_url": "containers.github.example.com/team/app:v1" });
    assert_eq!(
        read_json("ghcr", &PACKAGE, &body(changes))[0]["registry_host"],
        "containers.github.example.com"
    );
    let events = read_json("ghcr", &PACKAGE, &body(json!({ "package_url": null })));
    assert_eq!(
        (&events[0]["registry_host"], &events[0]["repository"]),
        (&json!("ghcr.io"), &json!("team/app"))
    );
}

#[test]
fn other_events_and_packages_are_of_no_interest() {
    for event in ["ping", "push", "star"] {
        let headers = [("x-github-event", event)];
        assert!(
            read_json("ghcr", &headers, &json!({ "zen": "x" })).is_empty(),
            "{event}"
        );
        assert!(read_json("ghcr", &headers, &body(json!({}))).is_empty(), "{event}");
    }
    for metadata in [json!(null), json!([]), json!("")] {
        let changes = json!({ "container_metadata": metadata });
        assert!(read_json("ghcr", &PACKAGE, &body(changes)).is_empty());
    }
    let mut deleted = body(json!({}));
    deleted["action"] = json!("deleted");
    assert!(read_json("ghcr", &PACKAGE, &deleted).is_empty());
}

#[test]
fn a_form_holds_the_same() {
    let payload: String = url::form_urlencoded::byte_serialize(body(json!({})).to_string().as_bytes()).collect();
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-github-delivery", "d-1"),
    ];
    let read = |headers: &[(&str, &str)], body: &str| {
        read_with(named("ghcr"), headers, body.as_bytes(), &Origin::default()).map(|events| events.len())
    };
    assert_eq!(read(&form, &format!("payload={payload}")).unwrap(), 1);
    assert_eq!(
        read(&[], &format!("payload={payload}")).unwrap(),
        1,
        "also without its header"
    );
    for body in ["payload=", "payload=%7B", "other=1", ""] {
        assert_eq!(read(&form, body).unwrap_err().code(), "DELIVERY_INVALID", "{body}");
    }
}
