//! zot: CloudEvents in both modes.

use serde_json::{Value, json};
use transship_notifications::Origin;

use crate::{digest, named, read_from, read_json, with};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn data(changes: Value) -> Value {
    let data = json!({
        "name": "team/app", "reference": "v1", "digest": digest('a'), "mediaType": MANIFEST,
        "manifest": "{\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\"}}", "actor": { "name": "alice" },
    });
    with(data, changes)
}

fn headers(kind: &'static str) -> [(&'static str, &'static str); 4] {
    [
        ("ce-type", kind),
        ("ce-id", "1"),
        ("ce-source", "https://zot.example.com:5000"),
        ("ce-time", "2026-03-14T09:26:53Z"),
    ]
}

#[test]
fn both_modes_say_the_same() {
    let binary = read_json("zot", &headers("zotregistry.image.updated"), &data(json!({})));
    assert_eq!(
        binary,
        [json!({
            "action": "push", "registry_host": "zot.example.com:5000", "repository": "team/app", "tag": "v1",
            "digest": digest('a'), "kind": "image", "media_type": MANIFEST, "time": "2026-03-14T09:26:53Z", "actor": "alice",
            "event_id": "1",
        })]
    );
    let structured = json!({
        "specversion": "1.0", "id": "1", "type": "com.example.image.updated", "source": "https://zot.example.com:5000",
        "time": "2026-03-14T09:26:53Z", "data": data(json!({})),
    });
    assert_eq!(read_json("zot", &[], &structured), binary);
}

#[test]
fn a_reference_is_a_tag_or_a_digest() {
    let updated = headers("image.updated");
    let by_digest = read_json(
        "zot",
        &updated,
        &data(json!({ "reference": digest('b'), "digest": "sha256:abc..." })),
    );
    assert_eq!(
        (&by_digest[0]["tag"], &by_digest[0]["digest"]),
        (&Value::Null, &json!(digest('b')))
    );
    let without_manifest = read_json("zot", &updated, &data(json!({ "manifest": null, "actor": null })));
    assert_eq!(
        (&without_manifest[0]["kind"], &without_manifest[0]["actor"]),
        (&json!("manifest"), &Value::Null)
    );
    let deleted = read_json("zot", &headers("x.image.deleted"), &data(json!({})));
    assert_eq!(deleted[0]["action"], "delete");
}

#[test]
fn other_types_are_of_no_interest() {
    for kind in [
        "zotregistry.repository.created",
        "zotregistry.image.lint_failed",
        "zotregistry.image.scanned",
        "zotregistry.images.updated",
        "updated",
    ] {
        assert!(read_json("zot", &headers(kind), &data(json!({}))).is_empty(), "{kind}");
    }
    let error = read_from(named("zot"), &data(json!({})).to_string(), &Origin::default()).unwrap_err();
    assert_eq!(error.code(), "DELIVERY_INVALID", "an event without a type is none");
}
