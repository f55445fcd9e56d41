//! Docker Hub and Quay, which report names and nothing else.

use serde_json::{Value, json};

use crate::{read_json, with};

fn hub(changes: Value) -> Vec<Value> {
    let body = json!({
        "callback_url": "http://169.254.169.254/", "push_data": { "pushed_at": 1_417_566_161, "pusher": "alice", "tag": "v1" },
        "repository": { "repo_name": "team/app", "namespace": "team", "name": "app" },
    });
    read_json("dockerhub", &[], &with(body, changes))
}

#[test]
fn a_push_to_docker_hub_has_a_time_in_seconds_of_any_notation() {
    for time in [json!(1_417_566_161), json!(1.417_566_161e9), json!("1417566161")] {
        let events = hub(json!({ "push_data": { "pushed_at": time } }));
        assert_eq!(
            (&events[0]["time"], &events[0]["registry_host"]),
            (&json!("2014-12-03T00:22:41Z"), &json!("docker.io"))
        );
    }
}

#[test]
fn images_of_docker_itself_are_below_library() {
    assert_eq!(
        hub(json!({ "repository": { "repo_name": "alpine" } }))[0]["repository"],
        "library/alpine"
    );
    assert_eq!(
        hub(json!({ "repository": { "repo_name": "" } }))[0]["repository"],
        "team/app"
    );
}

#[test]
fn the_type_of_a_push_to_docker_hub_is_that_of_the_config() {
    let chart = hub(json!({ "push_data": { "media_type": "application/vnd.cncf.helm.config.v1+json" } }));
    assert_eq!(
        (&chart[0]["kind"], &chart[0]["media_type"]),
        (&json!("chart"), &Value::Null)
    );
    assert!(hub(json!({ "push_data": { "tag": "" } })).is_empty());
}

fn quay(changes: Value) -> Vec<Value> {
    let body = json!({
        "name": "other", "repository": "team/app", "docker_url": "https://quay.example.com:8443/team/app", "updated_tags": ["v1"],
    });
    read_json("quay", &[], &with(body, changes))
}

#[test]
fn each_tag_of_a_push_to_quay_is_an_event() {
    let events = quay(json!({ "updated_tags": ["v1", "", 5, "v2"] }));
    let tags: Vec<&Value> = events.iter().map(|event| &event["tag"]).collect();
    assert_eq!(tags, [&json!("v1"), &json!("v2")]);
    assert_eq!(
        (&events[0]["registry_host"], &events[0]["repository"]),
        (&json!("quay.example.com:8443"), &json!("team/app"))
    );
    assert_eq!(quay(json!({ "updated_tags": { "v1": "0a1b" } })).len(), 1);
}

#[test]
fn other_notifications_of_quay_have_no_tags() {
    for tags in [json!(null), json!([]), json!("v1"), json!(5)] {
        assert!(quay(json!({ "updated_tags": tags })).is_empty(), "{tags}");
    }
    assert!(quay(json!({ "repository": "Team/App" })).is_empty());
}
