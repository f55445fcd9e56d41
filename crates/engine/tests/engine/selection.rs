//! What an event does not say and a worker decides: labels and the latest tags; and the limit of bandwidth that the tasks of a rule
//! share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::TaskState;
use transship_oci::{Digest, MediaType};
use transship_testkit::images::{self, Sample, SampleManifest};

use crate::fixture::{Fixture, name, tag};
use crate::sweep::sweep;

fn rule(source: &str, more: &str) -> String {
    format!(
        "  - {{ name: core-images, backfill: true, source: {{ registry: a, namespace: core, {source} }}, destination: {{ registry: b, namespace: copy }}, {more} }}\n"
    )
}

async fn fixture(rule: &str) -> Fixture {
    Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), rule).await
}

/// An image whose configuration and manifest have these labels.
fn labelled(seed: u64, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Sample {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let config = json!({
        "architecture": "amd64", "os": "linux", "seed": seed, "config": { "Labels": map(labels) },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let config = Bytes::from(config.to_string());
    let digest = Digest::sha256(&config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
        "layers": [],
        "annotations": map(annotations),
    });
    sample(
        &manifest,
        "application/vnd.oci.image.manifest.v1+json",
        vec![(digest, config)],
        Vec::new(),
    )
}

/// An index of `child`, after an attestation that has the label.
fn index_of(child: &Sample) -> Sample {
    let attestation = labelled(99, &[("tier", "gold")], &[]);
    let entry = |sample: &Sample, os: &str| {
        let manifest = sample.root_manifest().unwrap();
        json!({ "mediaType": manifest.media_type.as_str(), "digest": manifest.digest, "size": manifest.bytes.len(), "platform": { "os": os, "architecture": os } })
    };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(&attestation, "unknown"), entry(child, "linux")],
    });
    let blobs = attestation.blobs.iter().chain(&child.blobs);
    let blobs = blobs.map(|(digest, bytes)| (digest.clone(), bytes.clone())).collect();
    let manifests = attestation.manifests.iter().chain(&child.manifests).cloned().collect();
    sample(&index, "application/vnd.oci.image.index.v1+json", blobs, manifests)
}

fn sample(
    root: &serde_json::Value,
    media_type: &str,
    blobs: Vec<(Digest, Bytes)>,
    mut manifests: Vec<SampleManifest>,
) -> Sample {
    let bytes = Bytes::from(root.to_string());
    let root = Digest::sha256(&bytes);
    manifests.push(SampleManifest {
        media_type: MediaType::new(media_type),
        digest: root.clone(),
        bytes,
        tag: None,
    });
    Sample {
        blobs: blobs.into_iter().collect(),
        manifests,
        root,
    }
}

#[tokio::test]
async fn labels_of_the_configuration_and_annotations_of_the_manifest_select_images() {
    let rule = rule("labels: { tier: gold, team: core }", "");
    let both = labelled(1, &[("tier", "gold"), ("team", "core"), ("more", "x")], &[]);
    let mixed = labelled(2, &[("tier", "gold")], &[("team", "core")]);
    let annotated = labelled(3, &[], &[("tier", "gold"), ("team", "core")]);
    let one = labelled(4, &[("tier", "gold")], &[]);
    let other = labelled(5, &[("tier", "silver"), ("team", "core")], &[]);
    for (image, is_copied) in [
        (index_of(&both), true),
        (both, true),
        (mixed, true),
        (annotated, true),
        (index_of(&one), false),
        (one, false),
        (other, false),
        (images::image(6, &[100]), false),
    ] {
        let fixture = fixture(&rule).await;
        fixture.push_and_tell(&image).await;
        fixture.drain().await;
        let task = fixture.task().await;
        let told = (task.state, task.code.as_deref());
        if is_copied {
            assert_eq!(told, (TaskState::Succeeded, None));
            fixture.assert_equal(&image);
        } else {
            assert_eq!(told, (TaskState::Skipped, Some("LABELS_NOT_MATCHED")));
            assert_eq!(fixture.b.repositories(), []);
        }
    }
}

#[tokio::test]
async fn a_sweep_makes_no_task_for_an_image_without_the_labels() {
    let fixture = fixture(&rule("labels: { tier: gold }", "")).await;
    labelled(1, &[("tier", "gold")], &[]).seed_into(&fixture.a, &fixture.from(), &tag("v1"));
    labelled(2, &[], &[]).seed_into(&fixture.a, &fixture.from(), &tag("v2"));
    sweep(&fixture).await;
    assert_eq!(fixture.states().await, ["succeeded"]);
    assert_eq!(arrived(&fixture), ["v1"]);
}

/// The tags at the destination.
fn arrived(fixture: &Fixture) -> Vec<String> {
    let candidates = ["v1.2.0", "v1.9.0", "v1.10.0", "v2.0.0-rc.1", "v1", "v2", "latest"];
    let is_there = |candidate: &&&str| fixture.b.digest(&fixture.to(), &tag(candidate)).is_some();
    candidates
        .iter()
        .filter(is_there)
        .map(|tag| (*tag).to_owned())
        .collect()
}

fn put_versions(fixture: &Fixture, tags: &[&str]) {
    for (seed, reference) in (1..).zip(tags) {
        images::image(seed, &[100]).seed_into(&fixture.a, &fixture.from(), &tag(reference));
    }
}

#[tokio::test]
async fn only_the_latest_versions_are_copied_and_swept() {
    let tags = ["v1.2.0", "v1.9.0", "v1.10.0"];
    for is_swept in [false, true] {
        let fixture = fixture(&rule("tag: { glob: \"v*\", latest: 2 }", "")).await;
        put_versions(&fixture, &tags);
        images::image(9, &[100]).seed_into(&fixture.a, &fixture.from(), &tag("latest"));
        if is_swept {
            sweep(&fixture).await;
        } else {
            for (seed, reference) in (1..).zip(tags) {
                fixture
                    .tell(&fixture.event(reference, &images::image(seed, &[100]).root))
                    .await;
            }
            fixture.drain().await;
            let codes: BTreeSet<_> = fixture
                .tasks()
                .await
                .into_iter()
                .map(|task| (task.state.as_str(), task.code))
                .collect();
            let skipped = ("skipped", Some("TAG_NOT_LATEST".to_owned()));
            assert_eq!(codes, BTreeSet::from([("succeeded", None), skipped]));
        }
        assert_eq!(arrived(&fixture), ["v1.9.0", "v1.10.0"], "swept: {is_swept}");
    }
}

#[tokio::test]
async fn the_latest_tags_are_not_guessed_where_a_tag_is_not_a_version() {
    let fixture = fixture(&rule("tag: { latest: 1 }", "")).await;
    put_versions(&fixture, &["v1", "v2", "latest"]);
    fixture.tell(&fixture.event("v2", &images::image(2, &[100]).root)).await;
    fixture.drain().await;
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Failed, Some("LATEST_UNDECIDABLE"))
    );
    assert!(task.message.unwrap().contains("\"latest\" is not a version"));
    sweep(&fixture).await;
    assert_eq!(fixture.b.repositories(), [], "neither does the sweep");
}

#[tokio::test]
async fn all_tasks_of_a_rule_share_its_bandwidth() {
    const RATE: usize = 256 * 1024;
    let fixture = fixture(&rule("tag: \"v*\"", "bandwidth: 256KiB/s")).await;
    let begun = Instant::now();
    for (seed, reference) in [(1, "v1"), (2, "v2")] {
        let image = images::image(seed, &[RATE]);
        image.seed_into(&fixture.a, &fixture.from(), &tag(reference));
        fixture.tell(&fixture.event(reference, &image.root)).await;
    }
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["succeeded", "succeeded"]);
    // The first second's bytes pass at once; with a limit for each task, both would.
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
    assert_eq!(fixture.b.repositories(), [name("copy/app")]);
}
