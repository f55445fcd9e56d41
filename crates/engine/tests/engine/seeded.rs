//! Many small images under many seeds of trouble: every task ends well and every image arrives equal.
//!
//! Replay one seed with `TRANSSHIP_SEED=<seed> cargo test -p transship-engine --test engine seeded`.

use std::sync::Arc;

use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::TaskState;
use transship_testkit::faults::Seeded;
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE};

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

/// One seed: an image that moves to another one, told more than once, out of order, between registries that fail. How
/// many requests failed.
async fn voyage(fixture: Fixture, seed: u64) -> u64 {
    let percent = if seed.is_multiple_of(2) { 10 } else { 20 };
    let (troubled_source, troubled_destination) = (
        Arc::new(Seeded::new(seed, percent)),
        Arc::new(Seeded::new(seed ^ 0xb0a7, percent)),
    );
    fixture.a.set_faults(Some(Arc::clone(&troubled_source) as _));
    fixture.b.set_faults(Some(Arc::clone(&troubled_destination) as _));
    let (old, new) = (sample(seed), sample(seed + 1000));
    fixture.push_and_tell(&old).await;
    if seed.is_multiple_of(3) {
        fixture.drain().await;
    }
    fixture.push_and_tell(&new).await;
    fixture.drain().await;
    for task in fixture.tasks().await {
        assert!(
            matches!(task.state, TaskState::Succeeded | TaskState::Unchanged),
            "{task:?}"
        );
    }
    fixture.assert_equal(&new);
    troubled_source.struck() + troubled_destination.struck()
}

/// The seeds of one pair of registries, one after another: the requests that failed, and the seeds.
async fn voyages(which: u64, seeds: Vec<u64>) -> (u64, Vec<u64>) {
    let builder = |lists: bool| EmbeddedRegistry::builder().referrers_api(lists);
    let fixture = Fixture::of(builder(which & 1 == 0), builder(which & 2 == 0), RULE).await;
    let (mut struck, mut failed) = (0, Vec::new());
    for seed in seeds {
        match tokio::spawn(voyage(fixture.anew(seed), seed)).await {
            Ok(requests) => struck += requests,
            Err(_) => failed.push(seed),
        }
    }
    (struck, failed)
}

#[test]
fn every_image_arrives_whatever_befalls_its_requests() {
    let only = std::env::var("TRANSSHIP_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    if only.is_some() {
        // A replay of one seed prints its steps.
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_test_writer()
            .init();
    }
    let seeds = only.map_or(0..SEEDS, |seed| seed..seed + 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for which in 0..4 {
            // Kinds of samples go round by six, so each pair of registries meets all of them.
            let own = seeds.clone().filter(|seed| seed / 6 % 4 == which);
            running.spawn(voyages(which, own.collect()));
        }
        running.join_all().await
    });
    let (struck, failed): (Vec<u64>, Vec<Vec<u64>>) = ended.into_iter().unzip();
    let failed = failed.concat();
    assert!(
        failed.is_empty(),
        "seeds {failed:?} failed; replay one with TRANSSHIP_SEED={} cargo test -p transship-engine --test engine seeded",
        failed[0]
    );
    assert!(
        struck.iter().sum::<u64>() > seeds.end - seeds.start,
        "voyages without trouble prove nothing"
    );
}
