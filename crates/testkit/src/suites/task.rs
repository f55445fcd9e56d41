//! Checks of tasks in the ledger: recorded, started, waiting, ended once.

use std::sync::Arc;

use transship_engine::{Begin, Bytes, Ledger, Outcome, TaskFilter, TaskRecord, TaskState};
use transship_oci::Digest;

use super::samples::{at, execution, task};

/// An end at `seconds` in `state`.
pub(super) fn outcome(state: TaskState, seconds: i64) -> Outcome {
    Outcome {
        state,
        digest: Some(Digest::sha256(b"outcome")),
        code: Some("DEST_KEPT".to_owned()),
        message: Some("the destination holds another image; it's \"kept\"".to_owned()),
        bytes: Bytes {
            copied: 1000,
            mounted: 200,
            skipped: 30,
        },
        finished: at(seconds),
    }
}

async fn listed(ledger: &dyn Ledger, id: &str) -> TaskRecord {
    let all = ledger.tasks(&TaskFilter::default()).await.unwrap();
    let mut matching = all.into_iter().filter(|record| record.id == id);
    let record = matching.next().unwrap();
    assert!(matching.next().is_none(), "{id} is listed twice");
    record
}

async fn ids(ledger: &dyn Ledger, filter: TaskFilter) -> Vec<String> {
    let listed = ledger.tasks(&filter).await.unwrap();
    listed.into_iter().map(|record| record.id).collect()
}

pub(super) async fn recording_makes_tasks_queued(ledger: Arc<dyn Ledger>) {
    let expected = task(1);
    ledger
        .record(&execution(1), std::slice::from_ref(&expected))
        .await
        .unwrap();
    let record = listed(&*ledger, "task-1").await;
    assert_eq!(
        record,
        TaskRecord {
            id: "task-1".to_owned(),
            execution: "execution-1".to_owned(),
            rule: "core-images".to_owned(),
            action: expected.action,
            source: "hangzhou/core/app:v1".to_owned(),
            destination: "zhangjiakou/copy/app:v1".to_owned(),
            digest: expected.digest,
            state: TaskState::Queued,
            code: None,
            message: None,
            attempts: 0,
            created: at(1),
            next: None,
            finished: None,
            bytes: Bytes::default(),
        }
    );
}

pub(super) async fn recording_again_changes_nothing(ledger: Arc<dyn Ledger>) {
    ledger.record(&execution(1), &[task(1)]).await.unwrap();
    let before = (
        listed(&*ledger, "task-1").await,
        ledger.executions(0).await.unwrap().remove(0),
    );
    let mut other = task(1);
    other.created = at(500);
    "other".clone_into(&mut other.execution.rule);
    let mut late = execution(1);
    late.created = at(500);
    ledger.record(&late, &[other, task(2)]).await.unwrap();
    assert_eq!(listed(&*ledger, "task-1").await, before.0);
    let executions = ledger.executions(0).await.unwrap();
    assert_eq!(executions.len(), 1);
    assert_eq!(executions[0].created, before.1.created);
    assert_eq!(ledger.tasks(&TaskFilter::default()).await.unwrap().len(), 2);
}

pub(super) async fn a_task_nobody_recorded_can_begin(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.begin(&task(1), at(2)).await.unwrap(), Begin::Attempt(1));
    let record = listed(&*ledger, "task-1").await;
    assert_eq!((record.state, record.attempts), (TaskState::Running, 1));
    assert_eq!(record.source, "hangzhou/core/app:v1");
    let executions = ledger.executions(0).await.unwrap();
    assert_eq!(executions.len(), 1);
    assert_eq!(
        (
            &*executions[0].id,
            &*executions[0].rule,
            executions[0].trigger,
            executions[0].created
        ),
        ("execution-1", "core-images", task(1).execution.trigger, at(1))
    );
}

pub(super) async fn each_beginning_counts(ledger: Arc<dyn Ledger>) {
    ledger.record(&execution(1), &[task(1)]).await.unwrap();
    for attempt in 1..=3 {
        assert_eq!(
            ledger.begin(&task(1), at(1 + i64::from(attempt))).await.unwrap(),
            Begin::Attempt(attempt)
        );
    }
    assert_eq!(listed(&*ledger, "task-1").await.attempts, 3);
}

pub(super) async fn simultaneous_beginnings_count_once_each(ledger: Arc<dyn Ledger>) {
    let beginnings: Vec<_> = (0..8)
        .map(|_| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.begin(&task(1), at(2)).await.unwrap() })
        })
        .collect();
    let mut attempts = Vec::new();
    for beginning in beginnings {
        if let Begin::Attempt(attempt) = beginning.await.unwrap() {
            attempts.push(attempt);
        }
    }
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6, 7, 8]);
}

pub(super) async fn a_late_record_leaves_a_running_task_alone(ledger: Arc<dyn Ledger>) {
    ledger.begin(&task(1), at(2)).await.unwrap();
    ledger.record(&execution(1), &[task(1)]).await.unwrap();
    let record = listed(&*ledger, "task-1").await;
    assert_eq!((record.state, record.attempts), (TaskState::Running, 1));
}

pub(super) async fn waiting_says_why_and_until_when(ledger: Arc<dyn Ledger>) {
    ledger.begin(&task(1), at(2)).await.unwrap();
    ledger
        .wait(&task(1), "RATE_LIMITED", "the registry says wait", at(60))
        .await
        .unwrap();
    let record = listed(&*ledger, "task-1").await;
    assert_eq!((record.state, record.next), (TaskState::Waiting, Some(at(60))));
    assert_eq!(record.code.as_deref(), Some("RATE_LIMITED"));
    assert_eq!(record.message.as_deref(), Some("the registry says wait"));
    assert_eq!(ledger.begin(&task(1), at(61)).await.unwrap(), Begin::Attempt(2));
    let record = listed(&*ledger, "task-1").await;
    assert_eq!((record.state, record.next), (TaskState::Running, None));
    assert_eq!(
        record.code.as_deref(),
        Some("RATE_LIMITED"),
        "the code of the last attempt stays"
    );
}

pub(super) async fn an_end_is_recorded_whole(ledger: Arc<dyn Ledger>) {
    ledger.begin(&task(1), at(2)).await.unwrap();
    ledger
        .wait(&task(1), "RATE_LIMITED", "the registry says wait", at(60))
        .await
        .unwrap();
    let end = outcome(TaskState::Kept, 70);
    assert!(ledger.finish(&task(1), &end, &[]).await.unwrap());
    let record = listed(&*ledger, "task-1").await;
    assert_eq!(
        (
            record.state,
            record.digest,
            record.code,
            record.message,
            record.bytes,
            record.finished,
            record.next
        ),
        (
            end.state,
            end.digest,
            end.code,
            end.message,
            end.bytes,
            Some(end.finished),
            None
        )
    );
    assert_eq!((record.attempts, record.created), (1, at(1)));
}

pub(super) async fn an_end_is_written_once(ledger: Arc<dyn Ledger>) {
    ledger.begin(&task(1), at(2)).await.unwrap();
    assert!(
        ledger
            .finish(&task(1), &outcome(TaskState::Succeeded, 3), &[])
            .await
            .unwrap()
    );
    let before = listed(&*ledger, "task-1").await;
    assert!(
        !ledger
            .finish(&task(1), &outcome(TaskState::Failed, 4), &[])
            .await
            .unwrap()
    );
    assert!(
        !ledger
            .finish(&task(1), &outcome(TaskState::Succeeded, 5), &[])
            .await
            .unwrap()
    );
    assert_eq!(listed(&*ledger, "task-1").await, before);
}

pub(super) async fn simultaneous_ends_write_one(ledger: Arc<dyn Ledger>) {
    ledger.begin(&task(1), at(2)).await.unwrap();
    let ends: Vec<_> = (0..8)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                ledger
                    .finish(&task(1), &outcome(TaskState::Succeeded, 10 + number), &[])
                    .await
                    .unwrap()
                    .then_some(number)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for end in ends {
        winners.extend(end.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(listed(&*ledger, "task-1").await.finished, Some(at(10 + winners[0])));
}

pub(super) async fn an_end_stays_whatever_comes_later(ledger: Arc<dyn Ledger>) {
    for (number, state) in (1..).zip([
        TaskState::Succeeded,
        TaskState::Unchanged,
        TaskState::Kept,
        TaskState::Skipped,
        TaskState::Failed,
        TaskState::Cancelled,
    ]) {
        let id = task(number).id;
        ledger.begin(&task(number), at(2)).await.unwrap();
        assert!(ledger.finish(&task(number), &outcome(state, 3), &[]).await.unwrap());
        let before = listed(&*ledger, &id).await;
        ledger
            .wait(&task(number), "RATE_LIMITED", "the registry says wait", at(60))
            .await
            .unwrap();
        assert_eq!(
            ledger.begin(&task(number), at(61)).await.unwrap(),
            Begin::Finished(state)
        );
        ledger.record(&execution(1), &[task(number)]).await.unwrap();
        assert_eq!(listed(&*ledger, &id).await, before);
    }
}

pub(super) async fn an_unknown_task_neither_waits_nor_ends(ledger: Arc<dyn Ledger>) {
    ledger
        .wait(&task(1), "RATE_LIMITED", "the registry says wait", at(60))
        .await
        .unwrap();
    assert!(
        !ledger
            .finish(&task(1), &outcome(TaskState::Succeeded, 3), &[])
            .await
            .unwrap()
    );
    assert!(ledger.tasks(&TaskFilter::default()).await.unwrap().is_empty());
}

pub(super) async fn tasks_are_listed_newest_first_and_filtered(ledger: Arc<dyn Ledger>) {
    let mut other = task(4);
    "execution-2".clone_into(&mut other.execution.id);
    ledger.record(&execution(1), &[task(2), task(1)]).await.unwrap();
    ledger.record(&execution(2), &[other]).await.unwrap();
    ledger.record(&execution(1), &[task(3)]).await.unwrap();
    ledger.begin(&task(2), at(5)).await.unwrap();
    let all = TaskFilter::default;
    assert_eq!(ids(&*ledger, all()).await, ["task-4", "task-3", "task-2", "task-1"]);
    assert_eq!(
        ids(&*ledger, TaskFilter { limit: 2, ..all() }).await,
        ["task-4", "task-3"]
    );
    let of_one = || TaskFilter {
        execution: Some("execution-1".to_owned()),
        ..all()
    };
    assert_eq!(ids(&*ledger, of_one()).await, ["task-3", "task-2", "task-1"]);
    assert_eq!(
        ids(
            &*ledger,
            TaskFilter {
                state: Some(TaskState::Running),
                ..all()
            }
        )
        .await,
        ["task-2"]
    );
    let queued_of_one = TaskFilter {
        state: Some(TaskState::Queued),
        limit: 1,
        ..of_one()
    };
    assert_eq!(ids(&*ledger, queued_of_one).await, ["task-3"]);
    let of_nobody = TaskFilter {
        execution: Some("nobody".to_owned()),
        ..all()
    };
    assert!(ids(&*ledger, of_nobody).await.is_empty());
}

pub(super) async fn a_repository_is_busy_while_a_task_reads_it(ledger: Arc<dyn Ledger>) {
    let repository = "core/app".parse().unwrap();
    let busy = async |registry: &str| ledger.is_busy(registry, &repository).await.unwrap();
    let mut elsewhere = task(2);
    elsewhere.source_repository = Some("core/app/sub".parse().unwrap());
    ledger.record(&execution(1), &[elsewhere]).await.unwrap();
    assert!(!busy("hangzhou").await);
    ledger.record(&execution(1), &[task(1)]).await.unwrap();
    assert!(busy("hangzhou").await, "a queued task counts");
    assert!(!busy("zhangjiakou").await, "another registry does not");
    ledger.begin(&task(1), at(2)).await.unwrap();
    assert!(busy("hangzhou").await, "a running task counts");
    ledger
        .wait(&task(1), "RATE_LIMITED", "the registry says wait", at(9))
        .await
        .unwrap();
    assert!(busy("hangzhou").await, "a waiting task counts");
    ledger
        .finish(&task(1), &outcome(TaskState::Failed, 3), &[])
        .await
        .unwrap();
    assert!(!busy("hangzhou").await, "a task that ended does not");
}

pub(super) async fn a_task_that_follows_keeps_no_repository_busy(ledger: Arc<dyn Ledger>) {
    let repository = "core/app".parse().unwrap();
    let follower = |number| {
        let mut follower = task(number);
        follower.is_attachment = true;
        follower
    };
    ledger.record(&execution(1), &[follower(1)]).await.unwrap();
    ledger.begin(&follower(2), at(2)).await.unwrap();
    assert!(!ledger.is_busy("hangzhou", &repository).await.unwrap());
    ledger.begin(&task(3), at(2)).await.unwrap();
    assert!(ledger.is_busy("hangzhou", &repository).await.unwrap());
}

pub(super) async fn tasks_are_kept_as_they_were_sent(ledger: Arc<dyn Ledger>) {
    ledger.record(&execution(1), &[task(1)]).await.unwrap();
    let mut again = task(1);
    "another job".clone_into(&mut again.job);
    ledger.begin(&again, at(2)).await.unwrap();
    ledger.begin(&task(2), at(2)).await.unwrap();
    ledger
        .finish(&task(2), &outcome(TaskState::Failed, 3), &[])
        .await
        .unwrap();
    let originals = async |filter| ledger.originals(&filter).await.unwrap();
    assert_eq!(originals(TaskFilter::default()).await, [task(2), task(1)]);
    let failed = TaskFilter {
        execution: Some("execution-1".to_owned()),
        state: Some(TaskState::Failed),
        limit: 5,
    };
    assert_eq!(originals(failed).await, [task(2)]);
}

pub(super) async fn tasks_left_by_their_worker_are_found(ledger: Arc<dyn Ledger>) {
    let mut elsewhere = task(4);
    "beijing".clone_into(&mut elsewhere.origin);
    ledger
        .record(&execution(1), &[task(1), task(2), elsewhere])
        .await
        .unwrap();
    let left = async |before: i64, limit| {
        let found = ledger.unfinished("hangzhou", at(before), limit).await.unwrap();
        found.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert!(left(1, 10).await.is_empty(), "nothing is older than its creation");
    assert_eq!(
        left(100, 10).await,
        ["task-1", "task-2"],
        "a queued task counts from its creation"
    );
    ledger.begin(&task(1), at(50)).await.unwrap();
    assert_eq!(left(50, 10).await, ["task-2"], "a task that was begun counts from then");
    assert_eq!(left(51, 10).await, ["task-2", "task-1"], "the longest untouched first");
    assert_eq!(left(51, 1).await, ["task-2"]);
    ledger.begin(&task(2), at(60)).await.unwrap();
    ledger
        .wait(&task(2), "RATE_LIMITED", "the registry says wait", at(500))
        .await
        .unwrap();
    assert_eq!(
        left(500, 10).await,
        ["task-1"],
        "a task that waits counts from when it is due"
    );
    ledger
        .finish(&task(1), &outcome(TaskState::Failed, 70), &[])
        .await
        .unwrap();
    assert_eq!(left(501, 10).await, ["task-2"], "a task that ended is not left");
}
