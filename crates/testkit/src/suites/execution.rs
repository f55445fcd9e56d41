//! Checks of derived values in the ledger: states and totals of executions.

use std::sync::Arc;

use transship_engine::{ExecutionRecord, ExecutionState, Ledger, TaskState};

use super::samples::{at, execution, task};
use super::task::outcome;

async fn only(ledger: &dyn Ledger) -> ExecutionRecord {
    let mut all = ledger.executions(0).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

async fn end(ledger: &dyn Ledger, number: u32, state: TaskState) {
    ledger.begin(&task(number), at(5)).await.unwrap();
    assert!(
        ledger
            .finish(&task(number), &outcome(state, 10 * i64::from(number)), &[])
            .await
            .unwrap()
    );
}

fn is_close(ratio: f64, expected: f64) -> bool {
    (ratio - expected).abs() < 1e-9
}

pub(super) async fn the_state_of_an_execution_follows_its_tasks(ledger: Arc<dyn Ledger>) {
    for (number, ends, expected) in [
        (
            10,
            [TaskState::Succeeded, TaskState::Unchanged],
            ExecutionState::Succeeded,
        ),
        (20, [TaskState::Kept, TaskState::Skipped], ExecutionState::Succeeded),
        (30, [TaskState::Succeeded, TaskState::Failed], ExecutionState::Partial),
        (40, [TaskState::Failed, TaskState::Cancelled], ExecutionState::Failed),
    ] {
        let tasks = [number, number + 1].map(|of| {
            let mut task = task(of);
            task.execution = execution(number);
            task
        });
        ledger.record(&execution(number), &tasks).await.unwrap();
        let newest = async || ledger.executions(1).await.unwrap().remove(0);
        assert_eq!(newest().await.state, ExecutionState::Running);
        for (task, state) in tasks.iter().zip(ends) {
            assert_eq!(newest().await.state, ExecutionState::Running);
            ledger.begin(task, at(5)).await.unwrap();
            ledger.finish(task, &outcome(state, 100), &[]).await.unwrap();
        }
        let record = newest().await;
        assert_eq!((record.id, record.state), (execution(number).id, expected));
    }
}

pub(super) async fn totals_are_those_of_the_tasks(ledger: Arc<dyn Ledger>) {
    let mut elsewhere = task(4);
    elsewhere.destination_repository = Some("copy/other".parse().unwrap());
    ledger
        .record(&execution(1), &[task(1), task(2), task(3), elsewhere])
        .await
        .unwrap();
    let record = only(&*ledger).await;
    assert_eq!(
        (record.repositories, record.bytes, record.duration_ms),
        (2, 0, None),
        "nothing ended yet"
    );
    assert!(is_close(record.success_ratio, 0.0));
    end(&*ledger, 3, TaskState::Failed).await;
    end(&*ledger, 1, TaskState::Succeeded).await;
    end(&*ledger, 2, TaskState::Unchanged).await;
    let record = only(&*ledger).await;
    assert_eq!(
        (record.repositories, record.bytes, record.duration_ms),
        (2, 3600, None),
        "one task is missing"
    );
    assert!(is_close(record.success_ratio, 0.5));
    assert!(
        ledger
            .finish(&task(4), &outcome(TaskState::Kept, 8), &[])
            .await
            .unwrap()
    );
    let record = only(&*ledger).await;
    assert_eq!(
        (record.id.as_str(), record.rule.as_str(), record.created),
        ("execution-1", "core-images", at(1))
    );
    assert_eq!(
        (record.state, record.repositories, record.bytes),
        (ExecutionState::Partial, 2, 4800)
    );
    assert_eq!(
        record.duration_ms,
        Some(29_000),
        "from creation at 1 to the last end at 30"
    );
    assert!(is_close(record.success_ratio, 0.75));
}

pub(super) async fn a_duplicate_end_counts_once(ledger: Arc<dyn Ledger>) {
    ledger.record(&execution(1), &[task(1), task(2)]).await.unwrap();
    end(&*ledger, 1, TaskState::Succeeded).await;
    for _ in 0..3 {
        ledger.record(&execution(1), &[task(1), task(2)]).await.unwrap();
        assert!(
            !ledger
                .finish(&task(1), &outcome(TaskState::Failed, 50), &[])
                .await
                .unwrap()
        );
    }
    let record = only(&*ledger).await;
    assert_eq!((record.state, record.bytes), (ExecutionState::Running, 1200));
    assert!(is_close(record.success_ratio, 0.5));
}

pub(super) async fn executions_are_listed_newest_first(ledger: Arc<dyn Ledger>) {
    for number in [2, 1, 3] {
        let mut only_task = task(number);
        only_task.execution = execution(number);
        ledger.record(&execution(number), &[only_task]).await.unwrap();
    }
    let ids = async |limit| {
        let listed = ledger.executions(limit).await.unwrap();
        listed.into_iter().map(|record| record.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(0).await, ["execution-3", "execution-2", "execution-1"]);
    assert_eq!(ids(2).await, ["execution-3", "execution-2"]);
}
