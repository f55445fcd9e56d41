//! Tasks: brought, ended once, and remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use transship_copy::Clock;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_engine::ledger::Claim;
use transship_engine::{Envelope, ImageRef, Next, TaskReceiver, TaskState};
use transship_oci::{Digest, Target};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::fixture::{Fixture, RULE, copy, name, tag};

pub fn always(method: &str, path: &str, action: Action) -> Arc<Script> {
    Arc::new(Script::new([Fault::new(method, path, action).unwrap().always()]))
}

pub fn now(fixture: &Fixture) -> Timestamp {
    Timestamp::try_from(fixture.clock.now()).unwrap()
}

#[tokio::test]
async fn a_push_arrives_and_is_told_with_all_that_happened() {
    let fixture = Fixture::new().await;
    let sample = images::multi_platform(1);
    fixture.push_and_tell(&sample).await;
    fixture.clock.advance(Duration::from_secs(7));
    assert_eq!(fixture.attempt().await, Next::Done);
    fixture.assert_equal(&sample);
    let task = fixture.task().await;
    assert_eq!((task.state, task.attempts, task.code), (TaskState::Succeeded, 1, None));
    assert_eq!(task.digest, Some(sample.root.clone()));
    assert_eq!(task.bytes.copied, sample.blobs_size());
    assert_eq!(task.finished, Some(now(&fixture)));
    assert_eq!(task.finished.unwrap().duration_since(task.created).as_secs(), 7);
    assert_eq!(fixture.queue.inner.depth().await.unwrap(), 0);
    let (replicas, destination) = (
        &fixture.jobs.ledger.replicas,
        ImageRef {
            registry: "b".into(),
            repository: name("copy/app"),
            target: Target::Tag(tag("v1")),
        },
    );
    let replica = replicas.get(&destination).await.unwrap().unwrap();
    let claim = replicas
        .claim(&replica, "another", now(&fixture), Duration::from_secs(1))
        .await;
    assert!(matches!(claim.unwrap(), Claim::Granted { .. }), "none is held");
    assert_eq!(fixture.b.open_uploads(), 0);
}

#[tokio::test]
async fn a_message_that_comes_again_after_the_end_costs_two_requests() {
    let fixture = Fixture::new().await;
    let sample = images::image(2, &[100]);
    fixture.push(&sample);
    let event = fixture.event("v1", &sample.root);
    for _ in 0..3 {
        fixture.tell(&event).await;
    }
    fixture.attempt().await;
    let ended = fixture.task().await;
    for _ in 0..2 {
        fixture.a.reset_requests();
        fixture.b.reset_requests();
        assert_eq!(fixture.attempt().await, Next::Done);
        assert_eq!((fixture.a.requests().len(), fixture.b.requests().len()), (1, 1));
    }
    assert_eq!(fixture.task().await, ended);
}

#[tokio::test]
async fn a_tag_that_moves_and_back_within_one_second_ends_where_it_was_pushed_last() {
    let fixture = Fixture::new().await;
    let samples = [images::image(3, &[100]), images::image(4, &[200])];
    // The sender's times have whole seconds, and its events have no ids: equal pushes have equal events.
    let events = samples
        .clone()
        .map(|sample| fixture.event_of_second("v1", &sample.root));
    for number in [0, 1, 0, 1, 0] {
        fixture.push(&samples[number]);
        fixture.tell(&events[number]).await;
        fixture.drain().await;
        assert_eq!(fixture.arrived(), Some(samples[number].root.clone()));
    }
    assert_eq!(fixture.states().await, ["succeeded"; 5]);
    fixture.assert_equal(&samples[0]);

    // A duplicate is only a duplicate.
    for event in &events {
        fixture.tell(event).await;
    }
    fixture.drain().await;
    assert_eq!(fixture.states().await.len(), 5);
}

#[tokio::test]
async fn a_moved_tag_never_goes_back() {
    let fixture = Fixture::new().await;
    let (old, new) = (images::image(3, &[100]), images::image(4, &[200]));
    old.seed_into(&fixture.a, &name("core/app"), &tag("old"));
    let (first, second) = (fixture.event("v1", &old.root), fixture.event("v1", &new.root));
    fixture.push(&new);
    // Out of order, and each event more than once.
    for event in [&second, &first, &second, &first] {
        fixture.tell(event).await;
        fixture.drain().await;
        assert_eq!(fixture.arrived(), Some(new.root.clone()));
    }
    assert_eq!(fixture.states().await, ["succeeded", "unchanged"]);
}

#[tokio::test]
async fn a_repeated_attempt_sends_only_what_is_missing() {
    let fixture = Fixture::new().await;
    let sample = images::image(20, &[100_000, 50_000]);
    fixture.push_and_tell(&sample).await;
    fixture
        .b
        .set_faults(Some(always("PUT", "/manifests/", Action::status(503))));
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    fixture.b.set_faults(None);
    fixture.b.reset_requests();
    fixture.drain().await;
    fixture.assert_equal(&sample);
    let manifest = sample.root_manifest().unwrap().bytes.len() as u64;
    assert_eq!(fixture.b.traffic().total.bytes_in, manifest, "no blob was sent twice");
}

#[tokio::test]
async fn what_one_worker_pushed_is_mounted_by_all() {
    let rules = format!(
        "{RULE}  - {{ name: second, source: {{ registry: a, namespace: core }}, destination: {{ registry: b, namespace: other }} }}\n"
    );
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rules).await;
    let sample = images::image(21, &[100_000]);
    fixture.push_and_tell(&sample).await;
    fixture.attempt().await;
    fixture.attempt_by(&fixture.other_worker()).await;
    let tasks = fixture.tasks().await;
    let mut moved: Vec<(u64, u64)> = tasks
        .iter()
        .map(|task| (task.bytes.copied, task.bytes.mounted))
        .collect();
    moved.sort_unstable();
    assert_eq!(moved, [(0, sample.blobs_size()), (sample.blobs_size(), 0)]);
    crate::fixture::assert_parts(&fixture.b, &name("copy/app"), &sample);
    crate::fixture::assert_parts(&fixture.b, &name("other/app"), &sample);
}

#[tokio::test]
async fn a_memory_of_blobs_that_fails_costs_work_and_no_image() {
    let fixture = Fixture::new().await;
    let sample = images::image(22, &[100]);
    fixture.push_and_tell(&sample).await;
    fixture.ledger.fail(|call, _| {
        call.starts_with("location") || call.contains("pause") || call == "lease_remove" || call == "release"
    });
    assert_eq!(fixture.attempt().await, Next::Done);
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn without_its_ledger_a_worker_decides_nothing() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(23, &[100])).await;
    let task = fixture.queued().await.remove(0);
    fixture.ledger.fail(|call, _| call == "begin");
    let error = copy(&fixture.jobs, &task).await.unwrap_err();
    assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
    assert_eq!(fixture.b.requests().len(), 0);
    // What was copied and could not be recorded is found equal by the next attempt.
    fixture.ledger.fail(|call, _| call == "finish");
    assert!(copy(&fixture.jobs, &task).await.is_err());
    fixture.ledger.heal();
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["unchanged"]);
}

#[tokio::test]
async fn a_task_of_a_registry_the_document_lost_ends_and_names_it() {
    for lost in ["a", "b"] {
        let fixture = Fixture::new().await;
        fixture.push_and_tell(&images::image(26, &[100])).await;
        let mut document = fixture.configuration.current().document.clone();
        document.registries.remove(lost);
        fixture.configuration.replace(document);
        assert_eq!(fixture.attempt().await, Next::Done);
        let task = fixture.task().await;
        assert_eq!(
            (task.state, task.code.as_deref()),
            (TaskState::Failed, Some("UNKNOWN_REGISTRY"))
        );
        assert!(task.message.unwrap().contains(lost));
    }
}

#[tokio::test]
async fn a_message_that_is_no_task_is_an_error_and_stays_one() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(27, &[100])).await;
    let task = Envelope::new(fixture.queued().await.remove(0));
    let mut other = serde_json::to_value(&task).unwrap();
    other["version"] = 3.into();
    let mut traversal = serde_json::to_value(&task).unwrap();
    traversal["job"]["destination"]["repository"] = "../../v1/x".into();
    for body in ["", "{}", "null", "[1]", &other.to_string(), &traversal.to_string()] {
        let error = Envelope::parse(body).unwrap_err();
        assert_eq!(error.code(), "MESSAGE_INVALID", "{body}");
        assert!(error.persistence().is_permanent());
    }
}

#[tokio::test]
async fn a_kind_the_rule_does_not_let_pass_is_skipped() {
    let rule = RULE.replace("} }\n", "}, kinds: [chart] }\n");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    let sample = images::artifact(28);
    fixture.push_and_tell(&sample).await;
    fixture.drain().await;
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Skipped, Some("KIND_NOT_MATCHED"))
    );
    assert_eq!(fixture.b.repositories(), []);
}

#[tokio::test]
async fn layers_that_stayed_where_they_are_are_told() {
    let fixture = Fixture::new().await;
    let sample = images::non_distributable(30);
    fixture.push_and_tell(&sample).await;
    fixture.drain().await;
    fixture.assert_equal(&sample);
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Succeeded, Some("FOREIGN_LAYER_SKIPPED"))
    );
}

/// Moves the source tag to the next image whenever the destination tag is about to be written.
struct Restless {
    source: Arc<EmbeddedRegistry>,
    next: Vec<Digest>,
    commits: AtomicUsize,
}

impl Faults for Restless {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if request.method == "PUT" && request.path.ends_with("/manifests/v1") {
            let at = self.commits.fetch_add(1, Ordering::Relaxed);
            if let Some(root) = self.next.get(at) {
                self.source.tag(&name("core/app"), &tag("v1"), root);
            }
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_side_by_side_at_a_tag_that_moves_end_at_the_newest() {
    for round in 0..5 {
        let fixture = Fixture::new().await;
        let samples: Vec<_> = (0..5).map(|at| images::image(100 + round * 10 + at, &[1000])).collect();
        for sample in samples.iter().rev() {
            fixture.push(sample);
        }
        for sample in &samples[..4] {
            fixture.tell(&fixture.event("v1", &sample.root)).await;
        }
        fixture.b.set_faults(Some(Arc::new(Restless {
            source: Arc::clone(&fixture.a),
            next: samples[1..].iter().map(|sample| sample.root.clone()).collect(),
            commits: AtomicUsize::new(0),
        })));
        fixture.drain().await;
        // There was no event for the last move: the last writer also read the source last.
        fixture.assert_equal(&samples[4]);
        let tasks = fixture.tasks().await;
        assert!(tasks.iter().all(|task| task.state.is_success()), "{tasks:?}");
    }
}
