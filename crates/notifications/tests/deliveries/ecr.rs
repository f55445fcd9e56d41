//! Amazon ECR: what `EventBridge` brings of it.

use serde_json::{Value, json};
use transship_notifications::Origin;

use crate::{digest, named, read, read_from};

/// A push of `core/app:v1`, with `changes` to its detail; null removes.
pub fn event(changes: Value) -> Value {
    let mut event = json!({
        "version": "0", "id": "1-2-3", "detail-type": "ECR Image Action", "source": "aws.ecr", "account": "123456789012",
        "time": "2026-01-02T03:04:05Z", "region": "us-west-2", "resources": [],
        "detail": {
            "result": "SUCCESS", "repository-name": "core/app", "image-digest": digest('a'), "action-type": "PUSH",
            "image-tag": "v1", "manifest-media-type": "application/vnd.oci.image.manifest.v1+json",
            "artifact-media-type": "application/vnd.oci.image.config.v1+json",
        },
    });
    for (name, value) in changes.as_object().unwrap() {
        event["detail"][name] = value.clone();
    }
    event
}

fn with(name: &str, value: Value) -> Value {
    let mut event = event(json!({}));
    event[name] = value;
    event
}

#[test]
fn a_push_says_where_what_and_when() {
    assert_eq!(
        read(named("ecr"), &event(json!({}))),
        [json!({
            "action": "push", "registry_host": "123456789012.dkr.ecr.us-west-2.amazonaws.com", "repository": "core/app",
            "tag": "v1", "digest": digest('a'), "kind": "image",
            "media_type": "application/vnd.oci.image.manifest.v1+json", "time": "2026-01-02T03:04:05Z", "actor": null,
            "event_id": "1-2-3",
        })]
    );
}

#[test]
fn a_push_without_a_tag_has_an_empty_one() {
    let read = read(named("ecr"), &event(json!({ "image-tag": "" })));
    assert_eq!(
        (&read[0]["tag"], &read[0]["digest"]),
        (&Value::Null, &json!(digest('a')))
    );
}

#[test]
fn the_kind_is_told_by_the_types_if_they_are_there() {
    for (manifest, artifact, kind) in [
        (json!("application/vnd.oci.image.index.v1+json"), json!(null), "index"),
        (
            json!("application/vnd.oci.image.manifest.v1+json"),
            json!("application/vnd.cncf.helm.config.v1+json"),
            "chart",
        ),
        (
            json!("application/vnd.docker.distribution.manifest.v2+json"),
            json!("application/vnd.docker.container.image.v1+json"),
            "image",
        ),
        (json!(null), json!(null), "unknown"),
    ] {
        let changes = json!({ "manifest-media-type": manifest, "artifact-media-type": artifact });
        assert_eq!(read(named("ecr"), &event(changes))[0]["kind"], kind);
    }
}

#[test]
fn a_deletion_is_told_and_one_of_a_tag_alone_too() {
    let changes = json!({ "action-type": "DELETE", "image-digest": null, "manifest-media-type": null });
    let read = read(named("ecr"), &event(changes));
    assert_eq!((&read[0]["action"], &read[0]["tag"]), (&json!("delete"), &json!("v1")));
}

#[test]
fn the_host_follows_account_region_and_partition() {
    for (region, host) in [
        ("cn-north-1", json!("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn")),
        (
            "us-gov-west-1",
            json!("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com"),
        ),
        ("", json!(null)),
        ("evil.example/", json!(null)),
    ] {
        let read = read(named("ecr"), &with("region", json!(region)));
        assert_eq!(read[0]["registry_host"], host, "{region:?}");
    }
    for account in [json!("12345"), json!("attacker.com"), json!(123_456_789_012_u64)] {
        let read = read(named("ecr"), &with("account", account));
        assert_eq!(read[0]["registry_host"], Value::Null);
    }
}

#[test]
fn what_replication_brought_is_a_push_where_it_arrived() {
    let replicated = |result: &str| {
        let mut event = event(json!({
            "action-type": "REPLICATE", "result": result, "source-account": "210987654321", "source-region": "eu-west-1",
        }));
        event["detail-type"] = "ECR Replication Action".into();
        event["resources"] = json!(["arn:aws-cn:ecr:cn-northwest-1:111122223333:repository/core/app"]);
        event
    };
    let events = read(named("ecr"), &replicated("SUCCESS"));
    assert_eq!(events[0]["action"], "push");
    assert_eq!(
        events[0]["registry_host"],
        "111122223333.dkr.ecr.cn-northwest-1.amazonaws.com.cn"
    );
    assert!(read(named("ecr"), &replicated("FAILED")).is_empty());
    let mut bare = replicated("SUCCESS");
    bare["resources"] = json!([]);
    assert_eq!(
        read(named("ecr"), &bare)[0]["registry_host"],
        "123456789012.dkr.ecr.us-west-2.amazonaws.com"
    );
}

#[test]
fn what_is_no_push_and_no_deletion_is_of_no_interest() {
    for body in [
        event(json!({ "result": "FAILURE" })),
        event(json!({ "result": null })),
        event(json!({ "action-type": "UPDATE_STORAGE_CLASS" })),
        event(json!({ "repository-name": "../etc" })),
        event(json!({ "repository-name": null })),
        event(json!({ "image-tag": "", "image-digest": "sha256:short" })),
        with("detail-type", json!("ECR Image Scan")),
        with("detail-type", json!("ECR Pull Through Cache Action")),
        with("detail-type", json!("ECR Referrer Action")),
        with("detail-type", json!(7)),
        with("detail", json!([])),
        with("detail", json!(null)),
    ] {
        assert!(read(named("ecr"), &body).is_empty(), "{body}");
    }
}

#[test]
fn an_event_of_somebody_else_is_no_delivery() {
    for body in [
        with("source", json!("my.app")),
        with("source", json!(null)),
        json!({ "detail": {} }),
    ] {
        let error = read_from(named("ecr"), &body.to_string(), &Origin::default()).unwrap_err();
        assert_eq!(error.code(), "DELIVERY_INVALID", "{body}");
    }
}

#[test]
fn a_push_that_an_input_transformer_made_a_cloud_event_is_read() {
    let event = |changes: Value| {
        let event = json!({
            "specversion": "1.0", "id": "1-2-3", "type": "com.amazon.ecr.image.push",
            "source": "urn:aws:ecr:eu-west-1:123456789012:repository/core/app", "subject": "core/app:v1",
            "time": "2026-01-02T03:04:05Z",
            "data": { "repositoryName": "core/app", "imageDigest": digest('a'), "imageTag": "v1", "registryId": "123456789012" },
        });
        read(named("ecr"), &crate::with(event, changes))
    };
    let events = event(json!({}));
    assert_eq!(
        (&events[0]["registry_host"], &events[0]["event_id"]),
        (&json!("123456789012.dkr.ecr.eu-west-1.amazonaws.com"), &json!("1-2-3"))
    );
    assert_eq!(
        (&events[0]["tag"], &events[0]["digest"]),
        (&json!("v1"), &json!(digest('a')))
    );
    assert!(event(json!({ "data": { "imageTag": "", "imageDigest": "" } })).is_empty());
    assert!(event(json!({ "source": "my.app" })).is_empty());
}
