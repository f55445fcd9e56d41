//! Memory does not grow with the size of a layer: 10 GiB are copied with a few chunks.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use transship_embedded_registry::{EmbeddedRegistry, VirtualBlob};
use transship_oci::{Descriptor, Repository, Tag};
use transship_testkit::images;
use transship_tests::process::peak_resident_bytes;
use transship_tests::{transship, wait};

const MEBIBYTE: u64 = 1024 * 1024;
const LAYER_BYTES: u64 = 10 * 1024 * MEBIBYTE;
const LIMIT_BYTES: u64 = 64 * MEBIBYTE;
/// A dev build on two busy cores; a hang must end all the same.
const TIMEOUT: Duration = Duration::from_mins(8);

/// A source with an image whose layer is generated from a seed, and the descriptor of the layer.
async fn source_with_a_huge_layer(repository: &Repository, tag: &Tag) -> (EmbeddedRegistry, Descriptor) {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let (layer, _) = images::seed_virtual_layer(&registry, repository, tag, &VirtualBlob::new(7, LAYER_BYTES));
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
