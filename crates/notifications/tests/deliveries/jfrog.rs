//! Artifactory.

use serde_json::{Value, json};
use transship_notifications::Origin;

use crate::{named, read_from, read_json, with};

fn body(changes: Value) -> Value {
    let body = json!({
        "domain": "docker", "event_type": "pushed", "jpd_origin": "https://core.jfrog.io", "source": "jfrog/alice",
        "data": {
            "repo_key": "docker-local", "path": "team/app/v1/manifest.json", "name": "manifest.json", "sha256": "a".repeat(64),
            "image_name": "app", "tag": "v1",
        },
    });
    with(body, changes)
}

fn one(changes: Value) -> Value {
    let events = read_json("artifactory", &[], &body(changes));
    assert_eq!(events.len(), 1);
    events[0].clone()
}

#[test]
fn the_repository_is_the_key_and_the_path_without_tag_and_file() {
    let event = one(json!({}));
    assert_eq!(event["repository"], "docker-local/team/app");
    assert_eq!(event["digest"], format!("sha256:{}", "a".repeat(64)));
    assert_eq!(
        (&event["registry_host"], &event["actor"]),
        (&json!("core.jfrog.io"), &json!("jfrog/alice"))
    );
    let event = one(json!({ "data": { "path": null, "image_name": "team/app" } }));
    assert_eq!(event["repository"], "docker-local/team/app");
    let aliases = [("docker-local".to_owned(), "docker".to_owned())];
    let origin = Origin {
        aliases: &aliases,
        ..Origin::default()
    };
    let events = read_from(named("artifactory"), &body(json!({})).to_string(), &origin).unwrap();
    assert_eq!(events[0].repository.as_str(), "docker/team/app");
}

#[test]
fn the_file_and_the_type_of_image_say_what_it_is() {
    for (changes, kind) in [
        (json!({}), "image"),
        (json!({ "image_type": "docker" }), "image"),
        (json!({ "name": "list.manifest.json" }), "index"),
        (
            json!({ "name": null, "path": "team/app/v1/list.manifest.json" }),
            "index",
        ),
        (json!({ "image_type": "helmoci" }), "chart"),
        (json!({ "image_type": "something" }), "unknown"),
        (json!({ "tag": format!("sha256-{}.sig", "a".repeat(64)) }), "signature"),
    ] {
        assert_eq!(one(json!({ "data": changes }))["kind"], kind, "{changes}");
    }
}

#[test]
fn a_child_of_an_index_has_no_tag() {
    for tag in [
        format!("sha256:{}", "a".repeat(64)),
        format!("sha256__{}", "a".repeat(64)),
    ] {
        assert_eq!(one(json!({ "data": { "tag": tag } }))["tag"], Value::Null, "{tag}");
    }
}

#[test]
fn a_promotion_is_a_push_and_other_events_are_of_no_interest() {
    assert_eq!(one(json!({ "event_type": "promoted" }))["action"], "push");
    assert_eq!(one(json!({ "event_type": "deleted" }))["action"], "delete");
    for changes in [
        json!({ "domain": "artifact", "event_type": "deployed" }),
        json!({ "event_type": "moved" }),
        json!({ "data": null }),
        json!({ "data": { "repo_key": "" } }),
        json!({ "data": { "tag": "", "sha256": "short" } }),
    ] {
        assert!(
            read_json("artifactory", &[], &body(changes.clone())).is_empty(),
            "{changes}"
        );
    }
}
