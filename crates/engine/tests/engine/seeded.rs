//! Many small images under many seeds of trouble: every task ends well and every image arrives equal.
//!
//! Replay one seed with `TRANSSHIP_SEED=<seed> cargo test -p transship-engine --test engine seeded`.

use std::sync::Arc;

use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::TaskState;
use transship_testkit::clock::ManualClock;
use transship_testkit::faults::Seeded;
use transship_testkit::images::{self, Sample};
use transship_testkit::memory::MemoryQueue;

use crate::house::{House, RULE};

const SEEDS: u64 = 200;

fn sample(seed: u64) -> Sample {
    match seed % 6 {
        0 => images::image(seed, &[5000, 300]),
        1 => images::multi_platform(seed),
        2 => images::with_referrer(seed),
        3 => images::with_cosign_signature(seed),
        4 => images::empty_layers(seed),
        _ => images::nested_index(seed),
    }
}

/// One seed: an image that moves to another one, told more than once, out of order, between registries that fail.
async fn voyage(seed: u64) {
    let clock = ManualClock::default();
    let queue = MemoryQueue::harsh(Arc::new(clock.clone()), seed);
    let builder = |lists: bool| EmbeddedRegistry::builder().referrers_api(lists);
    let house = House::with_queue(builder(seed & 8 == 0), builder(seed & 16 == 0), RULE, clock, queue).await;
    let percent = if seed % 2 == 0 { 10 } else { 20 };
    let (troubled_source, troubled_destination) = (
        Arc::new(Seeded::new(seed, percent)),
        Arc::new(Seeded::new(seed ^ 0xb0a7, percent)),
    );
    house.a.set_faults(Some(Arc::clone(&troubled_source) as _));
    house.b.set_faults(Some(Arc::clone(&troubled_destination) as _));
    let (old, new) = (sample(seed), sample(seed + 1000));
    house.push_and_tell(&old).await;
    if seed % 3 == 0 {
        house.drain().await;
    }
    house.push_and_tell(&new).await;
    house.drain().await;
    house.assert_equal(&new);
    for task in house.tasks().await {
        assert!(matches!(task.state, TaskState::Succeeded | TaskState::Unchanged), "{task:?}");
    }
}

#[test]
fn every_image_arrives_whatever_befalls_its_requests() {
    let only = std::env::var("TRANSSHIP_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds: Vec<u64> = only.map_or_else(|| (0..SEEDS).collect(), |seed| vec![seed]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let failed: Vec<u64> = runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        let (mut failed, mut open) = (Vec::new(), seeds.into_iter());
        loop {
            while running.len() < 4
                && let Some(seed) = open.next()
            {
                running.spawn(async move { (seed, tokio::spawn(voyage(seed)).await) });
            }
            let Some(ended) = running.join_next().await else { return failed };
            let (seed, ended) = ended.unwrap();
            if ended.is_err() {
                failed.push(seed);
            }
        }
    });
    assert!(
        failed.is_empty(),
        "seeds {failed:?} failed; replay one with TRANSSHIP_SEED={} cargo test -p transship-engine --test engine seeded",
        failed[0]
    );
}
