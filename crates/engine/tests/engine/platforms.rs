//! Rules that select platforms: tasks of events and of the sweep, and what the ledger remembers of derived images.

use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::{ImageRef, Replica, TaskState};
use transship_oci::{Digest, Manifest, Target};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, name, tag};
use crate::sweep::sweep;

const THREE: [&str; 3] = ["linux/amd64", "linux/arm64/v8", "linux/s390x"];

fn rule(platforms: &str) -> String {
    format!(
        "  - {{ name: core-images, backfill: true, source: {{ registry: a, namespace: core }}, destination: {{ registry: b, namespace: copy }}, platforms: {platforms} }}\n"
    )
}

async fn fixture(platforms: &str) -> Fixture {
    let lenient = EmbeddedRegistry::builder().sparse_indexes(true);
    Fixture::of(EmbeddedRegistry::builder(), lenient, &rule(platforms)).await
}

fn entries(sample: &Sample) -> Vec<Digest> {
    let index = Manifest::parse(sample.root_manifest().unwrap().bytes.clone(), None).unwrap();
    index.children().iter().map(|child| child.digest.clone()).collect()
}

async fn replica(fixture: &Fixture) -> Replica {
    let destination = ImageRef {
        registry: "b".into(),
        repository: fixture.to(),
        target: Target::Tag(tag("v1")),
    };
    fixture.jobs.ledger.replicas.get(&destination).await.unwrap().unwrap()
}

/// Nothing is written by another event of the same push, nor by a sweep, and each costs one request on each side.
async fn assert_settled(fixture: &Fixture, sample: &Sample) {
    let before = fixture.b.manifests(&fixture.to());
    let tasks = fixture.tasks().await.len();
    for registry in [&fixture.a, &fixture.b] {
        registry.reset_requests();
    }
    sweep(fixture).await;
    assert_eq!(fixture.tasks().await.len(), tasks, "the sweep makes no task");
    fixture.tell(&fixture.event("v1", &sample.root)).await;
    fixture.drain().await;
    let task = fixture.tasks().await.pop().unwrap();
    assert_eq!(task.state, TaskState::Unchanged);
    assert_eq!(fixture.b.manifests(&fixture.to()), before);
    for request in [fixture.a.requests(), fixture.b.requests()].concat() {
        assert!(
            request.method == "GET" || request.method == "HEAD",
            "{} {}",
            request.method,
            request.path
        );
    }
}

#[tokio::test]
async fn an_event_copies_only_the_selected_platforms_and_nothing_repeats_it() {
    for (platforms, wanted) in [
        ("[linux/arm64]", Some(2)),
        ("[linux/arm64, linux/s390x]", None),
        ("{ only: [linux/arm64], sparse: true }", None),
    ] {
        let fixture = fixture(platforms).await;
        let sample = images::of_platforms(1, &THREE);
        fixture.push_and_tell(&sample).await;
        fixture.drain().await;
        let task = fixture.task().await;
        assert_eq!((task.state, task.code), (TaskState::Succeeded, None), "{platforms}");
        let arrived = fixture.arrived().unwrap();
        assert_eq!(task.digest.as_ref(), Some(&arrived));
        if let Some(position) = wanted {
            assert_eq!(arrived, entries(&sample)[position]);
        }
        let amd = fixture
            .b
            .manifest(&fixture.to(), &Target::Digest(entries(&sample)[0].clone()));
        assert!(amd.is_none(), "{platforms}");
        let replica = replica(&fixture).await;
        assert_eq!((&replica.digest, replica.source_digest()), (&arrived, &sample.root));
        assert_settled(&fixture, &sample).await;
    }
}

#[tokio::test]
async fn a_derived_image_is_followed() {
    for platforms in ["[linux/arm64]", "[linux/amd64, linux/arm64]"] {
        let fixture = fixture(platforms).await;
        let (first, second) = (images::of_platforms(2, &THREE), images::of_platforms(3, &THREE));
        fixture.push_and_tell(&first).await;
        fixture.drain().await;
        let before = fixture.arrived();
        fixture.push_and_tell(&second).await;
        fixture.drain().await;
        assert_eq!(
            fixture.tasks().await.pop().unwrap().state,
            TaskState::Succeeded,
            "it is ours"
        );
        assert_ne!(fixture.arrived(), before);
        // An image that someone else wrote there is kept.
        images::image(4, &[10]).seed_into(&fixture.b, &fixture.to(), &tag("v1"));
        fixture.push_and_tell(&first).await;
        fixture.drain().await;
        assert_eq!(fixture.tasks().await.pop().unwrap().state, TaskState::Kept);
    }
}

#[tokio::test]
async fn a_sweep_copies_what_was_missed_and_remembers_what_is_equal() {
    let fixture = fixture("[linux/amd64, linux/arm64], referrers: exclude").await;
    let sample = images::of_platforms(5, &THREE);
    fixture.push(&sample);
    sweep(&fixture).await;
    assert_eq!(fixture.task().await.state, TaskState::Succeeded);
    // A ledger that was lost is filled again, so that the next comparison reads no index.
    let mut healed = fixture.anew(1);
    healed.app.clone_from(&fixture.app);
    sweep(&healed).await;
    assert_eq!(healed.tasks().await.len(), 0);
    assert_eq!(replica(&healed).await.source_digest(), &sample.root);
    healed.a.reset_requests();
    sweep(&healed).await;
    let methods: Vec<String> = (healed.a.requests().into_iter())
        .filter(|request| request.path.contains("/manifests/"))
        .map(|request| request.method.to_string())
        .collect();
    assert!(
        methods.iter().all(|method| method == "HEAD") && !methods.is_empty(),
        "{methods:?}"
    );
}

#[tokio::test]
async fn an_image_without_the_platforms_is_skipped_with_a_code() {
    let fixture = fixture("[linux/riscv64]").await;
    for sample in [images::of_platforms(6, &THREE), images::image(6, &[10])] {
        fixture.push_and_tell(&sample).await;
        fixture.drain().await;
        let task = fixture.tasks().await.pop().unwrap();
        assert_eq!(
            (task.state, task.code.as_deref()),
            (TaskState::Skipped, Some("PLATFORM_MISSING"))
        );
        assert!(task.message.unwrap().contains("linux/amd64"));
    }
    let tasks = fixture.tasks().await.len();
    sweep(&fixture).await;
    assert_eq!(fixture.tasks().await.len(), tasks, "the sweep makes no task of it");
    assert_eq!(fixture.b.repositories(), []);
}

#[tokio::test]
async fn platforms_that_an_image_lacks_are_a_note_of_its_task() {
    let fixture = fixture("[linux/amd64, linux/riscv64, linux/s390x]").await;
    fixture.push_and_tell(&images::of_platforms(7, &THREE)).await;
    fixture.drain().await;
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Succeeded, Some("PLATFORMS_INCOMPLETE"))
    );
    assert!(task.message.unwrap().contains("linux/riscv64"));
}

#[tokio::test]
async fn a_destination_without_sparse_indexes_fails_the_task_with_a_code() {
    let rule = rule("{ only: [linux/arm64], sparse: true }");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    let sample = images::of_platforms(8, &THREE);
    fixture.push_and_tell(&sample).await;
    fixture.drain().await;
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Failed, Some("SPARSE_UNSUPPORTED"))
    );
    assert_eq!(fixture.arrived(), None);
    assert_eq!(fixture.b.manifests(&name("copy/app")).len(), 2, "never a full copy");
}

#[tokio::test]
async fn a_referrer_of_a_selected_platform_that_is_pushed_later_follows_it() {
    for platforms in ["[linux/arm64]", "{ only: [linux/arm64], sparse: true }"] {
        let fixture = fixture(platforms).await;
        let sample = images::of_platforms(9, &THREE);
        fixture.push_and_tell(&sample).await;
        fixture.drain().await;
        let subjects = [&entries(&sample)[2], &sample.root];
        for (number, subject) in subjects.into_iter().enumerate() {
            let size = sample
                .manifests
                .iter()
                .find(|manifest| manifest.digest == *subject)
                .unwrap()
                .bytes
                .len();
            let referrer = images::referrer_of(subject, size, number as u64);
            referrer.seed_into(&fixture.a, &fixture.from(), &tag("tmp"));
            fixture
                .tell(&fixture.event(&referrer.root.to_string(), &referrer.root))
                .await;
            fixture.drain().await;
            let held = fixture
                .b
                .manifest(&fixture.to(), &Target::Digest(referrer.root.clone()));
            let is_copied = number == 0 || platforms.contains("sparse");
            assert_eq!(held.is_some(), is_copied, "{platforms} {number}");
        }
        let amd = fixture
            .b
            .manifest(&fixture.to(), &Target::Digest(entries(&sample)[0].clone()));
        assert!(amd.is_none(), "{platforms}: nothing that is not selected came with it");
    }
}
