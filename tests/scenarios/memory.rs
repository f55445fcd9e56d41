//! Memory does not grow with the layer: 10 GiB pass through a few chunks.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use transship_embedded_registry::{EmbeddedRegistry, VirtualBlob};
use transship_oci::{Algorithm, Repository, Tag};
use transship_tests::process::peak_resident_bytes;
use transship_tests::{images, transship, wait};

const MEBIBYTE: u64 = 1024 * 1024;
const LAYER_BYTES: u64 = 10 * 1024 * MEBIBYTE;
const LIMIT_BYTES: u64 = 64 * MEBIBYTE;
/// A dev build on two busy cores; a hang must end all the same.
const TIMEOUT: Duration = Duration::from_mins(8);

/// A source with an image whose one layer is made of nothing but a seed; what its manifest says of the layer.
async fn source_with_a_huge_layer(repository: &Repository, tag: &Tag) -> (EmbeddedRegistry, transship_oci::Descriptor) {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let layer = registry.seed_virtual_blob(repository, &VirtualBlob::new(7, LAYER_BYTES));
    let config = Bytes::from_static(br#"{"architecture":"amd64","os":"linux"}"#);
    let config_digest = registry.seed_blob(repository, Algorithm::Sha256, config.clone());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": images::IMAGE,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.digest, "size": layer.size }],
    });
    let digest = registry.seed_manifest(repository, &images::IMAGE.into(), manifest.to_string().into());
    registry.tag(repository, tag, &digest);
    (registry, layer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_of_10_gib_passes_in_64_mib_of_memory() {
    let (repository, tag): (Repository, Tag) = ("core/app".parse().unwrap(), "v1".parse().unwrap());
    let (source, layer) = source_with_a_huge_layer(&repository, &tag).await;
    // The destination hashes what it is sent, refuses what does not have its digest, and keeps none of it.
    let destination = EmbeddedRegistry::builder()
        .discard_blobs_above(MEBIBYTE)
        .start()
        .await
        .unwrap();
    let memory = tempfile::tempdir().unwrap();
    let mut child = transship::command()
        .args(["copy", &format!("{}/{repository}:{tag}", source.host())])
        .args([
            &format!("{}/{repository}:{tag}", destination.host()),
            "--json",
            "--data",
        ])
        .arg(memory.path())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(memory.path().join("log")).unwrap())
        .spawn()
        .unwrap();

    let (mut peak, begun) = (0, Instant::now());
    let status = tokio::task::spawn_blocking(move || {
        loop {
            peak = peak.max(peak_resident_bytes(child.id()).unwrap_or(0));
            if let Some(status) = child.try_wait().unwrap() {
                return Some((status, peak));
            }
            if begun.elapsed() > TIMEOUT {
                child.kill().unwrap();
                child.wait().unwrap();
                return None;
            }
            wait::pause();
        }
    })
    .await
    .unwrap();
    let said = std::fs::read_to_string(memory.path().join("log")).unwrap_or_default();
    let (status, peak) = status.unwrap_or_else(|| panic!("not within {TIMEOUT:?}\n{said}"));
    assert!(status.success(), "{status}: {said}");
    assert_eq!(destination.blob_size(&repository, &layer.digest), Some(LAYER_BYTES));
    assert_eq!(destination.digest(&repository, &tag), source.digest(&repository, &tag));
    assert!(peak > 0 && peak <= LIMIT_BYTES, "{} MiB at the peak", peak / MEBIBYTE);
    eprintln!("peak {} MiB, {:.0} s", peak / MEBIBYTE, begun.elapsed().as_secs_f64());
}
