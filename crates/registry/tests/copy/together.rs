//! Copies that run at the same time and share blobs: each blob is sent once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use transship_copy::{
    Arrival, BlobLocation, BlobLocations, Flights, NoProgress, NoReplicas, Options, Report, Request, State, copy,
};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Digest, Provider, Repository, Result, Target};
use transship_registry::{Profile, Registry};
use transship_testkit::images;

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
        let locations = &locations;
        async move {
            let source = world.from.repository(name("core/app"));
            let destination = client.repository(name(repository)).for_writing();
            copy(Request {
                source: &source,
                from: Target::Tag(tag("v1")),
                destination: &destination,
                to: Target::Tag(tag(&format!("v{}", index + 1))),
                options: Options::default(),
                locations,
                replicas: &NoReplicas,
                lease: None,
                continuations: None,
                budget: None,
                progress: Arc::new(NoProgress),
            })
            .await
        }
    });
    join_all(copies).await
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
    for ((index, repository), report) in REPOSITORIES.iter().enumerate().zip(&reports) {
        assert_eq!(report.as_ref().unwrap().state, State::Copied);
        assert_arrived(
            &sample,
            &world.destination,
            &name(repository),
            &tag(&format!("v{}", index + 1)),
        );
    }
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
