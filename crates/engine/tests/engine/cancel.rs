//! Cancel: what has not begun ends at once, what is being worked on stops without a tag, and a redrive continues.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use transship_copy::Clock as _;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_engine::operations::{Cancel, Cancelled, Redrive, find_execution};
use transship_engine::{ExecutionState, TaskState};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::fixture::Fixture;

fn cancel(fixture: &Fixture) -> Cancel {
    Cancel {
        history: Arc::clone(&fixture.ledger) as _,
        cancels: fixture.jobs.ledger.cancels.clone(),
        clock: Arc::new(fixture.clock.clone()),
        is_idle: false,
    }
}

fn redrive(fixture: &Fixture) -> Redrive {
    Redrive {
        history: Arc::clone(&fixture.ledger) as _,
        cancels: fixture.jobs.ledger.cancels.clone(),
        grants: transship_engine::ledger::DeleteGrants::new(Arc::clone(&fixture.ledger) as _),
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    }
}

async fn execution_of(fixture: &Fixture) -> String {
    fixture.executions().await.remove(0).id
}

async fn state_of(fixture: &Fixture, execution: &str) -> ExecutionState {
    let found = find_execution(fixture.ledger.as_ref(), execution).await;
    found.unwrap().unwrap().state
}

#[tokio::test]
async fn what_has_not_begun_ends_at_once_and_its_message_is_dropped() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(1, &[100])).await;
    let id = execution_of(&fixture).await;
    let cancelled = cancel(&fixture).run(&id).await.unwrap().unwrap();
    let expected = Cancelled {
        execution: id.clone(),
        state: ExecutionState::Cancelled,
        cancelled: 1,
        running: 0,
    };
    assert_eq!(cancelled, expected);
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Cancelled, Some("EXECUTION_CANCELLED"))
    );
    fixture.drain().await;
    assert_eq!(fixture.arrived(), None);
    assert_eq!(fixture.states().await, ["cancelled"]);
    // A second cancel changes nothing, and reports what it finds.
    let again = cancel(&fixture).run(&id).await.unwrap().unwrap();
    assert_eq!(
        again,
        Cancelled {
            cancelled: 0,
            ..expected
        }
    );
    assert_eq!(cancel(&fixture).run("e-nothing").await.unwrap(), None);
}

#[tokio::test]
async fn what_ended_is_not_changed() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    fixture.push_and_tell(&sample).await;
    fixture.drain().await;
    let id = execution_of(&fixture).await;
    let found = cancel(&fixture).run(&id).await.unwrap().unwrap();
    assert_eq!((found.state, found.cancelled), (ExecutionState::Succeeded, 0));
    assert_eq!(fixture.states().await, ["succeeded"]);
    fixture.assert_equal(&sample);
    let is_marked = fixture.jobs.ledger.cancels.is_marked(&id, Timestamp::UNIX_EPOCH).await;
    assert!(!is_marked.unwrap());
}

/// The mark was written after the message was received, and before its task began.
#[tokio::test]
async fn a_task_that_was_recorded_too_late_is_ended_by_its_worker() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(1, &[100])).await;
    let id = execution_of(&fixture).await;
    let now = Timestamp::try_from(fixture.clock.now()).unwrap();
    assert!(fixture.jobs.ledger.cancels.mark(&id, now).await.unwrap());
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["cancelled"]);
    assert_eq!(fixture.arrived(), None);
    assert_eq!(state_of(&fixture, &id).await, ExecutionState::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_at_work_stops_without_a_tag_and_is_continued_by_a_redrive() {
    let fixture = Fixture::new().await;
    // The blob is never accepted, so that only the cancel ends the copy.
    let stall = Fault::new("PUT", "/blobs/uploads/", Action::Delay { delay_ms: 3_600_000 }).unwrap();
    fixture.b.set_faults(Some(Arc::new(Script::new([stall.always()]))));
    let sample = images::image(1, &[100]);
    fixture.push_and_tell(&sample).await;
    let id = execution_of(&fixture).await;
    let begun = Notify::new();
    let working = async {
        begun.notify_one();
        fixture.attempt().await;
    };
    let cancelling = async {
        begun.notified().await;
        while fixture.task().await.state != TaskState::Running {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel(&fixture).run(&id).await.unwrap().unwrap()
    };
    let ((), found) = tokio::join!(working, cancelling);
    assert_eq!((found.cancelled, found.running), (0, 1));
    assert_eq!(fixture.states().await, ["cancelled"]);
    assert_eq!(state_of(&fixture, &id).await, ExecutionState::Cancelled);
    assert_eq!(fixture.arrived(), None);
    fixture.b.set_faults(None);
    let redriven = redrive(&fixture).run(Some(&id), 0).await.unwrap();
    assert_eq!(redriven.redriven, 1);
    fixture.drain().await;
    fixture.assert_equal(&sample);
    assert_eq!(fixture.states().await, ["cancelled", "succeeded"]);
    let continued = &redriven.executions[0];
    assert_eq!(state_of(&fixture, continued).await, ExecutionState::Succeeded);
}

/// The execution of a redrive may be cancelled as well; what is redriven again is not.
/// Tells when the tag is written, and holds the write for longer than a worker needs to see that its execution was cancelled.
struct HeldTag(Arc<Notify>);

impl Faults for HeldTag {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        let is_tag = request.method == "PUT" && request.path.ends_with("/manifests/v1");
        is_tag.then(|| {
            self.0.notify_one();
            Action::Delay { delay_ms: 3_000 }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_is_being_written_is_written_and_recorded() {
    let fixture = Fixture::new().await;
    let writing = Arc::new(Notify::new());
    fixture.b.set_faults(Some(Arc::new(HeldTag(Arc::clone(&writing)))));
    let sample = images::image(1, &[100]);
    fixture.push_and_tell(&sample).await;
    let id = execution_of(&fixture).await;
    let cancelling = async {
        writing.notified().await;
        cancel(&fixture).run(&id).await.unwrap().unwrap()
    };
    let (_, found) = tokio::join!(fixture.attempt(), cancelling);
    assert_eq!((found.cancelled, found.running), (0, 1));
    fixture.assert_equal(&sample);
    assert_eq!(fixture.states().await, ["succeeded"]);
}

#[tokio::test]
async fn a_redrive_after_a_cancelled_redrive_is_not_cancelled() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    fixture.push_and_tell(&sample).await;
    let first = execution_of(&fixture).await;
    cancel(&fixture).run(&first).await.unwrap();
    let second = redrive(&fixture)
        .run(Some(&first), 0)
        .await
        .unwrap()
        .executions
        .remove(0);
    cancel(&fixture).run(&second).await.unwrap();
    fixture.drain().await;
    assert_eq!(fixture.arrived(), None);
    let third = redrive(&fixture).run(Some(&second), 0).await.unwrap();
    assert_eq!(third.redriven, 1);
    assert_ne!(third.executions[0], second);
    fixture.drain().await;
    fixture.assert_equal(&sample);
    assert_eq!(fixture.states().await, ["cancelled", "cancelled", "succeeded"]);
}

#[tokio::test]
async fn two_cancels_and_a_redrive_at_once_count_each_task_once() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    fixture.push(&sample);
    for _ in 0..20 {
        fixture.tell(&fixture.event("v1", &sample.root)).await;
    }
    for execution in fixture.executions().await {
        let (cancelling, redriving) = (cancel(&fixture), redrive(&fixture));
        let (one, two, redriven) = tokio::join!(
            cancelling.run(&execution.id),
            cancelling.run(&execution.id),
            redriving.run(Some(&execution.id), 0)
        );
        let ended = one.unwrap().unwrap().cancelled + two.unwrap().unwrap().cancelled;
        assert_eq!(ended, 1);
        let redriven = redriven.unwrap().redriven + redriving.run(Some(&execution.id), 0).await.unwrap().redriven;
        assert_eq!(redriven, 1);
        assert_eq!(state_of(&fixture, &execution.id).await, ExecutionState::Cancelled);
    }
    fixture.drain().await;
    fixture.assert_equal(&sample);
}
