//! Sonatype Nexus Repository.

use serde_json::{Value, json};
use transship_notifications::Origin;

use crate::{digest, named, read_json, read_with, with};

const HEADERS: [(&str, &str); 2] = [
    ("x-nexus-webhook-id", "rm:repository:component"),
    ("x-nexus-webhook-delivery", "d-1"),
];

fn body(changes: Value) -> Value {
    let body = json!({
        "timestamp": "2026-03-14T09:26:53.589+0000", "initiator": "alice/192.0.2.1", "repositoryName": "hosted", "action": "CREATED",
        "component": { "format": "docker", "name": "team/app", "version": "v1" },
    });
    with(body, changes)
}

#[test]
fn a_version_is_a_tag_or_a_digest() {
    let events = read_json("nexus", &HEADERS, &body(json!({})));
    assert_eq!(
        (&events[0]["tag"], &events[0]["registry_host"]),
        (&json!("v1"), &Value::Null)
    );
    assert_eq!(
        (&events[0]["time"], &events[0]["event_id"]),
        (&json!("2026-03-14T09:26:53.589Z"), &json!("d-1"))
    );
    let events = read_json(
        "nexus",
        &HEADERS,
        &body(json!({ "component": { "version": digest('a') } })),
    );
    assert_eq!(
        (&events[0]["tag"], &events[0]["digest"]),
        (&Value::Null, &json!(digest('a')))
    );
    let events = read_json("nexus", &HEADERS, &body(json!({ "action": "DELETED" })));
    assert_eq!(events[0]["action"], "delete");
}

#[test]
fn an_alias_says_that_the_path_begins_with_the_nexus_repository() {
    let name = |aliases: &[(&str, &str)]| {
        let aliases: Vec<(String, String)> = aliases
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect();
        let origin = Origin {
            aliases: &aliases,
            ..Origin::default()
        };
        let body = body(json!({})).to_string();
        let events = read_with(named("nexus"), &HEADERS, body.as_bytes(), &origin).unwrap();
        events[0].repository.to_string()
    };
    assert_eq!(name(&[]), "team/app");
    assert_eq!(name(&[("hosted", "hosted")]), "hosted/team/app");
    assert_eq!(name(&[("hosted", "group")]), "group/team/app");
    assert_eq!(name(&[("team", "other")]), "other/app");
    assert_eq!(name(&[("elsewhere", "group")]), "team/app");
}

#[test]
fn assets_other_formats_and_other_events_are_of_no_interest() {
    for kind in ["rm:repository:asset", "rm:audit"] {
        assert!(read_json("nexus", &[("x-nexus-webhook-id", kind)], &body(json!({}))).is_empty());
    }
    for changes in [
        json!({ "component": { "format": "npm" } }),
        json!({ "component": null }),
        json!({ "component": { "version": "" } }),
        json!({ "action": "PURGED" }),
    ] {
        assert!(
            read_json("nexus", &HEADERS, &body(changes.clone())).is_empty(),
            "{changes}"
        );
    }
}
