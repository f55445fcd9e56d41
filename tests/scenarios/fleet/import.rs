//! Two hundred images from a bucket while the registry fails and workers are killed: each is copied completely and once.

use std::time::{Duration, Instant};

use serde_json::Value;
use transship_testkit::lambda_runtime::{Ended, Lambda};
use transship_tests::aws_faults::Rates;
use transship_tests::fleet::{Deliveries, Options};
use transship_tests::layouts::{Corpus, Objects, events_of};
use transship_tests::random::Random;
use transship_tests::{DockerRegistry, check};

use crate::stage::{Stage, TIMEOUT, alone, seed};

const BUCKET: &str = "layouts";
const PREFIX: &str = "to-destination/";
const KILLS: usize = 20;
/// Maximum number of keys in one event. S3 sends one at a time, a queue in front of the function ten.
const EVENT_MAX: usize = 10;

fn options() -> Options {
    Options {
        workers: 4,
        slot: Duration::from_secs(20),
        deliveries: Deliveries {
            copies_max: 2,
            batch_max: 5,
            kills: KILLS,
            ..Deliveries::default()
        },
        aws: Rates {
            throttled: 2,
            ..Rates::default()
        },
        ..Options::calm(seed())
    }
}

#[test]
fn two_hundred_images_of_a_bucket_arrive_whatever_befalls_the_registry_and_the_workers() {
    if DockerRegistry::skipped() {
        return;
    }
    let (_alone, begun) = (alone(), Instant::now());
    eprintln!("replay with TRANSSHIP_SEED={}", seed());
    let corpus = Corpus::two_hundred(seed());
    let stage = Stage::set_with(options(), |document| document.import("seed", BUCKET, PREFIX, "seeded"));
    stage.fleet.aws().bucket_create(BUCKET);
    let faults = stage.trouble(seed(), 10);
    let bulk_import = stage.fleet.bulk_import();
    let objects = Objects::shuffled(corpus.objects(PREFIX), seed());
    objects.upload(|key, bytes| stage.fleet.aws().object_put(BUCKET, key, bytes));
    let mut random = Random::new(seed());
    let keys: Vec<&str> = objects.keys().collect();
    tell(&stage, &bulk_import, &keys, &mut random);
    // Late, and once more.
    tell(&stage, &bulk_import, &keys[..keys.len() / 10], &mut random);
    let tasks = stage.fleet.until_at_rest(TIMEOUT);
    let tally = stage.fleet.tally();
    eprintln!("at rest after {:?}: {tally:?}", begun.elapsed());
    assert!(tally.killed >= KILLS, "so many workers were to die: {tally:?}");
    assert_eq!(tally.crashed, 0, "and none of itself");
    assert!(faults[1].struck() > 50, "the registry had no trouble");

    assert!(tasks.len() >= corpus.tasks(), "{} tasks", tasks.len());
    let is_well = |task: &&Value| {
        ["succeeded", "unchanged"].contains(&task["state"].as_str().unwrap()) || task["code"] == "SOURCE_REPLACED"
    };
    assert_eq!(tasks.iter().find(|task| !is_well(task)), None);
    let host = stage.destination.unlocked_host();
    for (repository, references) in corpus.expected("seeded") {
        check::holds(&host, &repository, &references).unwrap();
    }
    for [repository, subject, referrer] in corpus.referrers("seeded") {
        let listed = check::referrers(&host, &repository, &subject).unwrap();
        assert!(listed.contains(&referrer), "{repository} does not list {referrer}");
    }
    let waiting = stage
        .fleet
        .items()
        .into_iter()
        .find(|item| item["pk"].as_str().unwrap().starts_with("scan#"));
    assert_eq!(waiting, None, "a source waits");
    stage.assert_clean();
    eprintln!(
        "all of it in {:?}, {} MiB at most",
        begun.elapsed(),
        stage.fleet.peak_resident_bytes() >> 20
    );
}

/// Sends events for these uploads to the function, of any size, and repeats each until it succeeds, as Lambda does.
fn tell(stage: &Stage, bulk_import: &Lambda, keys: &[&str], random: &mut Random) {
    let mut left = keys;
    while !left.is_empty() {
        let (event, rest) = left.split_at((1 + random.below(EVENT_MAX)).min(left.len()));
        let event = events_of(BUCKET, event.iter().copied());
        let taken = (0..3).any(|_| matches!(stage.fleet.invoke(bulk_import, &event), Ended::Answered(_)));
        assert!(taken, "an event is not taken: {}", bulk_import.log());
        left = rest;
    }
}
