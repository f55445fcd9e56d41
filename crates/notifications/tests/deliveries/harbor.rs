//! Harbor's deliveries of every generation.

use serde_json::{Value, json};
use transship_notifications::Origin;

use super::{digest, named, read, read_from};

/// Harbor's own format with these resources.
pub fn body(kind: &str, resources: Value) -> Value {
    json!({
        "type": kind, "occur_at": 1_773_480_413, "operator": "robot$core+build",
        "event_data": { "resources": resources,
            "repository": { "name": "team/app", "namespace": "core", "repo_full_name": "core/team/app" } }
    })
}

pub fn resource(tag: Value, url: Value) -> Value {
    json!({ "digest": digest('a'), "tag": tag, "resource_url": url })
}

#[test]
fn harbor_events_of_every_generation_are_read() {
    let resources = json!([resource(json!("3.10"), json!("h.example:8443/core/team/app:3.10"))]);
    for (kind, action) in [
        ("PUSH_ARTIFACT", "push"),
        ("pushImage", "push"),
        ("DELETE_ARTIFACT", "delete"),
        ("deleteImage", "delete"),
    ] {
        let events = read(named("harbor"), &body(kind, resources.clone()));
        assert_eq!(
            events,
            [json!({
                "action": action, "registry_host": "h.example:8443", "repository": "core/team/app", "tag": "3.10",
                "digest": digest('a'), "kind": "unknown", "media_type": null, "time": "2026-03-14T09:26:53Z",
                "actor": "robot$core+build", "event_id": null
            })]
        );
    }
    for (kind, action) in [
        ("harbor.artifact.pushed", "push"),
        ("harbor.artifact.deleted", "delete"),
    ] {
        let mut changed = body(kind, resources.clone());
        changed["specversion"] = json!("1.0");
        changed["id"] = json!("e-1");
        changed["time"] = json!("2026-03-14T10:26:53+01:00");
        changed["data"] = changed["event_data"].take();
        let events = read(named("harbor"), &changed);
        assert_eq!(events[0]["action"], action);
        assert_eq!(
            (&events[0]["event_id"], &events[0]["time"]),
            (&json!("e-1"), &json!("2026-03-14T09:26:53Z"))
        );
    }
}

#[test]
fn harbors_digests_in_place_of_tags_are_digests() {
    for (tag, url) in [
        (json!(digest('a')), json!(format!("h.example/core/app@{}", digest('a')))),
        (json!(digest('a')), json!(format!("h.example/core/app:{}", digest('a')))),
        (json!(""), json!(format!("h.example/core/app@{}", digest('a')))),
    ] {
        let event = read(named("harbor"), &body("PUSH_ARTIFACT", json!([resource(tag, url)])))[0].clone();
        assert_eq!((&event["tag"], &event["digest"]), (&Value::Null, &json!(digest('a'))));
        assert_eq!(
            (&event["registry_host"], &event["repository"]),
            (&json!("h.example"), &json!("core/app"))
        );
    }
}

#[test]
fn each_resource_of_harbor_is_an_event_and_a_bad_one_costs_only_itself() {
    let resources = json!([
        resource(json!("v1"), json!("h.example/core/app:v1")),
        resource(json!("v1"), json!("h.example/../app:v1")),
        null,
        { "tag": "v1", "digest": "sha256:xxxx", "resource_url": "h.example/core/app:v1" },
        { "resource_url": "h.example/core/app" },
        { "resource_url": "h.example/core/app:v2" },
        { "tag": "v3" },
        { "tag": "a b" }
    ]);
    let events = read(named("harbor"), &body("PUSH_ARTIFACT", resources));
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            [
                &event["registry_host"],
                &event["repository"],
                &event["tag"],
                &event["digest"],
            ]
            .map(Clone::clone)
        })
        .collect();
    let host = json!("h.example");
    assert_eq!(
        told,
        [
            [host.clone(), json!("core/app"), json!("v1"), json!(digest('a'))],
            [host.clone(), json!("core/app"), json!("v1"), Value::Null],
            [host, json!("core/app"), json!("v2"), Value::Null],
            [Value::Null, json!("core/team/app"), json!("v3"), Value::Null],
        ]
    );
}

#[test]
fn what_else_harbor_reports_is_of_no_interest() {
    let chart = resource(json!("1.0"), json!("h.example/chartrepo/core/charts/x-1.0.tgz"));
    for kind in [
        "PULL_ARTIFACT",
        "pullImage",
        "UPLOAD_CHART",
        "uploadChart",
        "DELETE_CHART",
        "SCANNING_COMPLETED",
        "REPLICATION",
        "QUOTA_EXCEED",
        "TAG_RETENTION",
        "harbor.artifact.pulled",
        "harbor.replication.status.changed",
        "harbor.scan.completed",
    ] {
        assert_eq!(
            read(named("harbor"), &body(kind, json!([chart.clone()]))),
            [Value::Null; 0],
            "{kind}"
        );
    }
    assert_eq!(
        read(named("harbor"), &json!({ "type": "REPLICATION" })),
        [Value::Null; 0]
    );
    let error = read_from(
        named("harbor"),
        &json!({ "type": "PUSH_ARTIFACT" }).to_string(),
        &Origin::default(),
    );
    assert_eq!(error.unwrap_err().code(), "DELIVERY_INVALID");
}
