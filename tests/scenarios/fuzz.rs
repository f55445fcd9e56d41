//! Random changes to inputs from outside: manifests, references, documents, messages and orders. Those of senders are in
//! `crates/notifications/tests`. `TRANSSHIP_FUZZ_SECONDS=600` runs each target for ten minutes; see `transship_testkit::mutation`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use bytes::Bytes;
use transship_engine::{Envelope, Order};
use transship_oci::{Digest, Manifest, Reference};
use transship_rules::Document;
use transship_testkit::mutation::fuzz;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

const MANIFESTS: [&str; 3] = [
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910","size":512},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","size":4096,"annotations":{"a":null}}],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:7dc66294dc545ec68cba211e1627866be17e25f3ddf7094a7033d5cf4ad2d57e","size":3}}"#,
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:7dc66294dc545ec68cba211e1627866be17e25f3ddf7094a7033d5cf4ad2d57e","size":1024,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}],"annotations":{}}"#,
    r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[{"blobSum":"sha256:7dc66294dc545ec68cba211e1627866be17e25f3ddf7094a7033d5cf4ad2d57e"}],"history":[]}"#,
];

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../events").join(name)).unwrap()
}

#[test]
fn a_manifest_that_is_read_has_its_bytes_and_its_digest() {
    fuzz(
        "manifests",
        &MANIFESTS.map(|text| text.as_bytes().to_vec()),
        |_, bytes| {
            for content_type in [None, Some(OCI_MANIFEST)] {
                if let Ok(manifest) = Manifest::parse(Bytes::copy_from_slice(bytes), content_type) {
                    assert_eq!(manifest.digest(), &Digest::sha256(bytes));
                }
            }
        },
    );
}

#[test]
fn a_reference_that_is_read_is_read_again_from_its_text() {
    let inputs = [
        "registry.example.com:5000/core/team/app:v1.0.0",
        "registry.example.com/core/app@sha256:7dc66294dc545ec68cba211e1627866be17e25f3ddf7094a7033d5cf4ad2d57e",
        "[::1]:5000/a",
    ];
    fuzz(
        "references",
        &inputs.map(|text| text.as_bytes().to_vec()),
        |_, bytes| {
            let Ok(text) = str::from_utf8(bytes) else { return };
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                assert_eq!(again.to_string(), reference.to_string(), "{text}");
            }
        },
    );
}

#[test]
fn a_document_that_is_read_or_refused_never_panics() {
    let yaml = "version: 1\nregistries:\n  a: { provider: harbor, endpoint: \"https://a.example\", webhook: { secret: \"env:A\" } }\n  b: { provider: ecr, endpoint: \"https://b.example\" }\nrules:\n  - { name: x, source: { registry: a, namespace: core, tag: { regex: \"^v\" } }, destination: { registry: b, repository: \"m/{repository}\" } }\n";
    fuzz(
        "documents",
        &[yaml.as_bytes().to_vec(), sample("document.json")],
        |_, bytes| {
            if let Ok(text) = str::from_utf8(bytes)
                && let Err(errors) = Document::parse(text)
            {
                assert!(!errors.to_string().is_empty());
            }
        },
    );
}

#[test]
fn a_message_or_order_that_is_read_or_refused_never_panics() {
    let batch: serde_json::Value = serde_json::from_slice(&sample("sqs-batch-mixed.json")).unwrap();
    let bodies: Vec<Vec<u8>> = batch["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["body"].as_str().unwrap().as_bytes().to_vec())
        .chain([sample("bulk-import-order.json")])
        .collect();
    fuzz("messages", &bodies, |_, bytes| {
        let Ok(text) = str::from_utf8(bytes) else { return };
        if let Ok(envelope) = Envelope::parse(text) {
            assert!(!format!("{envelope:?}").is_empty());
        }
        let _ = serde_json::from_str::<Order>(text);
    });
}
