//! Redrive: a failed task is retried once, and a new task that fails can be redriven as well.

use std::sync::Arc;
use std::time::Duration;

use transship_embedded_registry::faults::Action;
use transship_engine::ledger::{By, Filter, History, TaskQuery};
use transship_engine::operations::{Redrive, Redriven, find_execution, list_entries, list_unresolved};
use transship_engine::{Outcome, TaskState, Trigger};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::fixture::Fixture;

fn redrive(fixture: &Fixture) -> Redrive {
    Redrive {
        history: Arc::clone(&fixture.ledger) as _,
        cancels: fixture.jobs.ledger.cancels.clone(),
        grants: transship_engine::ledger::DeleteGrants::new(Arc::clone(&fixture.ledger) as _),
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    }
}

/// The destination refuses every write.
fn be_refused(fixture: &Fixture) {
    let refuse = Fault::new("POST", "/blobs/uploads/", Action::status(403))
        .unwrap()
        .always();
    fixture.b.set_faults(Some(Arc::new(Script::new([refuse]))));
}

/// A push that failed.
async fn fail(fixture: &Fixture) -> images::Sample {
    be_refused(fixture);
    let sample = images::image(1, &[100]);
    fixture.push_and_tell(&sample).await;
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["failed"]);
    sample
}

#[tokio::test]
async fn what_failed_succeeds_once_its_cause_is_gone_and_stays_told() {
    let fixture = Fixture::new().await;
    let sample = fail(&fixture).await;
    fixture.b.set_faults(None);
    let told = redrive(&fixture).run(None, 0).await.unwrap();
    assert_eq!((told.redriven, told.executions.len()), (1, 1));
    fixture.drain().await;
    fixture.assert_equal(&sample);
    assert_eq!(fixture.states().await, ["failed", "succeeded"]);
    let new = find_execution(fixture.ledger.as_ref(), &told.executions[0]).await;
    let new = new.unwrap().unwrap();
    assert_eq!((new.trigger, new.success_ratio), (Trigger::Manual, 1.0));
    let tasks = fixture.tasks().await;
    let [old, new] = tasks.as_slice() else {
        panic!("{tasks:?}")
    };
    assert_eq!(old.redriven_by.as_ref(), Some(&new.id));
    assert_eq!(new.redrive_of.as_ref(), Some(&old.id));
}

/// The ids of what failed and is still missing.
async fn unresolved(fixture: &Fixture) -> Vec<String> {
    let listed = list_unresolved(fixture.ledger.as_ref(), &Filter::default(), 0).await;
    listed.unwrap().into_iter().map(|task| task.id).collect()
}

#[tokio::test]
async fn what_failed_is_listed_until_it_is_there() {
    let fixture = Fixture::new().await;
    fail(&fixture).await;
    let first = fixture.tasks().await.remove(0).id;
    assert_eq!(unresolved(&fixture).await, [first.as_str()]);
    // The new task fails as well: it alone is what is missing.
    redrive(&fixture).run(None, 0).await.unwrap();
    assert!(unresolved(&fixture).await.is_empty(), "it is being tried again");
    fixture.drain().await;
    let [second] = unresolved(&fixture).await.try_into().unwrap();
    assert_ne!(second, first);
    // A later push brings the tag up to date, without a redrive.
    fixture.b.set_faults(None);
    fixture.clock.advance(Duration::from_mins(1));
    fixture.push_and_tell(&images::image(2, &[100])).await;
    fixture.drain().await;
    assert!(unresolved(&fixture).await.is_empty());
    be_refused(&fixture);
    fixture.clock.advance(Duration::from_mins(1));
    fixture.push_and_tell(&images::image(3, &[100])).await;
    fixture.drain().await;
    let [third] = unresolved(&fixture).await.try_into().unwrap();
    let limited = list_unresolved(fixture.ledger.as_ref(), &Filter::default(), 1)
        .await
        .unwrap();
    assert_eq!(limited[0].id, third);
}

#[tokio::test]
async fn a_redrive_that_was_cut_short_is_linked_by_the_next_one() {
    let fixture = Fixture::new().await;
    fail(&fixture).await;
    fixture.ledger.fail(|call, _| call == "redriven");
    assert!(redrive(&fixture).run(None, 0).await.is_err());
    fixture.ledger.heal();
    assert_eq!(redrive(&fixture).run(None, 0).await.unwrap(), Redriven::default());
    let tasks = fixture.tasks().await;
    assert_eq!(tasks[0].redriven_by.as_ref(), Some(&tasks[1].id));
}

#[tokio::test]
async fn doing_it_twice_does_it_once() {
    let fixture = Fixture::new().await;
    fail(&fixture).await;
    let first = redrive(&fixture).run(None, 0).await.unwrap();
    let before = fixture.queued().await;
    for _ in 0..2 {
        assert_eq!(redrive(&fixture).run(None, 0).await.unwrap(), Redriven::default());
    }
    assert_eq!((first.redriven, before.len()), (1, 1));
    assert_eq!(fixture.queued().await, before);
}

#[tokio::test]
async fn a_redrive_that_was_not_recorded_sends_the_same_tasks_again() {
    let fixture = Fixture::new().await;
    let sample = fail(&fixture).await;
    fixture.b.set_faults(None);
    fixture.ledger.fail(|call, _| call == "record");
    let told = redrive(&fixture).run(None, 0).await.unwrap();
    fixture.ledger.heal();
    assert_eq!(redrive(&fixture).run(None, 0).await.unwrap(), told);
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["failed", "succeeded"]);
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn what_fails_again_can_be_redriven_in_its_turn() {
    let fixture = Fixture::new().await;
    let sample = fail(&fixture).await;
    for tasks in 2..5 {
        assert_eq!(
            redrive(&fixture).run(None, 0).await.unwrap().redriven,
            1,
            "only the last of them"
        );
        fixture.drain().await;
        assert_eq!(fixture.tasks().await.len(), tasks);
    }
    fixture.b.set_faults(None);
    redrive(&fixture).run(None, 0).await.unwrap();
    fixture.drain().await;
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn one_execution_or_some_tasks_can_be_redriven() {
    let fixture = Fixture::new().await;
    fail(&fixture).await;
    let all = TaskQuery::new(By::Newest);
    let mut other = list_entries(fixture.ledger.as_ref(), &all).await.unwrap().remove(0);
    let outcome = Outcome {
        state: TaskState::Cancelled,
        digest: None,
        code: Some("CANCELLED".into()),
        message: None,
        bytes: transship_engine::Counts::default(),
        finished: other.created,
    };
    for number in 0..3 {
        other.id = format!("t-{number}");
        other.execution.id = "e-other".into();
        fixture.ledger.begin(&other, other.created).await.unwrap();
        fixture.ledger.finish(&other, &outcome, &[], "").await.unwrap();
    }
    let redrive = redrive(&fixture);
    assert_eq!(redrive.run(Some("e-none"), 0).await.unwrap(), Redriven::default());
    assert_eq!(redrive.run(Some("e-other"), 2).await.unwrap().redriven, 2);
    assert_eq!(redrive.run(Some("e-other"), 0).await.unwrap().redriven, 1);
    assert_eq!(redrive.run(None, 0).await.unwrap().redriven, 1, "the one of the push");
}
