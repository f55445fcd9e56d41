//! A hundred images with four workers under all kinds of failures: each is copied completely and once, and nothing is left
//! over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use transship_tests::aws_faults::{AwsFaults, Rates};
use transship_tests::fleet::{Deliveries, Options};
use transship_tests::images::{Content, fallback_index};
use transship_tests::random::Random;
use transship_tests::{DockerRegistry, Image, Watch, check, push, until};

use crate::stage::{Endings, Stage, TIMEOUT, alone, endings, is_upload, now_ms, seed};

const IMAGES: usize = 100;
const REPOSITORIES: usize = 8;
const KILLS: usize = 50;
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn options() -> Options {
    Options {
        workers: 4,
        slot: Duration::from_secs(20),
        deliveries: Deliveries {
            copies_max: 3,
            batch_max: 5,
            kills: KILLS,
            ..Deliveries::default()
        },
        aws: Rates {
            throttled: 5,
            lost: 1,
            partial: 60,
        },
        ..Options::calm(seed())
    }
}

/// One of a hundred. Layers are shared between images and repositories; one in twenty is large enough to go in chunks.
fn image(number: usize, random: &mut Random) -> Image {
    let seed = random.next();
    match number % 10 {
        0 => Image::multi_platform(seed, 20_000),
        1 => Image::chart(seed),
        2 => Image::artifact(seed),
        3 => Image::nested(seed),
        4 => Image::uncompressed_and_empty(seed),
        5 if number.is_multiple_of(20) => Image::single(seed, &[9_000_000, 100]),
        _ => {
            let base = Content::new(LAYER, Random::new(number as u64 % 3).bytes(150_000));
            let own = Content::new(LAYER, random.bytes(1 + random.clone().below(30_000)));
            Image::of_layers("amd64", vec![base, own], &json!({ "number": number.to_string() }))
        }
    }
}

/// Pushes all of them, some with a referrer; how many manifests that were.
fn push_all(stage: &Stage) -> usize {
    let (mut random, host) = (Random::new(seed()), stage.source.host());
    let mut manifests = 0;
    for number in 0..IMAGES {
        let (name, tag) = place(number);
        let repository = format!("core/{name}");
        let image = image(number, &mut random);
        image.push(&host, &repository, &tag);
        manifests += image.manifests.len();
        if number % 10 == 7 {
            let referrer = Image::referrer(random.next(), image.root());
            referrer.push(&host, &repository, &referrer.root().digest);
            let index = fallback_index(&[&referrer]);
            let fallback = image.root().digest.replace(':', "-");
            push::manifest(&host, &repository, &fallback, &index.media_type, &index.bytes);
            manifests += 2;
        }
    }
    // No rule says anything about these.
    Image::single(1, &[100]).push(&host, "other/app", "v1");
    Image::single(2, &[100]).push(&host, "corex/app", "v1");
    manifests + 2
}

/// Repository below `core`, and tag. What is in the first repository goes to two places, by two rules.
fn place(number: usize) -> (String, String) {
    (name(number % REPOSITORIES), format!("v{number}"))
}

fn name(repository: usize) -> String {
    match repository {
        0 => "twice/app".to_owned(),
        other => format!("app{other}"),
    }
}

/// Waits until all is at rest, and looks into the table meanwhile: what has ended stays as it is, and nothing but an upload
/// may hold a location.
fn until_at_rest(stage: &Stage) -> Vec<Value> {
    let (mut known, mut looks) = (BTreeMap::new(), 0_usize);
    let rested = until(TIMEOUT, || {
        // Every two seconds: the emulator has better things to do.
        if looks.is_multiple_of(40) {
            assert_nothing_is_undone(stage, &mut known);
        }
        looks += 1;
        stage.fleet.rest()
    });
    let tasks = rested.unwrap_or_else(|reason| {
        let waits = waits(&stage.fleet.log());
        panic!(
            "{reason}; {:?}, {waits:?}\n{}",
            stage.fleet.tally(),
            stage.fleet.unrest()
        )
    });
    assert_nothing_is_undone(stage, &mut known);
    tasks
}

fn assert_nothing_is_undone(stage: &Stage, known: &mut Endings) {
    let items = stage.fleet.items();
    let now = endings(&items);
    for (id, ending) in known.iter() {
        assert_eq!(now.get(id), Some(ending), "task {id}, which has ended, changed");
    }
    *known = now;
    for item in items.iter().filter(|item| !is_upload(item)) {
        assert!(
            !item.to_string().contains("_state="),
            "an upload location is in the table: {item}"
        );
    }
}

/// I3: every task ended once, well, and says when and after how many attempts.
fn assert_well_recorded(tasks: &[Value], begun_ms: f64) {
    let ids: BTreeSet<_> = tasks.iter().map(|task| task["sk"].to_string()).collect();
    assert_eq!(ids.len(), tasks.len(), "a task is listed twice");
    for task in tasks {
        let is_attachment = task["follows"] == true;
        match (task["state"].as_str().unwrap_or_default(), task["code"].as_str()) {
            ("succeeded" | "unchanged", _) => {}
            // An attachment whose notification arrived before its image is copied with the image.
            ("skipped", Some("NOT_A_REFERRER" | "SUBJECT_NOT_REPLICATED")) if is_attachment => {}
            _ => panic!("{task}"),
        }
        assert!(task["attempts"].as_u64() >= Some(1), "{task}");
        assert!(
            task["finished"].as_f64() >= Some(begun_ms) && task["created"].is_number(),
            "{task}"
        );
    }
}

/// I4: the destination has what was pushed into `core`, and nothing else.
fn assert_nothing_unmatched(stage: &Stage) {
    let pushed: BTreeSet<_> = (0..REPOSITORIES)
        .flat_map(|repository| {
            let name = name(repository);
            let tags = check::tags(&stage.source.host(), &format!("core/{name}")).unwrap();
            let mut all: Vec<_> = tags.iter().map(|tag| format!("copy/{name}:{tag}")).collect();
            if repository == 0 {
                all.extend(tags.iter().map(|tag| format!("second/app:{tag}")));
            }
            all
        })
        .collect();
    let arrived: BTreeSet<_> = stage.arrived().into_iter().collect();
    assert_eq!(arrived, pushed);
}

/// I9: the same news as new events move nothing.
fn assert_again_moves_nothing(stage: &Stage, first: &[Value], begun_ms: f64) {
    stage.peace();
    stage.before_destination.reset_requests();
    stage.fleet.bridge().deliver_all_again();
    let tasks = until_at_rest(stage);
    // The push of a child of an index leaves a task only if it could not be looked at at once.
    let lasting = |tasks: &[Value]| tasks.iter().filter(|task| task["code"] != "NOT_A_REFERRER").count();
    assert_eq!(lasting(&tasks), 2 * lasting(first), "as many tasks as the first time");
    assert_well_recorded(&tasks, begun_ms);
    let writes: Vec<_> = stage
        .before_destination
        .requests()
        .into_iter()
        .filter(|request| !["GET", "HEAD"].contains(&request.method.as_str()))
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    assert_eq!(writes, Vec::<String>::new(), "a second run wrote");
}

/// Why tasks were tried again, and how often.
fn waits(log: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("\"attempt\"")) {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        *counts.entry(entry["code"].to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn a_hundred_images_arrive_whatever_befalls_registries_aws_and_workers() {
    if DockerRegistry::skipped() {
        return;
    }
    let (_alone, begun, begun_ms) = (alone(), Instant::now(), now_ms());
    eprintln!("replay with TRANSSHIP_SEED={}", seed());
    let stage = Stage::set_with(options(), |document| document.rule("twice", "core/twice", "second", ""));
    let watch = Watch::start(&stage.destination.unlocked_host());
    let faults = stage.trouble(seed(), 10);
    let manifests = push_all(&stage);
    stage.until_told(manifests);
    let tasks = until_at_rest(&stage);
    let tally = stage.fleet.tally();
    let struck = [stage.fleet.before_webhook(), stage.fleet.before_workers()].map(AwsFaults::struck);
    eprintln!("at rest after {:?}: {tally:?}, {struck:?}", begun.elapsed());
    let log = stage.fleet.log();
    eprintln!("waits: {:?}", waits(&log));
    let successors: Vec<_> = log.lines().filter(|line| line.contains("\"successor\"")).collect();
    eprintln!("new tasks after an end: {successors:#?}");
    assert!(tally.killed >= KILLS, "so many workers were to die: {tally:?}");
    assert_eq!(tally.crashed, 0, "and none of itself");
    assert!(
        faults.iter().all(|faults| faults.struck() > 50),
        "the registries had no trouble"
    );
    assert!(
        struck[0].contains_key("partial") && struck.iter().all(|struck| struck.contains_key("throttled")),
        "AWS had no trouble: {struck:?}"
    );

    assert_well_recorded(&tasks, begun_ms);
    for number in 0..IMAGES {
        let (name, tag) = place(number);
        stage.assert_equal(&name, &tag);
        if number % REPOSITORIES == 0 {
            stage.assert_equal_at("second/app", &name, &tag);
        }
    }
    watch.assert_nothing_was_half_there();
    assert_nothing_unmatched(&stage);
    stage.assert_clean();
    assert_again_moves_nothing(&stage, &tasks, begun_ms);
    stage.assert_clean();
    eprintln!(
        "all of it in {:?}, {} MiB at most",
        begun.elapsed(),
        stage.fleet.peak_resident_bytes() >> 20
    );
}
