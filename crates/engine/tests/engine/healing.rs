//! A ledger that was lost is built again by the sweep, and what cannot succeed is tried once.

use std::sync::Arc;
use std::time::Duration;

use transship_embedded_registry::faults::Action;
use transship_engine::ledger::Replicas as _;
use transship_engine::operations::Redrive;
use transship_engine::{ImageRef, Job, Outgoing, TaskQueue as _, TaskReceiver as _, TaskState};
use transship_oci::Target;
use transship_testkit::images::{self, Sample};
use transship_testkit::metrics::Metrics;

use crate::fixture::{Fixture, RULE, document, tag};
use crate::replicate::always;
use crate::sweep::sweep;

fn destination(fixture: &Fixture) -> ImageRef {
    ImageRef {
        registry: "b".into(),
        repository: fixture.to(),
        target: Target::Tag(tag("v1")),
    }
}

/// `sample` is at the source and the destination, and the ledger is empty.
async fn without_a_ledger(sample: &Sample) -> Fixture {
    let fixture = Fixture::new().await;
    sample.seed_into(&fixture.a, &fixture.from(), &tag("v1"));
    sample.seed_into(&fixture.b, &fixture.to(), &tag("v1"));
    fixture
}

#[tokio::test]
async fn after_the_loss_of_the_ledger_a_sweep_lets_tags_follow_again() {
    let [old, new] = [1, 2].map(|seed| images::image(seed, &[100]));
    let fixture = without_a_ledger(&old).await;
    sweep(&fixture).await;
    let replica = fixture.ledger.get(&destination(&fixture)).await.unwrap().unwrap();
    assert_eq!(
        (&replica.digest, replica.manifests.as_slice()),
        (&old.root, &[old.root.clone()][..])
    );
    assert_eq!(fixture.tasks().await, [], "it costs no task");
    fixture.push_and_tell(&new).await;
    fixture.drain().await;
    fixture.assert_equal(&new);
    assert_eq!(fixture.states().await, ["succeeded"]);
}

#[tokio::test]
async fn a_record_that_is_older_than_both_sides_is_brought_up_to_date() {
    let [recorded, equal, new] = [1, 2, 3].map(|seed| images::image(seed, &[100]));
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&recorded).await;
    fixture.drain().await;
    // As after a restore of the ledger to an earlier time.
    equal.seed_into(&fixture.a, &fixture.from(), &tag("v1"));
    equal.seed_into(&fixture.b, &fixture.to(), &tag("v1"));
    sweep(&fixture).await;
    fixture.clock.advance(Duration::from_mins(1));
    fixture.push_and_tell(&new).await;
    fixture.drain().await;
    fixture.assert_equal(&new);
}

#[tokio::test]
async fn a_tag_that_differs_is_not_adopted() {
    let [source, foreign, new] = [1, 2, 3].map(|seed| images::image(seed, &[100]));
    let fixture = Fixture::new().await;
    source.seed_into(&fixture.a, &fixture.from(), &tag("v1"));
    foreign.seed_into(&fixture.b, &fixture.to(), &tag("v1"));
    sweep(&fixture).await;
    assert_eq!(fixture.ledger.get(&destination(&fixture)).await.unwrap(), None);
    fixture.push_and_tell(&new).await;
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["kept"]);
}

#[tokio::test]
async fn a_sweep_adopts_nothing_that_a_worker_is_writing() {
    let [old, new] = [1, 2].map(|seed| images::image(seed, &[100]));
    let fixture = Arc::new(without_a_ledger(&old).await);
    // The push is written between the comparison and the adoption.
    let (other, sample) = (Arc::clone(&fixture), new.clone());
    let pushed = std::sync::atomic::AtomicBool::new(false);
    let pushed = Arc::new(pushed);
    fixture.ledger.before(move |call, _| {
        let is_now = call == "settle" && !pushed.swap(true, std::sync::atomic::Ordering::SeqCst);
        let (other, sample) = (Arc::clone(&other), sample.clone());
        Box::pin(async move {
            if is_now {
                let replica = transship_engine::Replica {
                    destination: destination(&other),
                    source: Some(ImageRef {
                        registry: "a".into(),
                        repository: other.from(),
                        target: Target::Tag(tag("v1")),
                    }),
                    digest: sample.root.clone(),
                    earlier: Vec::new(),
                    selected: None,
                    manifests: Vec::new(),
                    rule: "core-images".into(),
                    written: crate::replicate::now(&other),
                    accepted: crate::replicate::now(&other),
                };
                let claimed = other.ledger.claim(
                    &replica,
                    "a worker",
                    crate::replicate::now(&other),
                    Duration::from_secs(30),
                );
                claimed.await?;
            }
            Ok(())
        })
    });
    sweep(&fixture).await;
    fixture.ledger.heal();
    let replica = fixture.ledger.get(&destination(&fixture)).await.unwrap().unwrap();
    assert_eq!(replica.digest, new.root, "the intent of the worker stays");
}

#[tokio::test]
async fn an_empty_ledger_beside_a_filled_destination_is_reported_once() {
    let metrics = Metrics::default();
    let _guard = metrics.record();
    let [equal, source, foreign] = [1, 2, 3].map(|seed| images::image(seed, &[100]));
    let fixture = without_a_ledger(&equal).await;
    source.seed_into(&fixture.a, &fixture.from(), &tag("v2"));
    foreign.seed_into(&fixture.b, &fixture.to(), &tag("v2"));
    let (mut lost, mut kept) = (0, 0);
    for number in 1..=3 {
        sweep(&fixture).await;
        fixture.clock.advance(Duration::from_hours(1));
        lost += metrics.take("LedgerLost");
        kept += metrics.take("KeptUnexplained");
        assert_eq!(lost, 1, "sweep {number}");
        assert_eq!(kept, number, "what is kept is counted by every sweep");
    }
    // A ledger that is new beside an empty destination was not lost.
    let fixture = Fixture::new().await;
    sweep(&fixture).await;
    fixture.push_and_tell(&equal).await;
    fixture.drain().await;
    source.seed_into(&fixture.b, &fixture.to(), &tag("v3"));
    source.seed_into(&fixture.a, &fixture.from(), &tag("v3"));
    sweep(&fixture).await;
    assert_eq!(metrics.take("LedgerLost"), 0);
}

/// The destination refuses every write.
fn be_refused(fixture: &Fixture) {
    fixture
        .b
        .set_faults(Some(always("POST", "/blobs/uploads/", Action::status(403))));
}

async fn sweep_later(fixture: &Fixture) -> Vec<String> {
    fixture.clock.advance(Duration::from_hours(1));
    sweep(fixture).await;
    fixture.states().await
}

#[tokio::test]
async fn a_tag_that_fails_permanently_is_tried_again_when_it_or_its_rule_changes() {
    for announced in [Some("with its digest"), Some("without a digest"), None] {
        let fixture = Fixture::new().await;
        be_refused(&fixture);
        let [first, second] = [1, 2].map(|seed| images::image(seed, &[100]));
        if let Some(how) = announced {
            fixture.push_and_tell(&first).await;
            let mut task = fixture.queued().await.remove(0);
            if how == "without a digest" {
                task.expected = None;
                for message in fixture.queue.inner.receive(10, Duration::from_mins(1)).await.unwrap() {
                    fixture.queue.inner.complete(&message.receipt).await.unwrap();
                }
                fixture.queue.send(&[Outgoing::now(task)]).await.unwrap();
            }
            fixture.drain().await;
        } else {
            fixture.push(&first);
        }
        for _ in 0..3 {
            assert_eq!(sweep_later(&fixture).await, ["failed"]);
        }
        fixture.push(&second);
        for _ in 0..2 {
            assert_eq!(sweep_later(&fixture).await, ["failed"; 2], "the tag moved");
        }
        let changed = RULE.replace("namespace: core }", "namespace: core }, existing: overwrite");
        fixture
            .configuration
            .replace(document(&fixture.a, &fixture.b, &changed));
        for _ in 0..2 {
            assert_eq!(sweep_later(&fixture).await, ["failed"; 3], "the rule changed");
        }
        fixture.b.set_faults(None);
        assert_eq!(sweep_later(&fixture).await, ["failed"; 3], "an operator redrives it");
        let redrive = Redrive {
            history: Arc::clone(&fixture.ledger) as _,
            cancels: fixture.jobs.ledger.cancels.clone(),
            grants: transship_engine::ledger::DeleteGrants::new(Arc::clone(&fixture.ledger) as _),
            queue: Arc::clone(&fixture.queue) as _,
            clock: Arc::new(fixture.clock.clone()),
        };
        redrive.run(None, 1).await.unwrap();
        fixture.drain().await;
        fixture.assert_equal(&second);
    }
}

#[tokio::test]
async fn a_tag_that_arrived_after_its_failure_is_copied_again_if_it_is_removed() {
    let fixture = Fixture::new().await;
    be_refused(&fixture);
    let sample = images::image(1, &[100]);
    fixture.push(&sample);
    assert_eq!(sweep_later(&fixture).await, ["failed"]);
    fixture.b.set_faults(None);
    fixture.clock.advance(Duration::from_mins(1));
    fixture.tell(&fixture.event("v1", &sample.root)).await;
    fixture.drain().await;
    fixture.assert_equal(&sample);
    fixture.b.forget(&fixture.to(), &sample.root);
    assert_eq!(fixture.arrived(), None);
    sweep_later(&fixture).await;
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn a_task_that_ended_its_workers_is_not_made_again_by_a_sweep() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(1, &[100])).await;
    let task = fixture.queued().await.remove(0);
    let letters = transship_engine::DeadLetters {
        history: Arc::clone(&fixture.ledger) as _,
        failures: fixture.jobs.ledger.failures.clone(),
        clock: Arc::new(fixture.clock.clone()),
    };
    letters.record(&Job::Copy(task), 5).await.unwrap();
    for message in fixture.queue.inner.receive(10, Duration::from_mins(1)).await.unwrap() {
        fixture.queue.inner.complete(&message.receipt).await.unwrap();
    }
    assert_eq!(sweep_later(&fixture).await, ["failed"]);
    assert_eq!(fixture.task().await.state, TaskState::Failed);
}
