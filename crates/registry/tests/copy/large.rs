//! Graphs whose manifests do not all stay in memory.

use serde_json::{Value, json};
use transship_oci::Digest;
use transship_oci::media_type::OCI_MANIFEST;
use transship_testkit::images;

use crate::graphs::{digest, index, put, tag_as};
use crate::world::{World, asked, name};

const MEBIBYTE: usize = 1024 * 1024;

/// A manifest of `bytes` bytes or a little more, which names its layer `layers` times.
fn manifest(world: &World, number: usize, bytes: usize, layers: usize) -> Value {
    let algorithm = transship_oci::Algorithm::Sha256;
    let layer = world.source.seed_blob(&name("core/app"), algorithm, "layer".into());
    let layer = json!({ "mediaType": "application/octet-stream", "digest": layer, "size": 5 });
    put(
        world,
        OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": layer, "layers": vec![&layer; layers],
            "annotations": { "number": number.to_string(), "pad": "p".repeat(bytes) },
        }),
    )
}

/// How often the manifest `child` was read at the source.
fn reads(world: &World, child: &Value) -> usize {
    asked(&world.source, "GET", &format!("/manifests/{}", digest(child))).len()
}

fn assert_arrived(world: &World, all: &[Value]) {
    let arrived = world.destination.manifests(&name("copy/app"));
    let missing: Vec<Digest> = all.iter().map(digest).filter(|part| !arrived.contains(part)).collect();
    assert_eq!(missing, []);
}

#[tokio::test]
async fn what_a_graph_has_no_room_for_is_read_again_when_it_is_written() {
    let world = World::new().await;
    let children: Vec<Value> = (0..12).map(|number| manifest(&world, number, MEBIBYTE, 1)).collect();
    let root = index(&world, &children);
    tag_as(&world, &root);
    world.copy().await.unwrap();
    assert_eq!(world.arrived(), Some(digest(&root)));
    assert_arrived(&world, &children);
    let times: Vec<usize> = children.iter().map(|child| reads(&world, child)).collect();
    // Other tests of this process may keep something as well.
    assert!(times.iter().all(|times| (1..=2).contains(times)), "{times:?}");
    assert!(times.iter().filter(|times| **times == 2).count() >= 5, "{times:?}");
    assert_eq!(asked(&world.source, "GET", "/blobs/").len(), 1);
}

#[tokio::test]
async fn a_manifest_of_too_many_blobs_to_keep_is_copied() {
    let world = World::new().await;
    let children: Vec<Value> = (0..3).map(|number| manifest(&world, number, 0, 19_000)).collect();
    let root = index(&world, &children);
    tag_as(&world, &root);
    let report = world.copy().await.unwrap();
    assert_eq!(world.arrived(), Some(digest(&root)));
    assert_arrived(&world, &children);
    assert_eq!(report.blobs.copied, 1);
    assert!(children.iter().any(|child| reads(&world, child) > 2));
}

#[tokio::test]
async fn an_image_of_too_many_bytes_of_manifests_is_refused() {
    let world = World::new().await;
    let children: Vec<Value> = (0..9).map(|number| manifest(&world, number, 4_000_000, 1)).collect();
    let root = index(&world, &children);
    tag_as(&world, &root);
    let error = world.fails().await;
    assert_eq!(error.code(), "GRAPH_TOO_LARGE");
    assert!(error.is_permanent(), "{error}");
    assert!(error.to_string().contains("33554432 bytes"), "{error}");
    world.assert_nothing_visible();
}

#[tokio::test]
async fn an_ordinary_image_is_read_once_beside_large_ones() {
    let world = World::new().await;
    let large: Vec<Value> = (0..12).map(|number| manifest(&world, number, MEBIBYTE, 1)).collect();
    let root = index(&world, &large);
    tag_as(&world, &root);
    let small = World::with(&images::multi_platform(4)).await;
    let (first, second) = tokio::join!(world.copy(), small.copy());
    first.unwrap();
    second.unwrap();
    for child in &images::multi_platform(4).manifests {
        let path = format!("/manifests/{}", child.digest);
        assert!(asked(&small.source, "GET", &path).len() <= 1, "{path}");
    }
}
