//! Checks of what is counted: states and totals of executions.

use std::collections::BTreeSet;
use std::sync::Arc;

use transship_engine::ledger::{By, ExecutionQuery, History, TaskEntry, TaskQuery};
use transship_engine::{ExecutionRecord, ExecutionState, TaskState, Trigger};

use super::Ledger;
use super::samples::{ending, entry, entry_alone, entry_of_many, repository};
use super::tasks::executions;
use crate::suites::at;

async fn only(history: &dyn History) -> ExecutionRecord {
    let mut all = executions(history).await;
    assert_eq!(all.len(), 1);
    let listed = all.remove(0);
    assert_eq!(history.execution(&listed.id).await.unwrap().as_ref(), Some(&listed));
    listed
}

async fn end(history: &dyn History, task: &TaskEntry, state: TaskState, seconds: i64) -> bool {
    history.begin(task, at(5)).await.unwrap();
    let ended = history.finish(task, &ending(state, seconds), &[], "worker").await;
    ended.unwrap()
}

fn is_close(ratio: f64, expected: f64) -> bool {
    (ratio - expected).abs() < 1e-9
}

pub(super) async fn the_state_of_an_execution_follows_its_tasks(ledger: Ledger) {
    let history = &*ledger.history;
    for trigger in [Trigger::Event, Trigger::Manual, Trigger::Import] {
        for (number, ends, expected) in [
            (
                10,
                [TaskState::Succeeded, TaskState::Unchanged],
                ExecutionState::Succeeded,
            ),
            (20, [TaskState::Kept, TaskState::Skipped], ExecutionState::Succeeded),
            (30, [TaskState::Succeeded, TaskState::Failed], ExecutionState::Partial),
            (40, [TaskState::Failed, TaskState::Cancelled], ExecutionState::Cancelled),
            (
                50,
                [TaskState::Succeeded, TaskState::Cancelled],
                ExecutionState::Cancelled,
            ),
        ] {
            let id = format!("{trigger}-{number}");
            let tasks = [number, number + 1].map(|of| {
                let mut task = entry_alone(of);
                task.execution.id.clone_from(&id);
                task.execution.trigger = trigger;
                task
            });
            history.record(&tasks).await.unwrap();
            let state = async || history.execution(&id).await.unwrap().unwrap().state;
            for (task, end_state) in tasks.iter().zip(ends) {
                assert_eq!(state().await, ExecutionState::Running);
                assert!(end(history, task, end_state, 100).await);
            }
            assert_eq!(state().await, expected);
        }
    }
    assert_eq!(history.execution("nobody").await.unwrap(), None);
}

pub(super) async fn an_execution_whose_tasks_were_all_cancelled_is_cancelled(ledger: Ledger) {
    let history = &*ledger.history;
    history.record(&[entry(1), entry(2)]).await.unwrap();
    let cancel = async |number| {
        let ended = history
            .finish(&entry(number), &ending(TaskState::Cancelled, 5), &[], "")
            .await;
        assert!(ended.unwrap());
        only(history).await.state
    };
    assert_eq!(cancel(1).await, ExecutionState::Running);
    assert_eq!(cancel(2).await, ExecutionState::Cancelled);
    let open = |is_open| ExecutionQuery {
        is_open,
        ..ExecutionQuery::default()
    };
    assert!(
        history
            .executions(&open(true), None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    history.record(&[entry(3)]).await.unwrap();
    assert_eq!(history.executions(&open(true), None, 10).await.unwrap().items.len(), 1);
}

pub(super) async fn totals_are_those_of_the_tasks(ledger: Ledger) {
    for make in [entry, entry_of_many] {
        let history = &*ledger.history;
        let mut elsewhere = make(4);
        elsewhere.destination_repository = Some(repository("copy/other"));
        let mut unknown = make(5);
        unknown.destination_repository = None;
        let id = elsewhere.execution.id.clone();
        let record = async || history.execution(&id).await.unwrap().unwrap();
        history
            .record(&[make(1), make(2), make(3), elsewhere.clone()])
            .await
            .unwrap();
        let found = record().await;
        assert_eq!((found.repositories, found.bytes, found.duration_ms), (2, 0, None));
        assert!(is_close(found.success_ratio, 0.0), "nothing ended yet");
        end(history, &make(3), TaskState::Failed, 30).await;
        end(history, &make(1), TaskState::Succeeded, 10).await;
        end(history, &make(2), TaskState::Unchanged, 20).await;
        let found = record().await;
        assert_eq!((found.repositories, found.bytes, found.duration_ms), (2, 3600, None));
        assert!(is_close(found.success_ratio, 0.5), "one task is missing");
        end(history, &elsewhere, TaskState::Kept, 8).await;
        let found = record().await;
        assert_eq!((&found.rule, found.created), (&elsewhere.execution.rule, at(1)));
        assert_eq!(
            (found.state, found.repositories, found.bytes),
            (ExecutionState::Partial, 2, 4800)
        );
        assert_eq!(
            found.duration_ms,
            Some(29_000),
            "from creation at 1 to the last end at 30"
        );
        assert!(is_close(found.success_ratio, 0.75));
        // A task that joins later.
        history.record(std::slice::from_ref(&unknown)).await.unwrap();
        assert_eq!(record().await.state, ExecutionState::Running);
        end(history, &unknown, TaskState::Succeeded, 40).await;
        let found = record().await;
        assert_eq!((found.repositories, found.duration_ms), (2, Some(39_000)));
    }
}

pub(super) async fn a_duplicate_counts_once(ledger: Ledger) {
    let history = &*ledger.history;
    history.record(&[entry(1), entry(2)]).await.unwrap();
    assert!(end(history, &entry(1), TaskState::Succeeded, 10).await);
    for _ in 0..3 {
        history.record(&[entry(1), entry(2)]).await.unwrap();
        history.begin(&entry(2), at(20)).await.unwrap();
        assert!(!end(history, &entry(1), TaskState::Failed, 50).await);
    }
    let record = only(history).await;
    assert_eq!((record.state, record.bytes), (ExecutionState::Running, 1200));
    assert!(is_close(record.success_ratio, 0.5));
}

pub(super) async fn an_execution_is_known_by_its_first_task(ledger: Ledger) {
    let history = &*ledger.history;
    // Begun before it was recorded, by several deliveries.
    for _ in 0..2 {
        history.begin(&entry(2), at(3)).await.unwrap();
    }
    history.record(&[entry(1), entry(2)]).await.unwrap();
    assert!(end(history, &entry(2), TaskState::Succeeded, 10).await);
    let record = only(history).await;
    assert!(is_close(record.success_ratio, 0.5), "two tasks, each counted once");
    assert_eq!(record.state, ExecutionState::Running);
    assert!(end(history, &entry(1), TaskState::Succeeded, 11).await);
    assert_eq!(only(history).await.state, ExecutionState::Succeeded);
}

pub(super) async fn simultaneous_ends_are_all_counted(ledger: Ledger) {
    for make in [entry, entry_of_many] {
        let tasks: Vec<TaskEntry> = (1..=24).map(make).collect();
        ledger.history.record(&tasks).await.unwrap();
        let ends: Vec<_> = (0..48)
            .map(|number| {
                let (history, task) = (Arc::clone(&ledger.history), tasks[number / 2].clone());
                tokio::spawn(async move { end(&*history, &task, TaskState::Succeeded, 10).await })
            })
            .collect();
        let mut counted = 0;
        for end in ends {
            counted += u32::from(end.await.unwrap());
        }
        assert_eq!(counted, 24);
        let found = ledger.history.execution(&tasks[0].execution.id).await.unwrap().unwrap();
        assert_eq!((found.state, found.bytes), (ExecutionState::Succeeded, 24 * 1200));
    }
}

/// Numbers that look random and are the same each time.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Any order of records, beginnings and ends, several at a time, leaves totals that are those of the listed tasks.
pub(super) async fn totals_equal_the_tasks_after_any_history(ledger: Ledger) {
    let mut random = Seeded(10);
    for round in 0..12 {
        let steps: Vec<_> = (0..8)
            .map(|_| {
                let number = u32::try_from(random.below(12)).unwrap();
                let mut task = if random.below(2) == 0 {
                    entry(number)
                } else {
                    entry_of_many(number)
                };
                task.destination_repository = Some(repository(&format!("copy/app-{}", number % 5)));
                let state = [TaskState::Succeeded, TaskState::Failed, TaskState::Skipped]
                    [usize::try_from(random.below(3)).unwrap()];
                (task, state, random.below(4), i64::try_from(random.below(1000)).unwrap())
            })
            .collect();
        let running: Vec<_> = steps
            .into_iter()
            .map(|(task, state, step, seconds)| {
                let history = Arc::clone(&ledger.history);
                tokio::spawn(async move {
                    match step {
                        0 => history.record(&[task]).await.unwrap(),
                        1 => drop(history.begin(&task, at(seconds)).await.unwrap()),
                        2 => drop(end(&*history, &task, state, seconds).await),
                        _ => history.wait(&task, "RATE_LIMITED", "later", at(seconds)).await.unwrap(),
                    }
                })
            })
            .collect();
        for step in running {
            step.await.unwrap();
        }
        for listed in executions(&*ledger.history).await {
            compare(&*ledger.history, &listed).await;
            let found = ledger.history.execution(&listed.id).await.unwrap();
            assert_eq!(found.as_ref(), Some(&listed), "round {round}");
        }
    }
    let page = ledger.history.executions(&ExecutionQuery::default(), None, 10).await;
    assert_eq!(page.unwrap().items.len(), 2);
}

async fn compare(history: &dyn History, counted: &ExecutionRecord) {
    let of_execution = TaskQuery::new(By::Execution(counted.id.clone()));
    let tasks = history.tasks(&of_execution, None, 1000).await.unwrap().items;
    let number = |test: fn(TaskState) -> bool| tasks.iter().filter(|task| test(task.state)).count() as u64;
    let (total, succeeded) = (tasks.len() as u64, number(TaskState::is_success));
    let state = ExecutionState::derive(
        total,
        number(TaskState::is_terminal),
        succeeded,
        number(|state| state == TaskState::Cancelled),
    );
    assert_eq!(counted.state, state, "{}", counted.id);
    assert!(
        is_close(counted.success_ratio, succeeded as f64 / total as f64),
        "{}",
        counted.id
    );
    let bytes: u64 = tasks.iter().map(|task| task.bytes.copied + task.bytes.mounted).sum();
    assert_eq!(counted.bytes, bytes, "{}", counted.id);
    let entries = history.entries(&of_execution, None, 1000).await.unwrap().items;
    let repositories: BTreeSet<_> = entries
        .iter()
        .map(|task| task.destination_repository.as_ref())
        .collect();
    assert_eq!(counted.repositories, repositories.len() as u64, "{}", counted.id);
    let last = tasks.iter().filter_map(|task| task.finished).max();
    if let (Some(duration_ms), Some(last)) = (counted.duration_ms, last) {
        assert_eq!(
            i128::from(duration_ms),
            last.duration_since(counted.created).as_millis(),
            "{}",
            counted.id
        );
    }
}
