//! Redrive: a failed task is retried once, and a new task that fails can be redriven as well.

use std::sync::Arc;

use transship_embedded_registry::faults::Action;
use transship_engine::ledger::{By, History, TaskQuery};
use transship_engine::operations::{Redrive, Redriven, find_execution, list_entries};
use transship_engine::{Outcome, TaskState, Trigger};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::house::House;

fn redrive(house: &House) -> Redrive {
    Redrive {
        history: Arc::clone(&house.ledger) as _,
        queue: Arc::clone(&house.queue) as _,
        clock: Arc::new(house.clock.clone()),
    }
}

/// The destination refuses every write.
fn be_refused(house: &House) {
    let refuse = Fault::new("POST", "/blobs/uploads/", Action::status(403))
        .unwrap()
        .always();
    house.b.set_faults(Some(Arc::new(Script::new([refuse]))));
}

/// A push that failed.
async fn fail(house: &House) -> images::Sample {
    be_refused(house);
    let sample = images::image(1, &[100]);
    house.push_and_tell(&sample).await;
    house.drain().await;
    assert_eq!(house.states().await, ["failed"]);
    sample
}

#[tokio::test]
async fn what_failed_succeeds_once_its_cause_is_gone_and_stays_told() {
    let house = House::new().await;
    let sample = fail(&house).await;
    house.b.set_faults(None);
    let told = redrive(&house).run(None, 0).await.unwrap();
    assert_eq!((told.redriven, told.executions.len()), (1, 1));
    house.drain().await;
    house.assert_equal(&sample);
    assert_eq!(house.states().await, ["failed", "succeeded"]);
    let new = find_execution(house.ledger.as_ref(), &told.executions[0]).await;
    let new = new.unwrap().unwrap();
    assert_eq!((new.trigger, new.success_ratio), (Trigger::Manual, 1.0));
}

#[tokio::test]
async fn doing_it_twice_does_it_once() {
    let house = House::new().await;
    fail(&house).await;
    let first = redrive(&house).run(None, 0).await.unwrap();
    let before = house.queued().await;
    for _ in 0..2 {
        assert_eq!(redrive(&house).run(None, 0).await.unwrap(), Redriven::default());
    }
    assert_eq!((first.redriven, before.len()), (1, 1));
    assert_eq!(house.queued().await, before);
}

#[tokio::test]
async fn a_redrive_that_was_not_recorded_sends_the_same_tasks_again() {
    let house = House::new().await;
    let sample = fail(&house).await;
    house.b.set_faults(None);
    house.ledger.fail(|call, _| call == "record");
    let told = redrive(&house).run(None, 0).await.unwrap();
    house.ledger.heal();
    assert_eq!(redrive(&house).run(None, 0).await.unwrap(), told);
    house.drain().await;
    assert_eq!(house.states().await, ["failed", "succeeded"]);
    house.assert_equal(&sample);
}

#[tokio::test]
async fn what_fails_again_can_be_redriven_in_its_turn() {
    let house = House::new().await;
    let sample = fail(&house).await;
    for tasks in 2..5 {
        assert_eq!(
            redrive(&house).run(None, 0).await.unwrap().redriven,
            1,
            "only the last of them"
        );
        house.drain().await;
        assert_eq!(house.tasks().await.len(), tasks);
    }
    house.b.set_faults(None);
    redrive(&house).run(None, 0).await.unwrap();
    house.drain().await;
    house.assert_equal(&sample);
}

#[tokio::test]
async fn one_execution_or_some_tasks_can_be_redriven() {
    let house = House::new().await;
    fail(&house).await;
    let all = TaskQuery::new(By::Newest);
    let mut other = list_entries(house.ledger.as_ref(), &all).await.unwrap().remove(0);
    let outcome = Outcome {
        state: TaskState::Cancelled,
        digest: None,
        code: Some("CANCELLED".into()),
        message: None,
        bytes: transship_engine::Bytes::default(),
        finished: other.created,
    };
    for number in 0..3 {
        other.id = format!("t-{number}");
        other.execution.id = "e-other".into();
        house.ledger.begin(&other, other.created).await.unwrap();
        house.ledger.finish(&other, &outcome, &[], "").await.unwrap();
    }
    let redrive = redrive(&house);
    assert_eq!(redrive.run(Some("e-none"), 0).await.unwrap(), Redriven::default());
    assert_eq!(redrive.run(Some("e-other"), 2).await.unwrap().redriven, 2);
    assert_eq!(redrive.run(Some("e-other"), 0).await.unwrap().redriven, 1);
    assert_eq!(redrive.run(None, 0).await.unwrap().redriven, 1, "the one of the push");
}
