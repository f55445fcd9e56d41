//! A layer that is too large for one time slot is uploaded by many workers, and hardly any byte is sent twice.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Runtime;
use transship_embedded_registry::{EmbeddedRegistry, VirtualBlob};
use transship_oci::{Descriptor, Repository, Tag};
use transship_testkit::images;
use transship_tests::delivery;
use transship_tests::fleet::Options;
use transship_tests::{Document, Fleet};

use crate::stage::{TIMEOUT, alone, body, seed};

const MEBIBYTE: u64 = 1024 * 1024;
const LAYER_BYTES: u64 = 4 * 1024 * MEBIBYTE;
/// The largest chunk, by the design.
const CHUNK_BYTES: u64 = 64 * MEBIBYTE;
const SLOT: Duration = Duration::from_secs(5);
const MEMORY_BYTES: u64 = 64 * MEBIBYTE;

/// A source with an image whose layer is generated from a seed, and the descriptor of the layer.
async fn source_with_a_huge_layer(repository: &Repository, tag: &Tag) -> (EmbeddedRegistry, Descriptor) {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let (layer, _) = images::seed_virtual_layer(&registry, repository, tag, &VirtualBlob::new(7, LAYER_BYTES));
    (registry, layer)
}

#[test]
fn a_layer_of_4_gib_goes_through_many_slots_of_5_seconds() {
    let (_alone, runtime) = (alone(), Runtime::new().unwrap());
    let (repository, tag): (Repository, Tag) = ("core/app".parse().unwrap(), "v1".parse().unwrap());
    let (source, layer) = runtime.block_on(source_with_a_huge_layer(&repository, &tag));
    // It hashes what it is sent, refuses what does not have its digest, and keeps none of it.
    let destination = EmbeddedRegistry::builder().discard_blobs_above(MEBIBYTE).start();
    let destination = runtime.block_on(destination).unwrap();
    let mut fleet = Fleet::prepare(Options {
        slot: SLOT,
        ..Options::calm(seed())
    });
    let document = Document::default()
        .registry(
            "a",
            source.host().as_str(),
            "webhook: { secret: \"secretsmanager:fleet/hook\" }",
        )
        .registry("b", destination.host().as_str(), "limits: { bandwidth: 100MB/s }")
        .rule("core", "core", "copy", "");
    let begun = Instant::now();
    fleet.begin(&document);
    let digest = source.digest(&repository, &tag).unwrap().to_string();
    let event = delivery::push_event(source.host().as_str(), "core/app", "v1", &digest, 1);
    fleet.bridge().take(delivery::DISTRIBUTION_EVENTS, &event);
    let tasks = fleet.until_at_rest(TIMEOUT);

    let copied: Repository = "copy/app".parse().unwrap();
    assert_eq!(destination.digest(&copied, &tag), source.digest(&repository, &tag));
    assert_eq!(destination.blob_size(&copied, &layer.digest), Some(LAYER_BYTES));
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    assert_eq!(tasks[0]["state"], "succeeded", "{}", tasks[0]);

    let handed_over = fleet
        .messages()
        .iter()
        .filter_map(|message| tries(message))
        .max()
        .unwrap_or(0);
    let (received, peak) = (destination.traffic().total.bytes_in, fleet.peak_resident_bytes());
    eprintln!(
        "{handed_over} hand-overs, {} MiB too many, {} MiB of memory, {:.0} s, {:?}, {:?}",
        received.saturating_sub(LAYER_BYTES) / MEBIBYTE,
        peak / MEBIBYTE,
        begun.elapsed().as_secs_f64(),
        fleet.tally(),
        fleet.before_workers().take_calls(),
    );
    assert!(
        handed_over >= 5,
        "4 GiB do not pass in {handed_over} slots of 5 seconds at 100 MB/s"
    );
    // Requests that are not for the layer are small: a manifest, a config.
    let small = MEBIBYTE;
    assert!(received >= LAYER_BYTES, "{received}");
    assert!(
        received <= LAYER_BYTES + handed_over * CHUNK_BYTES + small,
        "{received} bytes, {handed_over} hand-overs"
    );
    assert!(peak > 0 && peak <= MEMORY_BYTES, "{} MiB at the peak", peak / MEBIBYTE);
    assert_eq!(fleet.tally().timed_out, 0, "a worker was killed at its deadline");
    let left: Vec<_> = fleet.items().into_iter().filter(crate::stage::is_upload).collect();
    assert!(left.is_empty(), "an upload is remembered: {left:?}");
    assert_eq!(
        body(&tasks[0])["tries"],
        json!(null),
        "the ledger keeps the task as it was recorded"
    );
}

fn tries(message: &str) -> Option<u64> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    message["tries"].as_u64()
}
