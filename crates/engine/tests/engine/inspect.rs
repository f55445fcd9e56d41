//! What is found out without writing: a verification finds each kind of difference and nothing else, and a plan says what a run
//! would do.

use std::sync::Arc;

use http::Method;
use transship_copy::{Action, Clock as _};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action as FaultAction;
use transship_engine::ledger::{Ledger, VerifySummary};
use transship_engine::operations::Replicate;
use transship_engine::{Checked, Depth, Finding, ImageRef, PlanRule, Planned, Replica, TaskState, Trigger, VerifyRule};
use transship_oci::referrers::cosign_tags;
use transship_oci::{Existing, Target};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE, name, tag};

async fn verify(fixture: &Fixture, depth: Depth) -> (Vec<Checked>, VerifySummary) {
    let ledger = Ledger::new(&fixture.ledger);
    let snapshot = fixture.configuration.current();
    let rule = snapshot.document.rule("core-images").unwrap();
    let verify = VerifyRule {
        rule,
        source: snapshot.registry("a").unwrap(),
        destination: snapshot.registry("b").unwrap(),
        ledger: &ledger,
        clock: Arc::new(fixture.clock.clone()),
        depth,
    };
    let mut rows = Vec::new();
    let summary = verify.run(|row| rows.push(row)).await.unwrap();
    assert_eq!(
        ledger.verifications.get("core-images").await.unwrap().as_ref(),
        Some(&summary)
    );
    (rows, summary)
}

/// The rows that are not equal, by destination, state and code.
pub async fn unequal(fixture: &Fixture, depth: Depth) -> Vec<(String, Finding, String)> {
    let (rows, _) = verify(fixture, depth).await;
    let rows = rows.into_iter().filter(|row| row.state != Finding::Equal);
    rows.map(|row| (row.destination, row.state, row.code.unwrap_or_default()))
        .collect()
}

fn one(destination: &str, state: Finding, code: &str) -> Vec<(String, Finding, String)> {
    vec![(destination.to_owned(), state, code.to_owned())]
}

fn put(registry: &EmbeddedRegistry, repository: &str, reference: &str, sample: &Sample) {
    sample.seed_into(registry, &name(repository), &tag(reference));
}

/// An image, and an index with a signature of one platform, on both sides, and copied by the rule.
async fn filled() -> (Fixture, Sample, Sample) {
    let builder = || EmbeddedRegistry::builder();
    let fixture = Fixture::of(builder(), builder(), RULE).await;
    let (image, index) = (images::image(1, &[100, 50]), images::multi_platform(2));
    fixture.push_and_tell(&image).await;
    fixture.drain().await;
    for (registry, repository) in [(&fixture.a, "core/multi"), (&fixture.b, "copy/multi")] {
        put(registry, repository, "v1", &index);
        put(registry, repository, &signature(&index), &images::image(3, &[10]));
    }
    (fixture, image, index)
}

/// The tag of the signature of the first platform.
fn signature(index: &Sample) -> String {
    cosign_tags(&index.manifests[0].digest).next().unwrap()
}

#[tokio::test]
async fn nothing_is_found_where_nothing_is_wrong_and_nothing_is_written() {
    let (fixture, ..) = filled().await;
    fixture.b.reset_requests();
    for depth in [Depth::Manifests, Depth::Blobs, Depth::Bytes] {
        let (rows, summary) = verify(&fixture, depth).await;
        assert!(rows.iter().all(|row| row.state == Finding::Equal), "{rows:?}");
        assert_eq!((summary.equal, summary.is_equal()), (2, true));
    }
    let is_write = |method: &Method| !matches!(*method, Method::GET | Method::HEAD);
    assert!(fixture.b.requests().iter().all(|request| !is_write(&request.method)));
}

#[tokio::test]
async fn an_overwritten_a_deleted_an_extra_and_a_new_tag_are_found_with_the_reason() {
    let (fixture, ..) = filled().await;
    let other = images::image(9, &[10]);
    put(&fixture.b, "copy/app", "v1", &other);
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/app:v1", Finding::Different, "DESTINATION_OVERWRITTEN")
    );

    fixture.b.forget(&name("copy/app"), &other.root);
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/app:v1", Finding::Missing, "DESTINATION_DELETED")
    );

    let (fixture, ..) = filled().await;
    put(&fixture.b, "copy/app", "extra", &other);
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/app:extra", Finding::Extra, "EXTRA_TAG")
    );

    let (fixture, ..) = filled().await;
    put(&fixture.a, "core/app", "v2", &other);
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/app:v2", Finding::Missing, "NEVER_REPLICATED")
    );
    put(&fixture.b, "copy/app", "v2", &images::image(8, &[10]));
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/app:v2", Finding::Different, "DESTINATION_NOT_OURS")
    );
}

#[tokio::test]
async fn a_repository_that_only_the_destination_has_is_extra() {
    let (fixture, ..) = filled().await;
    let other = images::image(9, &[10]);
    put(&fixture.b, "copy/old/app", "v1", &other);
    put(&fixture.b, "elsewhere/app", "v1", &other);
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/old/app:v1", Finding::Extra, "EXTRA_TAG")
    );

    // Another rule wrote it.
    let replica = Replica {
        destination: ImageRef {
            registry: "b".into(),
            repository: name("copy/old/app"),
            target: Target::Tag(tag("v1")),
        },
        source: None,
        digest: other.root.clone(),
        earlier: Vec::new(),
        manifests: Vec::new(),
        selected: None,
        rule: "other".into(),
        written: fixture.clock.now().try_into().unwrap(),
        accepted: jiff::Timestamp::UNIX_EPOCH,
    };
    let now = replica.written;
    let replicas = Ledger::new(&fixture.ledger).replicas;
    replicas.settle(&[replica], "", now).await.unwrap();
    assert_eq!(unequal(&fixture, Depth::Manifests).await, []);
}

#[tokio::test]
async fn where_extra_repositories_cannot_be_looked_for_the_summary_says_why() {
    for (rules, refuses, why) in [
        (
            RULE.replace("namespace: copy }", "namespace: copy, flatten: all }"),
            false,
            "naming",
        ),
        (RULE.to_owned(), true, "401"),
    ] {
        let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rules).await;
        put(&fixture.b, "copy/app", "v1", &images::image(9, &[10]));
        if refuses {
            let fault = Fault::new("GET", "/v2/_catalog", FaultAction::status(401)).unwrap();
            fixture.b.set_faults(Some(Arc::new(Script::new([fault.always()]))));
        }
        let (rows, summary) = verify(&fixture, Depth::Manifests).await;
        assert_eq!(rows, []);
        assert!(
            summary.unsearched.as_ref().is_some_and(|said| said.contains(why)),
            "{summary:?}"
        );
    }
}

#[tokio::test]
async fn what_the_source_does_not_list_makes_nothing_extra() {
    let (fixture, ..) = filled().await;
    for path in ["/v2/_catalog", "/v2/core/app/tags/list"] {
        let fault = Fault::new("GET", path, FaultAction::status(401)).unwrap();
        fixture.a.set_faults(Some(Arc::new(Script::new([fault.always()]))));
        let found = unequal(&fixture, Depth::Manifests).await;
        let states: Vec<Finding> = found.iter().map(|row| row.1).collect();
        assert_eq!(states, [Finding::Unknown], "{path}: {found:?}");
    }
}

#[tokio::test]
async fn a_missing_child_and_a_lost_signature_of_one_platform_are_found() {
    let (fixture, _, index) = filled().await;
    fixture.b.forget(&name("copy/multi"), &images::image(3, &[10]).root);
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/multi:v1", Finding::Different, "ATTACHMENT_MISSING")
    );

    let (fixture, ..) = filled().await;
    fixture.b.forget(&name("copy/multi"), &index.manifests[1].digest);
    let found = unequal(&fixture, Depth::Manifests).await;
    assert_eq!(found, one("b/copy/multi:v1", Finding::Different, "MANIFEST_MISSING"));
}

#[tokio::test]
async fn a_deleted_blob_and_a_flipped_byte_are_found_by_those_who_look() {
    let (fixture, image, _) = filled().await;
    let blob = image.blobs.iter().next().unwrap().0.clone();
    let flip = Fault::new(
        "GET",
        &format!("copy/app/blobs/{blob}"),
        FaultAction::FlipBit { at_byte: 0 },
    )
    .unwrap();
    fixture.b.set_faults(Some(Arc::new(Script::new([flip.always()]))));
    assert_eq!(unequal(&fixture, Depth::Blobs).await, []);
    let found = unequal(&fixture, Depth::Bytes).await;
    assert_eq!(found, one("b/copy/app:v1", Finding::Different, "BLOB_DIGEST_MISMATCH"));
    fixture.b.set_faults(None);

    fixture.b.forget(&name("copy/app"), &blob);
    assert_eq!(unequal(&fixture, Depth::Manifests).await, []);
    assert_eq!(
        unequal(&fixture, Depth::Blobs).await,
        one("b/copy/app:v1", Finding::Different, "BLOB_MISSING")
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_unknown_and_what_failed_says_so() {
    let (fixture, ..) = filled().await;
    let refuse = Fault::new("GET", "core/multi/tags/list", FaultAction::status(403)).unwrap();
    fixture.a.set_faults(Some(Arc::new(Script::new([refuse.always()]))));
    let (rows, summary) = verify(&fixture, Depth::Manifests).await;
    assert_eq!((summary.equal, summary.unknown), (1, 1), "{rows:?}");
    fixture.a.set_faults(None);

    let refuse = Fault::new("POST", "/blobs/uploads/", FaultAction::status(403)).unwrap();
    fixture.b.set_faults(Some(Arc::new(Script::new([refuse.always()]))));
    let other = images::image(7, &[10]);
    put(&fixture.a, "core/app", "v7", &other);
    fixture.tell(&fixture.event("v7", &other.root)).await;
    let (_, summary) = verify(&fixture, Depth::Manifests).await;
    assert!(summary.oldest_unreplicated.is_some());
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/app:v7", Finding::Missing, "TASK_OPEN")
    );
    fixture.drain().await;
    assert_eq!(
        unequal(&fixture, Depth::Manifests).await,
        one("b/copy/app:v7", Finding::Missing, "ACCESS_DENIED")
    );
}

async fn plan(fixture: &Fixture) -> Vec<Planned> {
    let ledger = Ledger::new(&fixture.ledger);
    let snapshot = fixture.configuration.current();
    let plan = PlanRule {
        rule: snapshot.document.rule("core-images").unwrap(),
        source: snapshot.registry("a").unwrap(),
        destination: snapshot.registry("b").unwrap(),
        ledger: &ledger,
        clock: Arc::new(fixture.clock.clone()),
        is_in_group: false,
    };
    let mut planned = Vec::new();
    plan.run(|one| planned.push(one)).await.unwrap();
    planned
}

#[tokio::test]
async fn a_plan_counts_a_layer_that_two_images_share_once_and_writes_nothing() {
    let (fixture, ..) = filled().await;
    let new = images::image(20, &[1000]);
    put(&fixture.a, "core/one", "v1", &new);
    put(&fixture.a, "core/two", "v1", &new);
    put(&fixture.a, "core/app", "v2", &new);
    put(&fixture.b, "copy/app", "v2", &images::image(21, &[10]));
    fixture.b.reset_requests();
    let planned = plan(&fixture).await;
    let actions: Vec<(String, Action)> = planned
        .iter()
        .map(|one| (one.destination.clone(), one.comparison.as_ref().unwrap().action))
        .collect();
    let count = |wanted: fn(&Action) -> bool| actions.iter().filter(|(_, action)| wanted(action)).count();
    assert_eq!(count(|action| *action == Action::Copy), 2, "{actions:?}");
    assert_eq!(count(|action| *action == Action::Unchanged), 2, "{actions:?}");
    assert_eq!(count(|action| matches!(action, Action::Keep(_))), 1, "{actions:?}");
    let bytes: u64 = planned
        .iter()
        .map(|one| one.comparison.as_ref().unwrap().bytes.copied)
        .sum();
    assert_eq!(bytes, new.blobs_size());
    assert!(
        fixture
            .b
            .requests()
            .iter()
            .all(|request| matches!(request.method, Method::GET | Method::HEAD))
    );
}

#[tokio::test]
async fn one_image_is_replicated_under_another_name_as_a_task_of_no_rule() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    fixture.push(&sample);
    let ledger = Ledger::new(&fixture.ledger);
    let replicate = Replicate {
        history: ledger.history,
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    };
    let image = |registry: &str, repository: &str, reference: &str| ImageRef {
        registry: registry.to_owned(),
        repository: name(repository),
        target: Target::Tag(tag(reference)),
    };
    let task = replicate
        .run(
            image("a", "core/app", "v1"),
            image("b", "elsewhere", "stable"),
            Existing::Follow,
        )
        .await
        .unwrap();
    fixture.drain().await;
    assert_eq!(fixture.b.digest(&name("elsewhere"), &tag("stable")), Some(sample.root));
    let record = fixture.task().await;
    assert_eq!((record.id, record.state), (task.id, TaskState::Succeeded));
    assert_eq!(fixture.executions().await[0].trigger, Trigger::Manual);
}
