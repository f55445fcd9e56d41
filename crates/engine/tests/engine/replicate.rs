//! Tasks: tried, tried again, ended once, and remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::{Clock, NoProgress};
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_engine::{Configuration, Disposition, Ledger, Patience, TaskReceiver, TaskState};
use transship_oci::{Digest, RegistryHost};
use transship_registry::{Anonymous, Credentials, Login, Retries};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::house::{House, RULE, name, tag};

pub fn always(method: &str, path: &str, action: Action) -> Arc<Script> {
    Arc::new(Script::new([Fault::new(method, path, action).unwrap().always()]))
}

pub fn now(house: &House) -> Timestamp {
    Timestamp::try_from(house.clock.now()).unwrap()
}

#[tokio::test]
async fn a_push_arrives_and_is_told_with_all_that_happened() {
    let house = House::new().await;
    let sample = images::multi_platform(1);
    house.push_and_tell(&sample).await;
    house.clock.advance(Duration::from_secs(7));
    assert_eq!(house.attempt().await, Disposition::Done);
    house.assert_equal(&sample);
    let task = house.task().await;
    assert_eq!((task.state, task.attempts, task.code), (TaskState::Succeeded, 1, None));
    assert_eq!(task.digest, Some(sample.root.clone()));
    assert_eq!(task.bytes.copied, sample.blobs_size());
    assert_eq!(task.finished, Some(now(&house)));
    assert_eq!(task.finished.unwrap().duration_since(task.created).as_secs(), 7);
    assert_eq!(house.queue.inner.depth().await.unwrap(), 0);
    let key = "commit b/copy/app:v1";
    assert!(
        house
            .ledger
            .lease_take(key, "anyone", now(&house), Duration::from_secs(1))
            .await
            .unwrap(),
        "none is held"
    );
    assert_eq!(house.b.open_uploads(), 0);
}

#[tokio::test]
async fn a_message_that_comes_again_after_the_end_costs_nothing() {
    let house = House::new().await;
    let sample = images::image(2, &[100]);
    house.push(&sample);
    let event = house.event("v1", &sample.root);
    for _ in 0..3 {
        house.tell(&event).await;
    }
    house.attempt().await;
    let ended = house.task().await;
    house.a.reset_requests();
    house.b.reset_requests();
    assert_eq!([house.attempt().await, house.attempt().await], [Disposition::Done; 2]);
    assert_eq!((house.a.requests().len(), house.b.requests().len()), (0, 0));
    assert_eq!(house.task().await, ended);
}

#[tokio::test]
async fn a_moved_tag_never_goes_back() {
    let house = House::new().await;
    let (old, new) = (images::image(3, &[100]), images::image(4, &[200]));
    old.seed_into(&house.a, &name("core/app"), &tag("old"));
    let (first, second) = (house.event("v1", &old.root), house.event("v1", &new.root));
    house.push(&new);
    // Out of order, and each event more than once.
    for event in [&second, &first, &second, &first] {
        house.tell(event).await;
        house.drain().await;
        assert_eq!(house.arrived(), Some(new.root.clone()));
    }
    assert_eq!(house.states().await, ["succeeded", "unchanged"]);
}

#[tokio::test]
async fn what_may_pass_by_itself_is_tried_again_ever_later_and_says_when() {
    let house = House::new().await;
    let sample = images::image(5, &[100]);
    house.push_and_tell(&sample).await;
    house
        .b
        .set_faults(Some(always("PUT", "/manifests/", Action::status(503))));
    let mut waits = Vec::new();
    for attempt in 1..=5 {
        let Disposition::Again(wait) = house.attempt().await else {
            panic!("attempt {attempt} ended the task")
        };
        let task = house.task().await;
        assert_eq!((task.state, task.attempts), (TaskState::Waiting, attempt));
        assert_eq!(task.code.as_deref(), Some("REGISTRY_UNAVAILABLE"));
        assert_eq!(task.next, now(&house).checked_add(wait).ok());
        assert_eq!(task.finished, None);
        waits.push(wait);
        house.clock.advance(wait);
    }
    assert!(waits.is_sorted() && waits[0] < waits[4] / 8, "{waits:?}");
    house.b.set_faults(None);
    assert_eq!(house.attempt().await, Disposition::Done);
    house.assert_equal(&sample);
    let task = house.task().await;
    assert_eq!(
        (task.state, task.attempts, task.next, task.code),
        (TaskState::Succeeded, 6, None, None)
    );
}

#[tokio::test]
async fn what_cannot_succeed_ends_after_one_try_with_its_code() {
    for (registry, method, path, action, code) in [
        ("a", "GET", "/blobs/", Action::status(404), "BLOB_NOT_FOUND"),
        (
            "a",
            "GET",
            "/blobs/",
            Action::FlipBit { at_byte: 3 },
            "BLOB_DIGEST_MISMATCH",
        ),
        ("b", "POST", "/uploads/", Action::status(403), "ACCESS_DENIED"),
        ("b", "HEAD", "/manifests/v1", Action::status(401), "AUTH_FAILED"),
    ] {
        let house = House::new().await;
        house.push_and_tell(&images::image(6, &[100])).await;
        let broken = if registry == "a" { &house.a } else { &house.b };
        broken.set_faults(Some(always(method, path, action)));
        assert_eq!(house.attempt().await, Disposition::Done, "{code}");
        let task = house.task().await;
        assert_eq!(
            (task.state, task.attempts, task.code.as_deref()),
            (TaskState::Failed, 1, Some(code))
        );
        assert!(
            task.message
                .is_some_and(|message| message.len() > 10 && message.len() < 600)
        );
        assert!(task.finished.is_some());
        assert_eq!(house.arrived(), None);
    }
}

#[tokio::test]
async fn a_task_is_not_tried_for_ever() {
    let mut house = House::new().await;
    house.be_patient(Patience {
        age: Duration::from_hours(1),
        attempts: 3,
        max_delay: Duration::from_mins(5),
    });
    house.push_and_tell(&images::image(7, &[100])).await;
    house
        .b
        .set_faults(Some(always("HEAD", "/manifests/", Action::status(503))));
    for _ in 0..3 {
        let Disposition::Again(wait) = house.attempt().await else {
            panic!("many attempts alone do not end a young task")
        };
        assert!(wait <= Duration::from_mins(5));
        house.clock.advance(wait);
    }
    house.clock.advance(Duration::from_hours(1));
    assert_eq!(house.attempt().await, Disposition::Done);
    let task = house.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Failed, Some("REGISTRY_UNAVAILABLE"))
    );
}

#[tokio::test]
async fn a_tag_that_is_not_ours_is_kept_and_said_so() {
    let house = House::new().await;
    let foreign = images::image(8, &[10]);
    foreign.seed_into(&house.b, &name("copy/app"), &tag("v1"));
    house.push_and_tell(&images::image(9, &[100])).await;
    house.drain().await;
    let task = house.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Kept, Some("DESTINATION_KEPT"))
    );
    assert_eq!(task.digest, Some(foreign.root.clone()));
    assert_eq!(house.arrived(), Some(foreign.root));
}

#[tokio::test]
async fn a_tag_we_wrote_is_replaced_until_somebody_else_writes_it() {
    let house = House::new().await;
    for seed in 10..13 {
        let sample = images::image(seed, &[100]);
        house.push_and_tell(&sample).await;
        house.drain().await;
        house.assert_equal(&sample);
    }
    let foreign = images::image(13, &[10]);
    foreign.seed_into(&house.b, &name("copy/app"), &tag("v1"));
    house.push_and_tell(&images::image(14, &[100])).await;
    house.drain().await;
    assert_eq!(house.arrived(), Some(foreign.root));
    assert_eq!(house.states().await, ["succeeded", "succeeded", "succeeded", "kept"]);
}

#[tokio::test]
async fn a_worker_that_dies_after_the_tag_and_before_the_record_keeps_what_it_wrote() {
    let house = House::new().await;
    let (first, second, third) = (
        images::image(15, &[100]),
        images::image(16, &[200]),
        images::image(17, &[300]),
    );
    house.push_and_tell(&first).await;
    house.drain().await;

    // What is written is recorded in two steps, and the ledger dies before the second.
    house.ledger.fail(|call, _| call == "finish");
    house.push_and_tell(&second).await;
    let body = serde_json::to_string(&house.queued().await[0]).unwrap();
    assert!(
        house
            .replicator
            .message(&body, Arc::new(NoProgress), None)
            .await
            .is_err()
    );
    assert_eq!(house.arrived(), Some(second.root.clone()), "the tag was written");
    house.ledger.heal();

    house.push(&third);
    house.drain().await;
    house.assert_equal(&third);
    assert_eq!(house.states().await, ["succeeded", "succeeded"]);
}

#[tokio::test]
async fn a_worker_that_vanishes_at_the_tag_keeps_what_it_wrote() {
    let house = House::new().await;
    let (first, second) = (images::image(18, &[100]), images::image(19, &[200]));
    house.push_and_tell(&first).await;
    let task = house.queued().await.remove(0);
    // It is dropped where it asks the source for a last look: after the tag, before the record.
    let (worker, b) = (Arc::clone(&house.replicator), Arc::clone(&house.b));
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    house.ledger.before(move |call, _| {
        let is_last = call == "lease_release";
        if is_last && let Some(tell) = tell.lock().unwrap().take() {
            tell.send(()).ok();
        }
        Box::pin(async move {
            if is_last {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    });
    let attempt = tokio::spawn(async move { worker.replicate(&task, Arc::new(NoProgress), None).await });
    told.await.unwrap();
    attempt.abort();
    attempt.await.unwrap_err();
    house.ledger.heal();
    assert_eq!(b.digest(&name("copy/app"), &tag("v1")), Some(first.root.clone()));
    assert_eq!(house.task().await.state, TaskState::Running);

    house.push(&second);
    // Its lease is still held and expires by itself.
    house.clock.advance(Duration::from_mins(1));
    house.drain().await;
    house.assert_equal(&second);
    assert_eq!(house.task().await.state, TaskState::Succeeded);
    // The tag is ahead of the event, which takes some looks.
    assert!(house.task().await.attempts >= 2);
}

#[tokio::test]
async fn a_repeated_attempt_sends_only_what_is_missing() {
    let house = House::new().await;
    let sample = images::image(20, &[100_000, 50_000]);
    house.push_and_tell(&sample).await;
    house
        .b
        .set_faults(Some(always("PUT", "/manifests/", Action::status(503))));
    assert!(matches!(house.attempt().await, Disposition::Again(_)));
    house.b.set_faults(None);
    house.b.reset_requests();
    house.drain().await;
    house.assert_equal(&sample);
    let manifest = sample.root_manifest().unwrap().bytes.len() as u64;
    assert_eq!(house.b.traffic().total.bytes_in, manifest, "no blob was sent twice");
}

#[tokio::test]
async fn what_one_worker_pushed_is_mounted_by_all() {
    let rules = format!(
        "{RULE}  - {{ name: second, source: {{ registry: a, namespace: core }}, destination: {{ registry: b, namespace: other }} }}\n"
    );
    let house = House::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rules).await;
    let sample = images::image(21, &[100_000]);
    house.push_and_tell(&sample).await;
    house.attempt().await;
    house.attempt_by(&house.other_worker()).await;
    let tasks = house.tasks().await;
    let mut moved: Vec<(u64, u64)> = tasks
        .iter()
        .map(|task| (task.bytes.copied, task.bytes.mounted))
        .collect();
    moved.sort_unstable();
    assert_eq!(moved, [(0, sample.blobs_size()), (sample.blobs_size(), 0)]);
    crate::house::assert_parts(&house.b, &name("copy/app"), &sample);
    crate::house::assert_parts(&house.b, &name("other/app"), &sample);
}

#[tokio::test]
async fn a_memory_of_blobs_that_fails_costs_work_and_no_image() {
    let house = House::new().await;
    let sample = images::image(22, &[100]);
    house.push_and_tell(&sample).await;
    house
        .ledger
        .fail(|call, _| call.starts_with("location") || call.contains("pause") || call == "lease_release");
    assert_eq!(house.attempt().await, Disposition::Done);
    house.assert_equal(&sample);
}

#[tokio::test]
async fn without_its_ledger_a_worker_decides_nothing() {
    let house = House::new().await;
    house.push_and_tell(&images::image(23, &[100])).await;
    let body = serde_json::to_string(&house.queued().await[0]).unwrap();
    house.ledger.fail(|call, _| call == "begin");
    let error = house
        .replicator
        .message(&body, Arc::new(NoProgress), None)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
    assert_eq!(house.b.requests().len(), 0);
    // What was copied and could not be recorded is found equal by the next attempt.
    house.ledger.fail(|call, _| call == "finish");
    assert!(
        house
            .replicator
            .message(&body, Arc::new(NoProgress), None)
            .await
            .is_err()
    );
    house.ledger.heal();
    house.drain().await;
    assert_eq!(house.states().await, ["unchanged"]);
}

#[tokio::test]
async fn a_memory_of_tags_that_fails_stops_the_write() {
    let house = House::new().await;
    house.push_and_tell(&images::image(24, &[100])).await;
    house.ledger.fail(|call, _| call == "replica_intend");
    assert!(matches!(house.attempt().await, Disposition::Again(_)));
    assert_eq!(
        house.arrived(),
        None,
        "nothing is written that could not be found again"
    );
    assert_eq!(house.task().await.code.as_deref(), Some("LEDGER_UNAVAILABLE"));
}

#[tokio::test]
async fn a_wait_a_registry_asks_for_holds_for_the_fleet() {
    let house = House::new().await;
    let sample = images::image(25, &[100]);
    house.push_and_tell(&sample).await;
    house
        .b
        .set_faults(Some(always("HEAD", "/manifests/", Action::too_many_requests(600))));
    let Disposition::Again(wait) = house.attempt().await else {
        panic!("the task ended")
    };
    assert!(wait >= Duration::from_secs(599), "{wait:?}");
    house.b.set_faults(None);
    house.b.reset_requests();
    house.a.reset_requests();

    // Another worker, with another task, and no experience of its own.
    house.tell(&house.event("v1", &sample.root)).await;
    let other = house.other_worker();
    let Disposition::Again(also) = house.attempt_by(&other).await else {
        panic!("the task ended")
    };
    assert!(also > Duration::from_secs(590), "{also:?}");
    assert_eq!((house.a.requests().len(), house.b.requests().len()), (0, 0));
    assert!(
        house
            .tasks()
            .await
            .iter()
            .all(|task| task.code.as_deref() == Some("RATE_LIMITED"))
    );

    house.clock.advance(also);
    assert_eq!(house.attempt_by(&other).await, Disposition::Done);
    house.assert_equal(&sample);
}

#[tokio::test]
async fn a_task_of_a_registry_the_document_lost_ends_and_names_it() {
    for lost in ["a", "b"] {
        let house = House::new().await;
        house.push_and_tell(&images::image(26, &[100])).await;
        let mut document = house.configuration.current().document.clone();
        document.registries.remove(lost);
        house.configuration.replace(document);
        assert_eq!(house.attempt().await, Disposition::Done);
        let task = house.task().await;
        assert_eq!(
            (task.state, task.code.as_deref()),
            (TaskState::Failed, Some("UNKNOWN_REGISTRY"))
        );
        assert!(task.message.unwrap().contains(lost));
    }
}

#[tokio::test]
async fn a_message_that_is_no_task_is_an_error_and_stays_one() {
    let house = House::new().await;
    house.push_and_tell(&images::image(27, &[100])).await;
    let mut other = serde_json::to_value(&house.queued().await[0]).unwrap();
    other["version"] = 2.into();
    let mut traversal = serde_json::to_value(&house.queued().await[0]).unwrap();
    traversal["destination"]["repository"] = "../../v1/x".into();
    for body in ["", "{}", "null", "[1]", &other.to_string(), &traversal.to_string()] {
        let error = house
            .replicator
            .message(body, Arc::new(NoProgress), None)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "MESSAGE_INVALID", "{body}");
        assert!(error.persistence().is_permanent());
    }
    assert_eq!(house.b.requests().len(), 0);
}

#[tokio::test]
async fn a_kind_the_rule_does_not_let_pass_is_skipped() {
    let rule = RULE.replace("} }\n", "}, kinds: [chart] }\n");
    let house = House::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    let sample = images::artifact(28);
    house.push_and_tell(&sample).await;
    house.drain().await;
    let task = house.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Skipped, Some("KIND_NOT_MATCHED"))
    );
    assert_eq!(house.b.repositories(), []);
}

#[tokio::test]
async fn an_image_that_must_be_signed_waits_for_its_signature() {
    let rule = RULE.replace("} }\n", "}, referrers: require }\n");
    let house = House::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    let signed = images::with_referrer(29);
    let (image, later) = signed.manifests.split_at(1);
    let bare = images::Sample {
        manifests: image.to_vec(),
        ..signed.clone()
    };
    house.push_and_tell(&bare).await;
    assert!(matches!(house.attempt().await, Disposition::Again(_)));
    assert_eq!(house.task().await.code.as_deref(), Some("REFERRERS_MISSING"));
    assert_eq!(house.arrived(), None);
    house
        .a
        .seed_manifest(&name("core/app"), &later[0].media_type, later[0].bytes.clone());
    house.drain().await;
    house.assert_equal(&signed);
}

#[tokio::test]
async fn layers_that_stayed_where_they_are_are_told() {
    let house = House::new().await;
    let sample = images::non_distributable(30);
    house.push_and_tell(&sample).await;
    house.drain().await;
    house.assert_equal(&sample);
    let task = house.task().await;
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
        let house = House::new().await;
        let samples: Vec<_> = (0..5).map(|at| images::image(100 + round * 10 + at, &[1000])).collect();
        for sample in samples.iter().rev() {
            house.push(sample);
        }
        for sample in &samples[..4] {
            house.tell(&house.event("v1", &sample.root)).await;
        }
        house.b.set_faults(Some(Arc::new(Restless {
            source: Arc::clone(&house.a),
            next: samples[1..].iter().map(|sample| sample.root.clone()).collect(),
            commits: AtomicUsize::new(0),
        })));
        house.drain().await;
        // No event told of the last move: whoever wrote last has looked last.
        house.assert_equal(&samples[4]);
        let tasks = house.tasks().await;
        assert!(tasks.iter().all(|task| task.state.is_success()), "{tasks:?}");
    }
}

/// A login that is not where the document says.
struct NotThere;

#[async_trait]
impl Credentials for NotThere {
    async fn login(&self, _: &RegistryHost) -> transship_registry::Result<Login> {
        Err(transship_registry::Error::credentials("secretsmanager:b is not there"))
    }
}

#[tokio::test]
async fn a_login_that_is_not_there_is_waited_for() {
    let closed = Auth::Basic {
        user: "robot".into(),
        password: "canary".into(),
    };
    let house = House::of(
        EmbeddedRegistry::builder(),
        EmbeddedRegistry::builder().auth(closed),
        RULE,
    )
    .await;
    let mut worker = house.other_worker();
    worker.configuration = Configuration::new(
        house.configuration.current().document.clone(),
        Arc::new(|name, _| match name {
            "b" => Arc::new(NotThere),
            _ => Arc::new(Anonymous),
        }),
        Retries::default(),
    );
    house.push_and_tell(&images::image(205, &[100])).await;
    for _ in 0..3 {
        let Disposition::Again(wait) = house.attempt_by(&worker).await else {
            panic!("a person could not have put it there in time")
        };
        house.clock.advance(wait);
    }
    let task = house.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Waiting, Some("CREDENTIALS_UNAVAILABLE"))
    );
}
