//! Alibaba Cloud: webhooks of both editions, and events of its bus.

use serde_json::{Value, json};
use transship_notifications::Origin;

use crate::{digest, named, read_from, read_json, with};

fn push(changes: Value) -> Value {
    let body = json!({
        "push_data": { "digest": digest('a'), "pushed_at": "2026-03-14 17:26:53", "tag": "v1" },
        "repository": { "name": "app", "namespace": "core", "region": "cn-hangzhou", "repo_full_name": "core/app" },
    });
    with(body, changes)
}

fn one(changes: Value) -> Value {
    let events = read_json("aliyun-acr", &[], &push(changes));
    assert_eq!(events.len(), 1);
    events[0].clone()
}

#[test]
fn a_push_has_neither_time_nor_id_and_a_host_that_is_only_assumed() {
    let event = one(json!({}));
    assert_eq!(event["registry_host"], "registry.cn-hangzhou.aliyuncs.com");
    assert_eq!((&event["time"], &event["event_id"]), (&Value::Null, &Value::Null));
    let origin = Origin {
        fallback_host: Some("core-registry.cn-hangzhou.cr.aliyuncs.com"),
        ..Origin::default()
    };
    let body = push(json!({})).to_string();
    let events = read_from(named("aliyun-acr"), &body, &origin).unwrap();
    let host = events[0].registry_host.as_ref().unwrap();
    assert_eq!(
        host.as_str(),
        "core-registry.cn-hangzhou.cr.aliyuncs.com",
        "an instance has a host that the body does not name"
    );
    let elsewhere = one(json!({ "repository": { "region": "evil.example/" } }));
    assert_eq!(elsewhere["registry_host"], Value::Null);
}

#[test]
fn a_damaged_digest_is_left_out() {
    for damaged in [
        format!("sha256:{}k", "0".repeat(63)),
        format!("sha256:{} ", "0".repeat(64)),
    ] {
        let event = one(json!({ "push_data": { "digest": damaged } }));
        assert_eq!((&event["tag"], &event["digest"]), (&json!("v1"), &Value::Null));
    }
    let changes = json!({ "push_data": { "digest": "sha256:x", "tag": null } });
    assert!(read_json("aliyun-acr", &[], &push(changes)).is_empty());
}

#[test]
fn capital_letters_of_a_repository_are_kept() {
    let event = one(json!({ "repository": { "repo_full_name": "core/appOne" } }));
    assert_eq!(event["repository"], "core/appOne");
    let event = one(json!({ "repository": { "repo_full_name": "" } }));
    assert_eq!(event["repository"], "core/app");
}

fn of_the_bus(changes: Value) -> Vec<Value> {
    let body = json!({
        "id": "1", "source": "acs.cr", "specversion": "1.0", "type": "cr:Artifact:PushCompleted",
        "time": "2026-03-14T17:26:53+08:00", "aliyunregionid": "cn-hangzhou",
        "data": {
            "InstanceName": "core", "RepoNamespaceName": "team", "RepoName": "app", "RegionId": "cn-shanghai", "Tag": "v1",
        },
    });
    read_json("aliyun-eventbridge", &[], &with(body, changes))
}

#[test]
fn a_completed_push_on_the_bus_is_a_push() {
    let events = of_the_bus(json!({}));
    assert_eq!(events[0]["registry_host"], "core-registry.cn-shanghai.cr.aliyuncs.com");
    assert_eq!(
        (&events[0]["repository"], &events[0]["time"]),
        (&json!("team/app"), &json!("2026-03-14T09:26:53Z"))
    );
    assert_eq!(events[0]["digest"], Value::Null);
    for name in ["Digest", "DigestId", "ImageDigest"] {
        let events = of_the_bus(json!({ "data": { name: digest('a') } }));
        assert_eq!(events[0]["digest"], digest('a'), "{name}");
    }
    let events = of_the_bus(json!({ "data": { "RegionId": null } }));
    assert_eq!(events[0]["registry_host"], "core-registry.cn-hangzhou.cr.aliyuncs.com");
}

#[test]
fn other_events_of_the_bus_are_of_no_interest() {
    for kind in [
        "cr:Artifact:BuildCompleted",
        "cr:Artifact:SynchronizationCompleted",
        "cr:Artifact:ScanCompleted",
        "cr:Artifact:SigningCompleted",
        "cr:ActionTrail:ApiCall",
    ] {
        assert!(of_the_bus(json!({ "type": kind })).is_empty(), "{kind}");
    }
    assert!(of_the_bus(json!({ "source": "acs.oss" })).is_empty());
    assert!(of_the_bus(json!({ "data": { "Tag": "" } })).is_empty());
}
