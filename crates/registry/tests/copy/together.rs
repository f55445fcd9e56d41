//! Copies that run at the same time and share blobs: each blob is sent once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Notify;
use transship_copy::{
    Arrival, BlobLocation, BlobLocations, Flights, NoProgress, NoReplicas, Options, Report, Request, State, copy,
};
use transship_embedded_registry::faults::Action;
use transship_embedded_registry::{EmbeddedRegistry, VirtualBlob};
use transship_oci::{Digest, Provider, Repository, Result, Target};
use transship_registry::{Profile, Registry};
use transship_testkit::images::{self, Sample};

use crate::world::{Known, World, answer, asked, assert_arrived, name, options_of, tag, watch};

/// Locations whose copies wait for each other.
#[derive(Default)]
struct Shared {
    known: Known,
    flights: Flights,
}

#[async_trait]
impl BlobLocations for Shared {
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, BlobLocation> {
        self.known.find(digests).await
    }

    async fn add(&self, arrivals: &[Arrival], repository: &Repository) {
        self.known.add(arrivals, repository).await;
    }

    async fn remove(&self, digest: &Digest, repository: &Repository) {
        self.known.remove(digest, repository).await;
    }

    fn flights(&self) -> Option<&Flights> {
        Some(&self.flights)
    }
}

/// Copies `core/app:v1` to the repositories of `to` and the tags `v1`, `v2`, …, all at the same time.
async fn copy_together(world: &World, client: &Registry, to: &[&str]) -> Vec<Result<Report>> {
    let locations = Shared::default();
    let copies = to.iter().enumerate().map(|(index, repository)| {
        let to = (*repository, format!("v{}", index + 1));
        copy_one(world, client, &locations, "core/app", to, None)
    });
    join_all(copies).await
}

/// Copies `from:v1` to a repository and tag.
async fn copy_one(
    world: &World,
    client: &Registry,
    locations: &Shared,
    from: &str,
    (repository, reference): (&str, String),
    patience: Option<Duration>,
) -> Result<Report> {
    let source = world.from.repository(name(from));
    let destination = client.repository(name(repository)).for_writing();
    copy(Request {
        source: &source,
        from: Target::Tag(tag("v1")),
        destination: &destination,
        to: Target::Tag(tag(&reference)),
        options: Options {
            patience,
            ..Options::default()
        },
        locations,
        replicas: &NoReplicas,
        lease: None,
        continuations: None,
        budget: None,
        progress: Arc::new(NoProgress),
    })
    .await
}

/// How often each blob was read at the source.
fn reads(source: &EmbeddedRegistry) -> BTreeMap<String, usize> {
    let mut reads = BTreeMap::new();
    for record in asked(source, "GET", "/blobs/") {
        *reads.entry(record.path).or_default() += 1;
    }
    reads
}

const REPOSITORIES: [&str; 5] = ["copy/a", "copy/b", "copy/c", "copy/c", "copy/d"];

/// Every copy to one of [`REPOSITORIES`] was made, and is complete.
fn assert_all_copied(sample: &Sample, world: &World, reports: &[Result<Report>]) {
    for ((index, repository), report) in REPOSITORIES.iter().enumerate().zip(reports) {
        assert_eq!(report.as_ref().unwrap().state, State::Copied);
        let reference = tag(&format!("v{}", index + 1));
        assert_arrived(sample, &world.destination, &name(repository), &reference);
    }
}

#[tokio::test]
async fn copies_that_start_together_send_each_blob_once() {
    let sample = images::image(1, &[1000, 2000, 3000, 4000]);
    let world = World::with(&sample).await;
    let reports = copy_together(&world, &world.to, &REPOSITORIES).await;
    assert!(
        reports
            .iter()
            .all(|report| report.as_ref().unwrap().state == State::Copied)
    );
    let reads = reads(&world.source);
    assert_eq!(reads.len(), sample.blobs.len());
    assert!(reads.values().all(|times| *times == 1), "{reads:?}");
    let into_one = asked(&world.destination, "POST", "/copy/c/").len();
    assert_eq!(
        into_one,
        sample.blobs.len(),
        "two images in one repository mount a blob once"
    );
    for (index, repository) in REPOSITORIES.iter().enumerate() {
        assert_arrived(
            &sample,
            &world.destination,
            &name(repository),
            &tag(&format!("v{}", index + 1)),
        );
    }
}

#[tokio::test]
async fn a_sender_that_fails_leaves_the_blob_to_another() {
    let sample = images::image(1, &[1000, 2000]);
    let world = World::with(&sample).await;
    watch(&world.destination, |request| {
        let is_first = request.method == "POST" && request.path.contains("/copy/a/");
        is_first.then(|| answer(403, &[], r#"{"errors":[{"code":"DENIED"}]}"#))
    });
    let reports = copy_together(&world, &world.to, &REPOSITORIES).await;
    let failed: Vec<bool> = reports.iter().map(Result::is_err).collect();
    assert_eq!(failed, [true, false, false, false, false]);
    for ((index, repository), report) in REPOSITORIES.iter().enumerate().zip(&reports) {
        if report.is_ok() {
            assert_arrived(
                &sample,
                &world.destination,
                &name(repository),
                &tag(&format!("v{}", index + 1)),
            );
        }
    }
}

#[tokio::test]
async fn who_may_not_mount_sends_and_the_others_do_not_wait_for_that() {
    let sample = images::image(1, &[1000, 2000]);
    let world = World::with(&sample).await;
    watch(&world.destination, |request| {
        let is_mount = request.method == "POST" && request.query.is_some_and(|query| query.contains("mount="));
        is_mount.then(|| answer(403, &[], r#"{"errors":[{"code":"DENIED"}]}"#))
    });
    let reports = copy_together(&world, &world.to, &REPOSITORIES).await;
    assert_all_copied(&sample, &world, &reports);
}

#[tokio::test]
async fn a_first_place_that_nothing_may_be_mounted_from_holds_nobody_up() {
    let sample = images::image(1, &[1000, 2000]);
    let world = World::with(&sample).await;
    watch(&world.destination, |request| {
        let is_from_first = request.query.is_some_and(|query| query.contains("from=copy%2Fa"));
        is_from_first.then(|| answer(403, &[], r#"{"errors":[{"code":"DENIED"}]}"#))
    });
    let reports = copy_together(&world, &world.to, &REPOSITORIES).await;
    assert_all_copied(&sample, &world, &reports);
    let reads = reads(&world.source);
    assert!(
        reads.values().all(|times| *times <= 4),
        "one for each repository: {reads:?}"
    );
}

#[tokio::test]
async fn where_nothing_is_mounted_only_copies_to_one_repository_wait_for_each_other() {
    let sample = images::image(1, &[1000, 2000]);
    let world = World::with(&sample).await;
    let client = Registry::new(transship_registry::Options {
        profile: Profile::of(Provider::Ecr),
        ..options_of(&world.destination)
    })
    .unwrap();
    let reports = copy_together(&world, &client, &REPOSITORIES).await;
    assert!(
        reports
            .iter()
            .all(|report| report.as_ref().unwrap().state == State::Copied)
    );
    let reads = reads(&world.source);
    assert!(reads.values().all(|times| *times == 4), "{reads:?}");
}

#[tokio::test]
async fn a_registry_that_mounts_nothing_gets_every_blob_and_nobody_waits_for_ever() {
    let sample = images::image(1, &[1000, 2000, 3000]);
    let world = World::with(&sample).await;
    watch(&world.destination, |request| {
        let is_mount = request.method == "POST" && request.query.is_some_and(|query| query.contains("mount="));
        is_mount.then(|| answer(404, &[], r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#))
    });
    let reports = copy_together(&world, &world.to, &REPOSITORIES).await;
    assert_all_copied(&sample, &world, &reports);
    let (reads, blobs) = (reads(&world.source), sample.blobs.len());
    assert_eq!(reads.values().sum::<usize>(), 4 * blobs, "one for each repository");
}

#[tokio::test]
async fn who_has_no_patience_leaves_the_blob_that_another_sends_and_sends_its_own() {
    let (first, second) = (images::image(1, &[1000]), images::image(1, &[1000, 2000]));
    let world = World::with(&first).await;
    second.seed_into(&world.source, &name("core/second"), &tag("v1"));
    let (shared, own): (Vec<_>, Vec<_>) = second
        .blobs
        .keys()
        .partition(|digest| first.blobs.contains_key(*digest));
    let [layer] = shared[..] else { panic!("{shared:?}") };
    let sent = Arc::new(Notify::new());
    let (held, query) = (Arc::clone(&sent), layer.to_string().replace(':', "%3A"));
    watch(&world.destination, move |request| {
        let is_last = request.method == "PUT" && request.query.is_some_and(|given| given.contains(&query));
        is_last.then(|| {
            held.notify_one();
            Action::Delay { delay_ms: 600_000 }
        })
    });
    let locations = Shared::default();
    let v1 = "v1".to_owned();
    let copy_second = || {
        let patience = Some(Duration::from_millis(1));
        copy_one(
            &world,
            &world.to,
            &locations,
            "core/second",
            ("copy/b", v1.clone()),
            patience,
        )
    };
    let mut slow = Box::pin(copy_one(
        &world,
        &world.to,
        &locations,
        "core/app",
        ("copy/a", v1.clone()),
        None,
    ));
    tokio::select! {
        ended = &mut slow => panic!("it ended: {:?}", ended.map(|report| report.state)),
        () = sent.notified() => {}
    }
    let error = copy_second().await.unwrap_err();
    assert_eq!(error.code(), "BLOB_UNDER_WAY");
    for digest in own {
        let there = world.destination.blob(&name("copy/b"), digest).is_some();
        assert!(there, "{digest}");
    }
    // Its sender dies, and the other one takes over.
    drop(slow);
    world.destination.set_faults(None);
    let report = copy_second().await.unwrap();
    assert_eq!(report.state, State::Copied);
    assert_arrived(&second, &world.destination, &name("copy/b"), &tag("v1"));
}

#[tokio::test]
async fn a_source_that_lacks_a_blob_gets_none_that_another_copy_sent() {
    let sample = images::image(1, &[1000]);
    let world = World::with(&sample).await;
    let manifest = sample.root_manifest().unwrap();
    let thief = name("core/thief");
    world
        .source
        .seed_manifest(&thief, &manifest.media_type, manifest.bytes.clone());
    world.source.tag(&thief, &tag("v1"), &sample.root);
    let locations = Shared::default();
    let v1 = "v1".to_owned();
    let honest = copy_one(&world, &world.to, &locations, "core/app", ("copy/a", v1.clone()), None);
    honest.await.unwrap();
    let stolen = copy_one(&world, &world.to, &locations, "core/thief", ("copy/b", v1), None);
    stolen.await.unwrap_err();
    for digest in sample.blobs.keys() {
        assert!(world.destination.blob(&name("copy/b"), digest).is_none(), "{digest}");
    }
}

#[tokio::test]
async fn large_blobs_give_way_to_small_images_and_not_to_themselves() {
    const LAYER_BYTES: u64 = 80 << 20;
    let discarding = EmbeddedRegistry::builder().discard_blobs_above(LAYER_BYTES / 2);
    let world = World::of(EmbeddedRegistry::builder(), discarding).await;
    images::image(1, &[1000]).seed_into(&world.source, &name("core/app"), &tag("v1"));
    for (seed, repository) in [(7, "core/large"), (8, "core/larger")] {
        let layer = VirtualBlob::new(seed, LAYER_BYTES);
        images::seed_virtual_layer(&world.source, &name(repository), &tag("v1"), &layer);
    }
    let locations = Shared::default();
    let copy_one = |from: &'static str, number: u32| {
        let to = ("copy/all", format!("{}-{number}", &from[5..]));
        copy_one(&world, &world.to, &locations, from, to, None)
    };
    copy_one("core/large", 0).await.unwrap();
    assert_eq!(locations.flights.gave_way(), Duration::ZERO);
    let small = async {
        for number in 0.. {
            copy_one("core/app", number).await.unwrap();
        }
    };
    tokio::select! {
        () = small => {}
        copied = copy_one("core/larger", 0) => assert_eq!(copied.unwrap().state, State::Copied),
    }
    assert!(locations.flights.gave_way() > Duration::ZERO);
}
