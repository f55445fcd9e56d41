//! Gitea and Forgejo.

use serde_json::{Value, json};

use crate::{digest, read_json, with};

fn body(changes: Value) -> Value {
    let body = json!({
        "action": "created", "sender": { "login": "alice" },
        "package": {
            "type": "container", "name": "App", "version": "v1", "owner": { "login": "Team" },
            "html_url": "https://git.example.com:3000/Team/-/packages/container/app%2Fone/v1", "created_at": "2026-01-02T03:04:05Z",
        },
    });
    with(body, changes)
}

fn one(changes: Value) -> Value {
    let headers = [("x-gitea-event", "package"), ("x-gitea-delivery", "d-1")];
    let events = read_json("gitea", &headers, &body(changes));
    assert_eq!(events.len(), 1);
    events[0].clone()
}

#[test]
fn a_version_is_a_tag_or_a_digest() {
    let tagged = one(json!({}));
    assert_eq!((&tagged["tag"], &tagged["digest"]), (&json!("v1"), &Value::Null));
    assert_eq!(
        (&tagged["registry_host"], &tagged["repository"]),
        (&json!("git.example.com:3000"), &json!("team/app"))
    );
    assert_eq!(
        (&tagged["event_id"], &tagged["actor"]),
        (&json!("d-1"), &json!("alice"))
    );
    let child = one(json!({ "package": { "version": digest('a') } }));
    assert_eq!((&child["tag"], &child["digest"]), (&Value::Null, &json!(digest('a'))));
    let nested = one(json!({ "package": { "name": "app/one" } }));
    assert_eq!(nested["repository"], "team/app/one");
    assert_eq!(one(json!({ "action": "deleted" }))["action"], "delete");
}

#[test]
fn forgejo_has_headers_of_its_own() {
    let headers = [("x-forgejo-event", "package"), ("x-forgejo-delivery", "d-2")];
    assert_eq!(read_json("gitea", &headers, &body(json!({})))[0]["event_id"], "d-2");
    assert!(read_json("gitea", &[("x-forgejo-event", "push")], &body(json!({}))).is_empty());
}

#[test]
fn other_events_and_packages_are_of_no_interest() {
    for changes in [
        json!({ "package": { "type": "npm" } }),
        json!({ "package": { "version": "" } }),
        json!({ "package": null }),
        json!({ "action": "updated" }),
    ] {
        assert!(read_json("gitea", &[], &body(changes.clone())).is_empty(), "{changes}");
    }
    assert!(read_json("gitea", &[("x-gitea-event", "push")], &json!({ "ref": "x" })).is_empty());
}
