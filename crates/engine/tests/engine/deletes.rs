//! Deletes are propagated only as far as both registries and our own record confirm them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::{Action as FaultAction, Faults, RequestHead};
use transship_engine::ledger::{DeleteGrants, Replicas as _};
use transship_engine::operations::{Cancel, Redrive, Redriven};
use transship_engine::{Accepted, Action, ImageRef, TaskRecord, TaskState};
use transship_oci::{Digest, DigestTag, Target};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, document, tag};

const PROPAGATE: &str = "  - { name: core-images, source: { registry: a, namespace: core, tag: { glob: \"v*\" } }, destination: { registry: b, namespace: copy }, deletes: propagate }\n";

fn limited(limit: &str) -> String {
    PROPAGATE.replace(
        "deletes: propagate",
        &format!("deletes: {{ propagate: true, at_most: {limit} }}"),
    )
}

async fn fixture() -> Fixture {
    Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), PROPAGATE).await
}

/// Images that were pushed and copied, under these tags.
async fn replicated(fixture: &Fixture, sample: &Sample, tags: &[&str]) {
    for name in tags {
        sample.seed_into(&fixture.a, &fixture.from(), &tag(name));
        fixture.tell(&fixture.event(name, &sample.root)).await;
    }
    fixture.drain().await;
    for name in tags {
        assert_eq!(at(fixture, name).as_ref(), Some(&sample.root));
    }
}

/// What a tag names at the destination.
fn at(fixture: &Fixture, name: &str) -> Option<Digest> {
    fixture.b.digest(&fixture.to(), &tag(name))
}

/// The event of a deleted tag, or of a deleted digest.
fn deleted(fixture: &Fixture, reference: &str) -> Value {
    let mut event = fixture.event("any", &Digest::sha256(b"any"));
    let target = if reference.contains(':') {
        json!({ "digest": reference, "repository": fixture.from() })
    } else {
        json!({ "tag": reference, "repository": fixture.from() })
    };
    event["action"] = "delete".into();
    event["target"] = target;
    event
}

/// Removes the tag at the source, and says so.
async fn delete(fixture: &Fixture, name: &str) {
    assert!(fixture.a.untag(&fixture.from(), &tag(name)));
    fixture.tell(&deleted(fixture, name)).await;
}

async fn deletes(fixture: &Fixture) -> Vec<TaskRecord> {
    let mut tasks = fixture.tasks().await;
    tasks.retain(|task| task.action == Action::Delete);
    tasks
}

/// State and code of each delete.
async fn ends(fixture: &Fixture) -> Vec<(TaskState, Option<String>)> {
    let tasks = deletes(fixture).await;
    tasks.into_iter().map(|task| (task.state, task.code)).collect()
}

fn end(state: TaskState, code: &str) -> (TaskState, Option<String>) {
    (state, Some(code.to_owned()))
}

fn redrive(fixture: &Fixture) -> Redrive {
    Redrive {
        history: Arc::clone(&fixture.ledger) as _,
        cancels: fixture.jobs.ledger.cancels.clone(),
        grants: DeleteGrants::new(Arc::clone(&fixture.ledger) as _),
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    }
}

async fn release(fixture: &Fixture, code: &str) -> Redriven {
    redrive(fixture).run_with_code(None, Some(code), 0).await.unwrap()
}

/// Whether a manifest was ever deleted by its digest.
fn was_deleted_by_digest(fixture: &Fixture) -> bool {
    let requests = fixture.b.requests();
    requests
        .iter()
        .any(|request| request.method == Method::DELETE && request.path.contains("sha256:"))
}

async fn record(fixture: &Fixture, name: &str) -> Option<transship_engine::Replica> {
    let place = ImageRef {
        registry: "b".to_owned(),
        repository: fixture.to(),
        target: Target::Tag(tag(name)),
    };
    fixture.ledger.get(&place).await.unwrap()
}

#[tokio::test]
async fn a_deleted_tag_is_deleted_and_its_image_stays() {
    let fixture = fixture().await;
    let sample = images::image(1, &[100]);
    replicated(&fixture, &sample, &["v1", "v2"]).await;
    delete(&fixture, "v1").await;
    fixture.drain().await;
    let [task] = deletes(&fixture).await.try_into().unwrap();
    assert_eq!(
        (task.state, task.code, task.digest),
        (TaskState::Succeeded, None, Some(sample.root.clone()))
    );
    assert_eq!(
        (at(&fixture, "v1"), at(&fixture, "v2")),
        (None, Some(sample.root.clone()))
    );
    assert!(!was_deleted_by_digest(&fixture));
    assert_eq!(record(&fixture, "v1").await, None);
    // A push of the same tag is copied like any other.
    replicated(&fixture, &images::image(2, &[100]), &["v1"]).await;
}

#[tokio::test]
async fn an_event_that_is_delivered_again_or_forged_deletes_nothing() {
    let fixture = fixture().await;
    let sample = images::image(1, &[100]);
    replicated(&fixture, &sample, &["v1", "v2"]).await;
    // Forged: the source has the tag.
    fixture.tell(&deleted(&fixture, "v2")).await;
    fixture.drain().await;
    assert_eq!(ends(&fixture).await, [end(TaskState::Skipped, "NOT_DELETED")]);
    // Delivered again after the tag was pushed again.
    let event = deleted(&fixture, "v1");
    assert!(fixture.a.untag(&fixture.from(), &tag("v1")));
    fixture.tell(&event).await;
    fixture.drain().await;
    assert_eq!(at(&fixture, "v1"), None);
    replicated(&fixture, &sample, &["v1"]).await;
    for _ in 0..3 {
        fixture.deliver(std::slice::from_ref(&event)).await.unwrap();
    }
    let mut replayed = event.clone();
    replayed["id"] = "another id".into();
    fixture.tell(&replayed).await;
    fixture.drain().await;
    assert_eq!(
        (at(&fixture, "v1"), at(&fixture, "v2")),
        (Some(sample.root.clone()), Some(sample.root.clone()))
    );
    let states: Vec<TaskState> = deletes(&fixture).await.iter().map(|task| task.state).collect();
    assert_eq!(states, [TaskState::Skipped, TaskState::Succeeded, TaskState::Skipped]);
}

/// An answer in the form of the specification.
fn refusal(code: u16, word: &str) -> FaultAction {
    FaultAction::Status {
        code,
        headers: Vec::new(),
        body: Bytes::from(json!({ "errors": [{ "code": word, "message": word }] }).to_string()),
    }
}

#[tokio::test]
async fn a_repository_that_is_gone_or_not_listed_waits_for_an_operator() {
    let manifest = "/manifests/v1";
    let list = "/tags/list";
    for (path, action) in [
        (manifest, refusal(404, "NAME_UNKNOWN")),
        (manifest, refusal(404, "NOT_FOUND")),
        (manifest, FaultAction::status(404)),
        (manifest, refusal(403, "DENIED")),
        (manifest, refusal(401, "UNAUTHORIZED")),
        (manifest, refusal(400, "MANIFEST_UNKNOWN")),
        (list, refusal(404, "NAME_UNKNOWN")),
        (list, FaultAction::status(404)),
        (list, refusal(403, "DENIED")),
        (list, refusal(401, "UNAUTHORIZED")),
        (list, FaultAction::status(405)),
    ] {
        let case = format!("{path} {action:?}");
        let fixture = fixture().await;
        let sample = images::image(1, &[100]);
        replicated(&fixture, &sample, &["v1"]).await;
        let fault = Fault::new("GET", path, action).unwrap().always();
        fixture.a.set_faults(Some(Arc::new(Script::new([fault]))));
        delete(&fixture, "v1").await;
        fixture.drain().await;
        let waiting = [end(TaskState::Waiting, "DELETE_UNCONFIRMED")];
        assert_eq!(ends(&fixture).await, waiting, "{case}");
        assert_eq!(at(&fixture, "v1").as_ref(), Some(&sample.root), "{case}");
        // It does not expire, however often it is checked, and a redrive of what failed leaves it alone.
        fixture.clock.advance(Duration::from_hours(24 * 60));
        assert_eq!(redrive(&fixture).run(None, 0).await.unwrap(), Redriven::default());
        assert_eq!(release(&fixture, "DELETE_UNCONFIRMED").await.redriven, 1, "{case}");
        fixture.drain().await;
        assert_eq!(ends(&fixture).await, waiting, "{case}");
        // The rights are back.
        fixture.a.set_faults(None);
        assert_eq!(release(&fixture, "DELETE_UNCONFIRMED").await.redriven, 1, "{case}");
        fixture.drain().await;
        assert_eq!(
            (ends(&fixture).await, at(&fixture, "v1")),
            (vec![(TaskState::Succeeded, None)], None),
            "{case}"
        );
    }
}

#[tokio::test]
async fn what_our_record_does_not_name_is_kept() {
    // Someone else pushed to the destination.
    let fixture = fixture().await;
    let sample = images::image(1, &[100]);
    replicated(&fixture, &sample, &["v1"]).await;
    let theirs = images::image(2, &[100]);
    theirs.seed_into(&fixture.b, &fixture.to(), &tag("v1"));
    delete(&fixture, "v1").await;
    fixture.drain().await;
    assert_eq!(ends(&fixture).await, [end(TaskState::Kept, "DESTINATION_KEPT")]);
    assert_eq!(at(&fixture, "v1"), Some(theirs.root));
    // A rule that was added after the image came there by other means.
    let fixture = self::fixture().await;
    sample.seed_into(&fixture.b, &fixture.to(), &tag("v1"));
    fixture.tell(&deleted(&fixture, "v1")).await;
    fixture.tell(&deleted(&fixture, "v2")).await;
    fixture.drain().await;
    assert_eq!(
        ends(&fixture).await,
        [end(TaskState::Kept, "DESTINATION_KEPT"), (TaskState::Unchanged, None)]
    );
    assert_eq!(at(&fixture, "v1"), Some(sample.root));
}

#[tokio::test]
async fn rules_that_ignore_deletes_and_tags_outside_of_a_rule_make_no_task() {
    let fixture = fixture().await;
    let sample = images::image(1, &[100]);
    replicated(&fixture, &sample, &["v1"]).await;
    let nothing = Accepted::Nothing { code: None };
    assert_eq!(fixture.deliver(&[deleted(&fixture, "w1")]).await.unwrap(), nothing);
    // The rule changes after the event was accepted.
    delete(&fixture, "v1").await;
    let ignores = PROPAGATE.replace("propagate", "ignore");
    fixture
        .configuration
        .replace(document(&fixture.a, &fixture.b, &ignores));
    fixture.drain().await;
    assert_eq!(ends(&fixture).await, [end(TaskState::Skipped, "DELETES_IGNORED")]);
    assert_eq!(at(&fixture, "v1"), Some(sample.root));
    assert_eq!(fixture.deliver(&[deleted(&fixture, "v1")]).await.unwrap(), nothing);
}

#[tokio::test]
async fn a_deleted_digest_deletes_the_tags_that_were_copied_from_it() {
    let fixture = fixture().await;
    let (sample, other) = (images::multi_platform(1), images::image(2, &[100]));
    replicated(&fixture, &sample, &["v1", "v2", "v3"]).await;
    replicated(&fixture, &other, &["v4"]).await;
    // v3 was moved at the source, without an event.
    for name in ["v1", "v2"] {
        assert!(fixture.a.untag(&fixture.from(), &tag(name)));
    }
    other.seed_into(&fixture.a, &fixture.from(), &tag("v3"));
    let accepted = fixture
        .deliver(&[deleted(&fixture, &sample.root.to_string())])
        .await
        .unwrap();
    assert_eq!(
        accepted,
        Accepted::Tasks {
            events: 1,
            executions: Vec::new()
        }
    );
    fixture.drain().await;
    let mut found = ends(&fixture).await;
    found.sort_by_key(|(state, _)| state.as_str());
    let succeeded = (TaskState::Succeeded, None);
    assert_eq!(
        found,
        [end(TaskState::Skipped, "NOT_DELETED"), succeeded.clone(), succeeded]
    );
    assert_eq!((at(&fixture, "v1"), at(&fixture, "v2")), (None, None));
    assert_eq!(at(&fixture, "v3"), Some(sample.root.clone()));
    assert!(!was_deleted_by_digest(&fixture));
    // A part of an image, and what nothing was copied from, leave nothing to read past.
    let child = sample
        .manifests
        .iter()
        .find(|manifest| manifest.digest != sample.root)
        .unwrap();
    fixture
        .deliver(&[deleted(&fixture, &child.digest.to_string())])
        .await
        .unwrap();
    fixture
        .deliver(&[deleted(&fixture, &Digest::sha256(b"nothing").to_string())])
        .await
        .unwrap();
    fixture.drain().await;
    assert_eq!(deletes(&fixture).await.len(), 3);
}

#[tokio::test]
async fn a_signature_is_deleted_by_its_own_event() {
    let fixture = fixture().await;
    let signed = images::with_cosign_signature(1);
    replicated(&fixture, &signed, &["v1"]).await;
    let tags = fixture.b.tags(&fixture.to());
    let signature = tags.into_iter().find(|tag| DigestTag::of(tag).is_some()).unwrap();
    delete(&fixture, "v1").await;
    fixture.drain().await;
    assert!(
        fixture.b.digest(&fixture.to(), &signature).is_some(),
        "the image is still there by its digest"
    );
    delete(&fixture, signature.as_str()).await;
    fixture.drain().await;
    assert_eq!(fixture.b.digest(&fixture.to(), &signature), None);
    assert_eq!(
        ends(&fixture).await,
        [(TaskState::Succeeded, None), (TaskState::Succeeded, None)]
    );
}

#[tokio::test]
async fn a_destination_that_does_not_delete_tags_says_so() {
    for action in [
        None,
        Some(refusal(400, "DIGEST_INVALID")),
        Some(refusal(404, "UNSUPPORTED")),
    ] {
        let b = EmbeddedRegistry::builder().delete(action.is_some());
        let fixture = Fixture::of(EmbeddedRegistry::builder(), b, PROPAGATE).await;
        let sample = images::image(1, &[100]);
        replicated(&fixture, &sample, &["v1"]).await;
        if let Some(action) = action {
            let fault = Fault::new("DELETE", "/manifests/", action).unwrap().always();
            fixture.b.set_faults(Some(Arc::new(Script::new([fault]))));
        }
        delete(&fixture, "v1").await;
        fixture.drain().await;
        assert_eq!(ends(&fixture).await, [end(TaskState::Failed, "TAG_DELETE_UNSUPPORTED")]);
        assert_eq!(at(&fixture, "v1"), Some(sample.root));
        assert!(!was_deleted_by_digest(&fixture));
        assert!(record(&fixture, "v1").await.is_some());
    }
}

#[tokio::test]
async fn a_burst_is_limited_until_an_operator_releases_it() {
    let rules = limited("2 per hour");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rules).await;
    let tags = ["v1", "v2", "v3", "v4", "v5"];
    replicated(&fixture, &images::image(1, &[100]), &tags).await;
    for name in tags {
        delete(&fixture, name).await;
    }
    fixture.drain().await;
    let count = async |state: TaskState, code: Option<&str>| {
        let ends = ends(&fixture).await;
        ends.iter()
            .filter(|end| end.0 == state && end.1.as_deref() == code)
            .count()
    };
    assert_eq!(count(TaskState::Succeeded, None).await, 2);
    assert_eq!(count(TaskState::Waiting, Some("DELETE_LIMIT")).await, 3);
    assert_eq!(tags.iter().filter(|name| at(&fixture, name).is_some()).count(), 3);
    // Neither time nor a redrive of what failed releases them.
    fixture.clock.advance(Duration::from_hours(2));
    assert_eq!(redrive(&fixture).run(None, 0).await.unwrap(), Redriven::default());
    fixture.drain().await;
    assert_eq!(count(TaskState::Waiting, Some("DELETE_LIMIT")).await, 3);
    // One of them is not wanted.
    let waiting = deletes(&fixture)
        .await
        .into_iter()
        .find(|task| task.state == TaskState::Waiting)
        .unwrap();
    let cancel = Cancel {
        history: Arc::clone(&fixture.ledger) as _,
        cancels: fixture.jobs.ledger.cancels.clone(),
        clock: Arc::new(fixture.clock.clone()),
        is_idle: false,
    };
    assert_eq!(cancel.run(&waiting.execution).await.unwrap().unwrap().cancelled, 1);
    let released = release(&fixture, "DELETE_LIMIT").await;
    assert_eq!((released.redriven, released.executions.len()), (2, 2));
    fixture.drain().await;
    assert_eq!(count(TaskState::Succeeded, None).await, 4);
    assert_eq!(tags.iter().filter(|name| at(&fixture, name).is_some()).count(), 1);
    assert_eq!(release(&fixture, "DELETE_LIMIT").await, Redriven::default());
    // What was released does not count: the next period has two deletes of its own.
    replicated(&fixture, &images::image(2, &[100]), &tags[..3]).await;
    for name in &tags[..3] {
        delete(&fixture, name).await;
    }
    fixture.drain().await;
    assert_eq!(count(TaskState::Succeeded, None).await, 6);
    assert_eq!(count(TaskState::Waiting, Some("DELETE_LIMIT")).await, 1);
}

/// A sweep sends a waiting delete again; it is checked again, and the limit holds.
#[tokio::test]
async fn a_released_delete_that_is_tried_again_is_not_limited_again() {
    let rules = limited("1 per day");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rules).await;
    replicated(&fixture, &images::image(1, &[100]), &["v1", "v2"]).await;
    delete(&fixture, "v1").await;
    fixture.drain().await;
    let busy = Fault::new("DELETE", "/manifests/", FaultAction::status(503)).unwrap();
    fixture.b.set_faults(Some(Arc::new(Script::new([busy.times(20)]))));
    delete(&fixture, "v2").await;
    fixture.drain().await;
    assert_eq!(ends(&fixture).await[1], end(TaskState::Waiting, "DELETE_LIMIT"));
    assert_eq!(release(&fixture, "DELETE_LIMIT").await.redriven, 1);
    fixture.drain().await;
    assert_eq!(
        ends(&fixture).await,
        [(TaskState::Succeeded, None), (TaskState::Succeeded, None)]
    );
    assert_eq!(at(&fixture, "v2"), None);
}

#[tokio::test]
async fn nothing_is_deleted_while_a_fallback_is_in_force() {
    let fixture = fixture().await;
    let sample = images::image(1, &[100]);
    replicated(&fixture, &sample, &["v1"]).await;
    let same = || document(&fixture.a, &fixture.b, PROPAGATE);
    fixture.configuration.fall_back(same());
    delete(&fixture, "v1").await;
    fixture.tell(&deleted(&fixture, &sample.root.to_string())).await;
    for _ in 0..20 {
        fixture.clock.advance(Duration::from_mins(10));
        fixture.attempt().await;
    }
    assert_eq!(ends(&fixture).await, [end(TaskState::Waiting, "RULE_UNCLEAR")]);
    assert_eq!(at(&fixture, "v1"), Some(sample.root.clone()));
    fixture.configuration.replace(same());
    fixture.drain().await;
    assert_eq!(at(&fixture, "v1"), None);
}

/// Lets something happen once, when the destination receives a DELETE.
struct AtDelete {
    happen: Box<dyn Fn() + Send + Sync>,
    happened: AtomicBool,
}

impl Faults for AtDelete {
    fn action(&self, request: &RequestHead<'_>) -> Option<FaultAction> {
        if *request.method == Method::DELETE && !self.happened.swap(true, Ordering::SeqCst) {
            (self.happen)();
        }
        None
    }
}

#[tokio::test]
async fn a_tag_that_is_pushed_while_it_is_deleted_is_copied_again() {
    let fixture = fixture().await;
    let (sample, newer) = (images::image(1, &[100]), images::image(2, &[100]));
    replicated(&fixture, &sample, &["v1"]).await;
    let (a, from, pushed) = (Arc::clone(&fixture.a), fixture.from(), newer.clone());
    fixture.b.set_faults(Some(Arc::new(AtDelete {
        happen: Box::new(move || pushed.seed_into(&a, &from, &tag("v1"))),
        happened: AtomicBool::new(false),
    })));
    delete(&fixture, "v1").await;
    fixture.drain().await;
    fixture.assert_equal(&newer);
    assert_eq!(fixture.states().await, ["succeeded", "succeeded", "succeeded"]);
}

/// The worker dies after the DELETE, and the tag comes back before the next attempt.
#[tokio::test]
async fn a_tag_that_comes_back_after_a_crash_is_copied_again() {
    for comes_back in [true, false] {
        let fixture = fixture().await;
        let sample = images::image(1, &[100]);
        replicated(&fixture, &sample, &["v1"]).await;
        fixture.ledger.fail(|call, _| call == "withdraw");
        delete(&fixture, "v1").await;
        fixture.attempt().await;
        assert_eq!(at(&fixture, "v1"), None);
        fixture.ledger.heal();
        if comes_back {
            fixture.push(&sample);
        }
        fixture.drain().await;
        assert_eq!(at(&fixture, "v1").is_some(), comes_back);
        assert_eq!(record(&fixture, "v1").await.is_some(), comes_back);
        let expected = if comes_back {
            end(TaskState::Skipped, "NOT_DELETED")
        } else {
            (TaskState::Unchanged, None)
        };
        assert_eq!(ends(&fixture).await, [expected]);
    }
}

#[tokio::test]
async fn a_copy_that_comes_after_the_delete_is_skipped() {
    let fixture = fixture().await;
    let (sample, newer) = (images::image(1, &[100]), images::image(2, &[100]));
    replicated(&fixture, &sample, &["v1"]).await;
    // The copy of the newer image waits while the tag is deleted.
    fixture.b.set_faults(Some(Arc::new(Script::new([Fault::new(
        "POST",
        "/uploads/",
        FaultAction::status(503),
    )
    .unwrap()
    .always()]))));
    fixture.push_and_tell(&newer).await;
    fixture.attempt().await;
    fixture.b.set_faults(None);
    delete(&fixture, "v1").await;
    fixture.drain().await;
    let tasks = fixture.tasks().await;
    let late = &tasks[1];
    assert_eq!(
        (late.state, late.code.as_deref()),
        (TaskState::Skipped, Some("SOURCE_DELETED"))
    );
    assert_eq!(ends(&fixture).await, [(TaskState::Succeeded, None)]);
    assert_eq!(at(&fixture, "v1"), None);
}
