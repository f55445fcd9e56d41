//! Checks of what the history says of tasks: recorded, begun, waiting, ended once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use transship_engine::ledger::{By, Claim, ExecutionQuery, History, TaskEntry, TaskQuery};
use transship_engine::{Begin, Counts, ExecutionRecord, TaskRecord, TaskState};

use super::Ledger;
use super::samples::{ending, entry, entry_of_many, replica, repository};
use crate::suites::at;

const HOLDER: &str = "worker-1";

/// The only page of all tasks.
pub(super) async fn all(history: &dyn History) -> Vec<TaskRecord> {
    let page = history.tasks(&TaskQuery::new(By::Newest), None, 1000).await.unwrap();
    assert_eq!(page.next, None);
    page.items
}

/// The only page of all executions.
pub(super) async fn executions(history: &dyn History) -> Vec<ExecutionRecord> {
    let page = history
        .executions(&ExecutionQuery::default(), None, 1000)
        .await
        .unwrap();
    assert_eq!(page.next, None);
    page.items
}

async fn listed(history: &dyn History, id: &str) -> TaskRecord {
    let mut matching = all(history).await.into_iter().filter(|record| record.id == id);
    let record = matching.next().unwrap();
    assert!(matching.next().is_none(), "{id} is listed twice");
    record
}

async fn finish(history: &dyn History, task: &TaskEntry, state: TaskState, seconds: i64) -> bool {
    let ended = history.finish(task, &ending(state, seconds), &[], HOLDER).await;
    ended.unwrap()
}

async fn wait(history: &dyn History, task: &TaskEntry, seconds: i64) {
    let waits = history.wait(task, "RATE_LIMITED", "the registry says wait", at(seconds));
    waits.await.unwrap();
}

pub(super) async fn recording_makes_tasks_queued(ledger: Ledger) {
    let history = &*ledger.history;
    history.record(&[]).await.unwrap();
    assert!(all(history).await.is_empty());
    let expected = entry(1);
    history.record(std::slice::from_ref(&expected)).await.unwrap();
    assert_eq!(
        listed(history, "task-1").await,
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
            began: None,
            next: None,
            finished: None,
            bytes: Counts::default(),
            redrive_of: None,
            redriven_by: None,
        }
    );
}

pub(super) async fn recording_again_changes_nothing(ledger: Ledger) {
    let history = &*ledger.history;
    history.record(&[entry(1)]).await.unwrap();
    let before = (listed(history, "task-1").await, executions(history).await);
    let mut other = entry(1);
    other.created = at(500);
    other.execution.created = at(500);
    "other".clone_into(&mut other.execution.rule);
    "other".clone_into(&mut other.source);
    history.record(&[other.clone()]).await.unwrap();
    assert_eq!((listed(history, "task-1").await, executions(history).await), before);
    history.record(&[other, entry(2)]).await.unwrap();
    assert_eq!(listed(history, "task-1").await, before.0);
    assert_eq!(executions(history).await[0].created, before.1[0].created);
    assert_eq!(all(history).await.len(), 2);
}

pub(super) async fn many_tasks_are_recorded_at_once(ledger: Ledger) {
    let history = &*ledger.history;
    let tasks: Vec<TaskEntry> = (1..=250).map(entry_of_many).chain([entry(1000)]).collect();
    history.record(&tasks).await.unwrap();
    history.record(&tasks[100..]).await.unwrap();
    assert_eq!(all(history).await.len(), 251);
    for task in &tasks[..3] {
        assert!(finish(history, task, TaskState::Succeeded, 9).await);
    }
    let record = history.execution("many").await.unwrap().unwrap();
    assert!((record.success_ratio - 3.0 / 250.0).abs() < 1e-9);
}

pub(super) async fn a_task_nobody_recorded_can_begin(ledger: Ledger) {
    let history = &*ledger.history;
    assert_eq!(history.begin(&entry(1), at(2)).await.unwrap(), Begin::Attempt(1));
    let record = listed(history, "task-1").await;
    assert_eq!((record.state, record.attempts), (TaskState::Running, 1));
    assert_eq!(record.began, Some(at(2)));
    assert_eq!(record.source, "hangzhou/core/app:v1");
    let executions = executions(history).await;
    assert_eq!(executions.len(), 1);
    let expected = entry(1).execution;
    assert_eq!(
        (
            &executions[0].id,
            &executions[0].rule,
            executions[0].trigger,
            executions[0].created
        ),
        (&expected.id, &expected.rule, expected.trigger, expected.created)
    );
}

pub(super) async fn each_beginning_counts(ledger: Ledger) {
    let history = &*ledger.history;
    history.record(&[entry(1)]).await.unwrap();
    for attempt in 1..=3 {
        let begun = history.begin(&entry(1), at(1 + i64::from(attempt))).await;
        assert_eq!(begun.unwrap(), Begin::Attempt(attempt));
    }
    assert_eq!(listed(history, "task-1").await.attempts, 3);
}

pub(super) async fn simultaneous_beginnings_count_once_each(ledger: Ledger) {
    let beginnings: Vec<_> = (0..8)
        .map(|_| {
            let history = Arc::clone(&ledger.history);
            tokio::spawn(async move { history.begin(&entry(1), at(2)).await.unwrap() })
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

pub(super) async fn a_late_record_leaves_a_running_task_alone(ledger: Ledger) {
    let history = &*ledger.history;
    history.begin(&entry(1), at(2)).await.unwrap();
    history.record(&[entry(1)]).await.unwrap();
    let record = listed(history, "task-1").await;
    assert_eq!((record.state, record.attempts), (TaskState::Running, 1));
}

pub(super) async fn waiting_says_why_and_until_when(ledger: Ledger) {
    let history = &*ledger.history;
    history.begin(&entry(1), at(2)).await.unwrap();
    wait(history, &entry(1), 60).await;
    let record = listed(history, "task-1").await;
    assert_eq!((record.state, record.next), (TaskState::Waiting, Some(at(60))));
    assert_eq!(record.began, None);
    assert_eq!(record.code.as_deref(), Some("RATE_LIMITED"));
    assert_eq!(record.message.as_deref(), Some("the registry says wait"));
    assert_eq!(history.begin(&entry(1), at(61)).await.unwrap(), Begin::Attempt(2));
    let record = listed(history, "task-1").await;
    assert_eq!((record.state, record.next), (TaskState::Running, None));
    assert_eq!(record.began, Some(at(61)));
    assert_eq!(
        record.code.as_deref(),
        Some("RATE_LIMITED"),
        "the code of the last attempt stays"
    );
}

pub(super) async fn an_end_is_recorded_whole(ledger: Ledger) {
    let history = &*ledger.history;
    history.begin(&entry(1), at(2)).await.unwrap();
    wait(history, &entry(1), 60).await;
    let end = ending(TaskState::Kept, 70);
    assert!(history.finish(&entry(1), &end, &[], HOLDER).await.unwrap());
    let record = listed(history, "task-1").await;
    assert_eq!(
        (record.state, record.digest, record.bytes),
        (end.state, end.digest, end.bytes)
    );
    assert_eq!((record.code, record.message), (end.code, end.message));
    assert_eq!((record.finished, record.next), (Some(end.finished), None));
    assert_eq!((record.attempts, record.created), (1, at(1)));
}

pub(super) async fn an_end_is_written_once(ledger: Ledger) {
    let history = &*ledger.history;
    history.begin(&entry(1), at(2)).await.unwrap();
    assert!(finish(history, &entry(1), TaskState::Succeeded, 3).await);
    let before = listed(history, "task-1").await;
    assert!(!finish(history, &entry(1), TaskState::Failed, 4).await);
    assert!(!finish(history, &entry(1), TaskState::Succeeded, 5).await);
    assert_eq!(listed(history, "task-1").await, before);
}

pub(super) async fn simultaneous_ends_write_one(ledger: Ledger) {
    ledger.history.begin(&entry(1), at(2)).await.unwrap();
    let ends: Vec<_> = (0..8)
        .map(|number| {
            let history = Arc::clone(&ledger.history);
            tokio::spawn(async move {
                let is_first = finish(&*history, &entry(1), TaskState::Succeeded, 10 + number).await;
                is_first.then_some(number)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for end in ends {
        winners.extend(end.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    let record = listed(&*ledger.history, "task-1").await;
    assert_eq!(record.finished, Some(at(10 + winners[0])));
}

pub(super) async fn an_end_stays_whatever_comes_later(ledger: Ledger) {
    let history = &*ledger.history;
    for (number, state) in (1..).zip([
        TaskState::Succeeded,
        TaskState::Unchanged,
        TaskState::Kept,
        TaskState::Skipped,
        TaskState::Failed,
        TaskState::Cancelled,
    ]) {
        let task = entry(number);
        history.begin(&task, at(2)).await.unwrap();
        assert!(finish(history, &task, state, 3).await);
        let before = listed(history, &task.id).await;
        wait(history, &task, 60).await;
        assert_eq!(history.begin(&task, at(61)).await.unwrap(), Begin::Finished(state));
        history.record(std::slice::from_ref(&task)).await.unwrap();
        assert_eq!(listed(history, &task.id).await, before);
    }
}

pub(super) async fn an_unknown_task_neither_waits_nor_ends(ledger: Ledger) {
    let history = &*ledger.history;
    wait(history, &entry(1), 60).await;
    assert!(!finish(history, &entry(1), TaskState::Succeeded, 3).await);
    assert!(all(history).await.is_empty());
    assert!(executions(history).await.is_empty());
}

pub(super) async fn tasks_are_kept_as_they_were_recorded(ledger: Ledger) {
    let history = &*ledger.history;
    let mut scan = entry(3);
    "s3://layouts".clone_into(&mut scan.origin);
    scan.source_repository = None;
    scan.destination_repository = None;
    scan.digest = None;
    scan.is_attachment = true;
    history.record(&[entry(1), scan.clone()]).await.unwrap();
    let mut again = entry(1);
    "{}".clone_into(&mut again.job);
    again.digest = None;
    history.begin(&again, at(2)).await.unwrap();
    history.begin(&entry(2), at(2)).await.unwrap();
    assert!(finish(history, &entry(2), TaskState::Failed, 3).await);
    let entries = async |query: TaskQuery| {
        let page = history.entries(&query, None, 10).await.unwrap();
        assert_eq!(page.next, None);
        let mut entries = page.items;
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        entries
    };
    assert_eq!(entries(TaskQuery::new(By::Newest)).await, [entry(1), entry(2), scan]);
    assert_eq!(entries(TaskQuery::new(By::Failed)).await, [entry(2)]);
    let failed = TaskQuery::new(By::Execution("execution-1".to_owned())).in_state(TaskState::Failed);
    assert_eq!(entries(failed).await, [entry(2)]);
}

pub(super) async fn untouched_tasks_are_found(ledger: Ledger) {
    let history = &*ledger.history;
    let mut elsewhere = entry(4);
    "beijing".clone_into(&mut elsewhere.origin);
    history.record(&[entry(1), entry(2), elsewhere]).await.unwrap();
    let left = async |before: i64, limit| {
        let found = history
            .untouched("hangzhou", at(before), Timestamp::MAX, limit)
            .await
            .unwrap();
        found.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert!(left(1, 10).await.is_empty(), "nothing is older than its creation");
    assert_eq!(
        left(100, 10).await,
        ["task-1", "task-2"],
        "a queued task counts from its creation"
    );
    let found = history
        .untouched("hangzhou", at(100), Timestamp::MAX, 10)
        .await
        .unwrap();
    assert_eq!(found, [entry(1), entry(2)]);
    history.begin(&entry(1), at(50)).await.unwrap();
    assert_eq!(left(50, 10).await, ["task-2"], "a task that was begun counts from then");
    assert_eq!(left(51, 10).await, ["task-2", "task-1"], "the longest untouched first");
    assert_eq!(left(51, 1).await, ["task-2"]);
    history.begin(&entry(2), at(60)).await.unwrap();
    wait(history, &entry(2), 500).await;
    assert_eq!(
        left(500, 10).await,
        ["task-1"],
        "a task that waits counts from when it is due"
    );
    assert!(finish(history, &entry(1), TaskState::Failed, 70).await);
    assert_eq!(left(501, 10).await, ["task-2"], "a task that ended is not left");

    // Touched while the clock was ahead.
    history.begin(&entry(3), at(9000)).await.unwrap();
    let found = |before: i64, latest: i64, limit| history.untouched("hangzhou", at(before), at(latest), limit);
    assert_eq!(found(500, 9000, 10).await.unwrap(), []);
    assert_eq!(found(500, 8999, 10).await.unwrap(), [entry(3)]);
    assert_eq!(
        found(501, 8999, 10).await.unwrap(),
        [entry(2), entry(3)],
        "these come last"
    );
    assert_eq!(found(501, 8999, 1).await.unwrap(), [entry(2)]);
}

pub(super) async fn a_repository_is_busy_while_a_task_reads_it(ledger: Ledger) {
    let history = &*ledger.history;
    let app = repository("core/app");
    let busy = async |registry: &str| history.is_busy(registry, &app).await.unwrap();
    let mut elsewhere = entry(2);
    elsewhere.source_repository = Some(repository("core/app/sub"));
    history.record(&[elsewhere]).await.unwrap();
    assert!(!busy("hangzhou").await);
    history.record(&[entry(1)]).await.unwrap();
    assert!(busy("hangzhou").await, "a queued task counts");
    assert!(!busy("zhangjiakou").await, "another registry does not");
    history.begin(&entry(1), at(2)).await.unwrap();
    assert!(busy("hangzhou").await, "a running task counts");
    wait(history, &entry(1), 9).await;
    assert!(busy("hangzhou").await, "a waiting task counts");
    assert!(finish(history, &entry(1), TaskState::Failed, 3).await);
    assert!(!busy("hangzhou").await, "a task that ended does not");
}

pub(super) async fn an_attachment_keeps_no_repository_busy(ledger: Ledger) {
    let history = &*ledger.history;
    let app = repository("core/app");
    let attachment = |number| TaskEntry {
        is_attachment: true,
        ..entry(number)
    };
    history.record(&[attachment(1)]).await.unwrap();
    history.begin(&attachment(2), at(2)).await.unwrap();
    assert!(!history.is_busy("hangzhou", &app).await.unwrap());
    history.begin(&entry(3), at(2)).await.unwrap();
    assert!(history.is_busy("hangzhou", &app).await.unwrap());
}

pub(super) async fn an_end_settles_its_replicas_and_releases_the_lease(ledger: Ledger) {
    let Ledger { history, replicas } = ledger;
    history.record(&[entry(1)]).await.unwrap();
    history.begin(&entry(1), at(2)).await.unwrap();
    let (image, attachment) = (replica(1, &["index", "amd64"]), replica(2, &["signature"]));
    let ttl = Duration::from_secs(30);
    replicas.claim(&image, HOLDER, at(3), ttl).await.unwrap();
    let end = ending(TaskState::Succeeded, 4);
    let settled = [image.clone(), attachment.clone()];
    assert!(history.finish(&entry(1), &end, &settled, HOLDER).await.unwrap());
    assert_eq!(replicas.get(&image.destination).await.unwrap(), Some(image.clone()));
    assert_eq!(replicas.get(&attachment.destination).await.unwrap(), Some(attachment));
    let claim = replicas.claim(&replica(1, &["next"]), "worker-2", at(5), ttl).await;
    let earlier = vec![image.digest];
    let accepted = at(0);
    assert_eq!(
        claim.unwrap(),
        Claim::Granted { earlier, accepted },
        "the lease is free"
    );
}

pub(super) async fn replicas_are_settled_though_the_task_had_ended(ledger: Ledger) {
    let Ledger { history, replicas } = ledger;
    history.begin(&entry(1), at(2)).await.unwrap();
    let end = ending(TaskState::Succeeded, 3);
    let first = replica(1, &["first"]);
    assert!(history.finish(&entry(1), &end, &[first], HOLDER).await.unwrap());
    let (newer, other) = (replica(1, &["newer"]), replica(2, &["other"]));
    let settled = [newer.clone(), other.clone()];
    assert!(!history.finish(&entry(1), &end, &settled, HOLDER).await.unwrap());
    for replica in settled {
        assert_eq!(replicas.get(&replica.destination).await.unwrap(), Some(replica));
    }
    // One destination twice: the last counts. More than a transaction takes are written too.
    let many: Vec<_> = (1..=120).map(|number| replica(number, &["many"])).collect();
    let twice: Vec<_> = many.iter().cloned().chain([replica(1, &["last"])]).collect();
    history.record(&[entry(5)]).await.unwrap();
    assert!(history.finish(&entry(5), &end, &twice, HOLDER).await.unwrap());
    assert_eq!(
        replicas.get(&many[119].destination).await.unwrap(),
        Some(many[119].clone())
    );
    let last = replica(1, &["last"]);
    assert_eq!(replicas.get(&last.destination).await.unwrap(), Some(last));
}

pub(super) async fn a_task_and_the_one_that_repeats_it_name_each_other(ledger: Ledger) {
    let history = &*ledger.history;
    let [old, open, unknown] = [1, 2, 3].map(entry);
    history.record(&[old.clone(), open.clone()]).await.unwrap();
    assert!(finish(history, &old, TaskState::Failed, 5).await);
    let new = TaskEntry {
        redrive_of: Some(old.id.clone()),
        ..entry(4)
    };
    history.record(std::slice::from_ref(&new)).await.unwrap();
    for task in [&old, &open, &unknown] {
        history.redriven(task, &new.id).await.unwrap();
    }
    history.redriven(&old, "a later one").await.unwrap();
    let link = |record: TaskRecord| (record.redrive_of, record.redriven_by);
    assert_eq!(link(listed(history, &old.id).await), (None, Some(new.id.clone())));
    assert_eq!(link(listed(history, &new.id).await), (Some(old.id.clone()), None));
    assert_eq!(link(listed(history, &open.id).await), (None, None), "it has not ended");
    assert_eq!(
        all(history).await.len(),
        3,
        "one that was never recorded is not made up"
    );
    let entries = history
        .entries(&TaskQuery::new(By::Newest), None, 10)
        .await
        .unwrap()
        .items;
    let found = entries.into_iter().find(|found| found.id == new.id).unwrap();
    assert_eq!(found.redrive_of, new.redrive_of);
}
