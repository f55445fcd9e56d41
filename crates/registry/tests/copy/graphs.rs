//! Graphs that are odd, broken or hostile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use transship_copy::{Options, State};
use transship_embedded_registry::faults::Action;
use transship_oci::media_type::{DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Algorithm, Digest, Target};
use transship_testkit::images::{self, Sample};

use crate::world::{World, asked, name, tag, watch};

/// Puts a manifest into the source repository; its descriptor.
pub fn put(world: &World, media_type: &str, manifest: &Value) -> Value {
    let bytes = Bytes::from(manifest.to_string());
    let digest = world
        .source
        .seed_manifest(&name("core/app"), &media_type.into(), bytes.clone());
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

pub fn index(world: &World, children: &[Value]) -> Value {
    put(
        world,
        OCI_INDEX,
        &json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children }),
    )
}

pub fn digest(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

pub fn tag_as(world: &World, descriptor: &Value) {
    world.source.tag(&name("core/app"), &tag("v1"), &digest(descriptor));
}

/// Gives the image `count` referrers that share their configuration, whose digest comes back.
pub fn refer_often(world: &World, image: &Sample, count: usize) -> Digest {
    for number in 0..count {
        refer(world, &image.root, image.root_manifest().unwrap().bytes.len(), number);
    }
    Digest::sha256(b"{}")
}

/// A referrer of `subject`.
pub fn refer(world: &World, subject: &Digest, size: usize, number: usize) -> Value {
    let empty = world
        .source
        .seed_blob(&name("core/app"), Algorithm::Sha256, Bytes::from_static(b"{}"));
    let empty = json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 });
    put(
        world,
        OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.note",
            "config": empty, "layers": [empty],
            "subject": { "mediaType": OCI_INDEX, "digest": subject, "size": size },
            "annotations": { "number": number.to_string() },
        }),
    )
}

fn descriptor_of(sample: &Sample) -> Value {
    let root = sample.root_manifest().unwrap();
    json!({ "mediaType": root.media_type, "digest": root.digest, "size": root.bytes.len() })
}

#[tokio::test]
async fn schema_1_is_refused_by_its_code() {
    let world = World::with(&images::schema1(1)).await;
    let error = world.fails().await;
    assert_eq!(error.code(), "MANIFEST_SCHEMA1_UNSUPPORTED");
    assert!(error.persistence().is_permanent());
    world.assert_nothing_visible();
}

#[tokio::test]
async fn schema_1_within_an_index_is_refused_too() {
    let old = images::schema1(1);
    let world = World::with(&old).await;
    let root = index(&world, &[descriptor_of(&old)]);
    tag_as(&world, &root);
    assert!(world.fails().await.persistence().is_permanent());
    world.assert_nothing_visible();
}

#[tokio::test]
async fn a_child_the_source_lost_ends_the_copy_before_anything_is_visible() {
    let sample = images::multi_platform(2);
    let world = World::with(&sample).await;
    world.source.forget(&name("core/app"), &sample.manifests[0].digest);
    let error = world.fails().await;
    assert_eq!(error.code(), "SOURCE_NOT_FOUND");
    assert!(
        error.to_string().contains(&sample.manifests[0].digest.to_string()),
        "{error}"
    );
    assert!(error.persistence().is_permanent());
    world.assert_nothing_visible();
}

#[tokio::test]
async fn a_blob_the_source_lost_ends_the_copy_before_the_tag() {
    let sample = images::image(3, &[100, 200]);
    let world = World::with(&sample).await;
    let lost = sample.blobs.keys().next().unwrap();
    world.source.forget(&name("core/app"), lost);
    let error = world.fails().await;
    assert_eq!(error.code(), "BLOB_NOT_FOUND");
    assert!(error.to_string().contains(&lost.to_string()), "{error}");
    assert!(error.persistence().is_permanent());
    world.assert_nothing_visible();
}

#[tokio::test]
async fn an_image_that_is_not_there_is_said_to_be_not_there() {
    let world = World::new().await;
    let error = world.fails().await;
    assert_eq!(error.code(), "SOURCE_NOT_FOUND");
    assert!(error.to_string().contains("core/app:v1"), "{error}");
}

#[tokio::test]
async fn indexes_nested_without_end_are_refused() {
    let image = images::image(4, &[10]);
    let world = World::with(&image).await;
    let mut nested = descriptor_of(&image);
    for _ in 0..40 {
        nested = index(&world, &[nested]);
    }
    tag_as(&world, &nested);
    let error = world.fails().await;
    assert_eq!(error.code(), "INDEX_TOO_DEEP");
    assert!(error.persistence().is_permanent());
    assert!(
        asked(&world.source, "GET", "").len() < 12,
        "it was not followed further"
    );
    world.assert_nothing_visible();
}

#[tokio::test]
async fn indexes_that_name_each_other_many_times_are_read_once_each() {
    let image = images::image(5, &[10]);
    let world = World::with(&image).await;
    // Seven levels of four: followed naively, 4^7 reads.
    let mut level = vec![descriptor_of(&image)];
    for depth in 0..7 {
        let make = |number: usize| {
            let children: Vec<Value> = level
                .iter()
                .map(|child| {
                    let mut child = child.clone();
                    child["annotations"] = json!({ "at": format!("{depth}.{number}") });
                    child
                })
                .collect();
            index(&world, &children)
        };
        level = (0..if depth == 6 { 1 } else { 4 }).map(make).collect();
    }
    tag_as(&world, &level[0]);
    world.copy().await.unwrap();
    assert_eq!(world.arrived(), Some(digest(&level[0])));
    assert_eq!(
        asked(&world.source, "GET", "/manifests/sha256:").len(),
        6 * 4 + 1,
        "the root was read by its tag"
    );
}

#[tokio::test]
async fn a_manifest_whose_bytes_are_not_its_own_is_refused() {
    let sample = images::multi_platform(6);
    let world = World::with(&sample).await;
    let child = &sample.manifests[0];
    let other = world
        .source
        .manifest(&name("core/app"), &Target::Digest(sample.manifests[1].digest.clone()));
    let lie = crate::world::answer(200, &[("content-type", child.media_type.as_str())], other.unwrap().1);
    let path = format!("/manifests/{}", child.digest);
    world.source.set_faults(Some(crate::world::always("GET", &path, lie)));
    assert_eq!(world.fails().await.code(), "MANIFEST_DIGEST_MISMATCH");
    world.assert_nothing_visible();
}

#[tokio::test]
async fn a_blob_that_came_with_its_descriptor_is_not_fetched() {
    let world = World::new().await;
    let image = images::image(7, &[10]);
    world.seed(&image);
    let inline = json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2, "data": "e30=",
    });
    let layer = world
        .source
        .seed_blob(&name("core/app"), Algorithm::Sha256, Bytes::from_static(b"layer"));
    let layer = json!({ "mediaType": "application/octet-stream", "digest": layer, "size": 5 });
    let root = put(
        &world,
        OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example",
            "config": inline, "layers": [layer],
        }),
    );
    tag_as(&world, &root);
    world.copy().await.unwrap();
    assert_eq!(
        world
            .destination
            .blob(&name("copy/app"), &Digest::sha256(b"{}"))
            .as_deref(),
        Some(&b"{}"[..])
    );
    assert_eq!(asked(&world.source, "GET", "/blobs/").len(), 1);
}

#[tokio::test]
async fn a_signature_of_an_sbom_follows_the_image_of_the_sbom() {
    for lists in [true, false] {
        let image = images::image(8, &[10]);
        let world = World::of(
            transship_embedded_registry::EmbeddedRegistry::builder(),
            transship_embedded_registry::EmbeddedRegistry::builder().referrers_api(lists),
        )
        .await;
        world.seed(&image);
        let sbom = refer(&world, &image.root, image.root_manifest().unwrap().bytes.len(), 1);
        let signature = refer(&world, &digest(&sbom), 1, 2);
        world.copy().await.unwrap();
        for referrer in [&sbom, &signature] {
            assert!(
                world
                    .destination
                    .manifests(&name("copy/app"))
                    .contains(&digest(referrer))
            );
        }
        if !lists {
            let fallback = Target::Tag(tag(&digest(&sbom).fallback_tag()));
            let (_, listed) = world.destination.manifest(&name("copy/app"), &fallback).unwrap();
            assert_eq!(crate::world::children(listed), [digest(&signature)]);
        }
    }
}

#[tokio::test]
async fn members_reach_below_an_index_the_destination_had() {
    let nested = images::nested_index(9);
    let world = World::with(&nested).await;
    world.copy().await.unwrap();
    // A new root over the old one: what is there is not read again, and still belongs to the image.
    let beside = images::image(10, &[10]);
    world.seed(&beside);
    let root = index(&world, &[descriptor_of(&nested), descriptor_of(&beside)]);
    tag_as(&world, &root);
    let leaf = &nested.manifests[0];
    let note = refer(&world, &leaf.digest, leaf.bytes.len(), 1);
    let report = world.copy().await.unwrap();
    assert!(
        report.members.contains(&leaf.digest),
        "what refers to it later must find it"
    );
    assert!(world.destination.manifests(&name("copy/app")).contains(&digest(&note)));
}

/// An image of one layer; its descriptor.
fn small_image(world: &World, number: usize) -> Value {
    let blob = |text: String| {
        let bytes = Bytes::from(text);
        let size = bytes.len();
        let digest = world.source.seed_blob(&name("core/app"), Algorithm::Sha256, bytes);
        json!({ "mediaType": "application/vnd.example.part", "digest": digest, "size": size })
    };
    let (config, layer) = (blob(format!("config {number}")), blob(format!("layer {number}")));
    let image = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer] });
    put(world, OCI_MANIFEST, &image)
}

#[tokio::test]
async fn an_index_of_hundreds_arrives_however_little_each_attempt_may_ask() {
    let world = World::new().await;
    let children: Vec<Value> = (0..200).map(|number| small_image(&world, number)).collect();
    let root = index(&world, &children);
    tag_as(&world, &root);
    // As many requests as a slot has time for where a registry lets us send only so many a second.
    let left = Arc::new(AtomicU64::new(0));
    let budget = Arc::clone(&left);
    watch(&world.destination, move |_| {
        let is_over = budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_err();
        is_over.then(|| Action::status(418))
    });
    let mut attempts = 0;
    while world.arrived().is_none() {
        assert!(attempts < 20, "it makes no progress");
        left.store(450, Ordering::Relaxed);
        let options = Options {
            is_repeated: attempts > 0,
            ..Options::default()
        };
        world.copy_with(options).await.ok();
        attempts += 1;
    }
    assert_eq!(world.arrived(), Some(digest(&root)));
    assert!(attempts > 2, "{attempts} attempts: the time budget had no effect");
}

#[tokio::test]
async fn an_index_that_names_blobs_is_copied_with_them() {
    // The cache that BuildKit exports to a registry: an index of layers and a configuration.
    let world = World::new().await;
    let blob = |media_type: &str, bytes: &'static [u8]| {
        let bytes = Bytes::from_static(bytes);
        let digest = world
            .source
            .seed_blob(&name("core/app"), Algorithm::Sha256, bytes.clone());
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", b"layer");
    let config = blob("application/vnd.buildkit.cacheconfig.v0", b"{}");
    let cache = index(&world, &[layer.clone(), config.clone()]);
    tag_as(&world, &cache);
    for expected in [State::Copied, State::Unchanged] {
        assert_eq!(world.copy().await.unwrap().state, expected);
    }
    assert_eq!(world.arrived(), Some(digest(&cache)));
    for part in [layer, config] {
        assert!(world.destination.blob(&name("copy/app"), &digest(&part)).is_some());
    }
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_its_name() {
    let world = World::new().await;
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    let retired = put(
        &world,
        artifact,
        &json!({ "mediaType": artifact, "artifactType": "a/b", "blobs": [] }),
    );
    let blake3 = json!({ "mediaType": OCI_MANIFEST, "digest": format!("blake3:{}", "0".repeat(64)), "size": 1 });
    for (root, code, word) in [
        (retired.clone(), "MANIFEST_UNSUPPORTED", artifact),
        (index(&world, &[retired]), "MANIFEST_UNSUPPORTED", artifact),
        (index(&world, &[blake3]), "DIGEST_UNSUPPORTED", "blake3"),
    ] {
        tag_as(&world, &root);
        let error = world.fails().await;
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        world.assert_nothing_visible();
    }
}

#[tokio::test]
async fn an_oci_manifest_that_is_sent_as_docker_arrives_as_oci() {
    let world = World::new().await;
    let config = world
        .source
        .seed_blob(&name("core/app"), Algorithm::Sha256, Bytes::from_static(b"{}"));
    let config = json!({ "mediaType": OCI_CONFIG, "digest": config, "size": 2 });
    let image = put(
        &world,
        DOCKER_MANIFEST,
        &json!({ "schemaVersion": 2, "config": config, "layers": null, "annotations": null }),
    );
    tag_as(&world, &image);
    world.copy().await.unwrap();
    let (media_type, _) = world
        .destination
        .manifest(&name("copy/app"), &Target::Tag(tag("v1")))
        .unwrap();
    assert_eq!(media_type.as_str(), OCI_MANIFEST);
    assert_eq!(world.arrived(), Some(digest(&image)));
}
