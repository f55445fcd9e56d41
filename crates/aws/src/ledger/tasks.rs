//! Tasks: recorded, started, waiting, and ended once.
//!
//! Calls: record: one (and one more if a part already exists); begin: one (two if the task was not recorded); wait: one; finish:
//! one (two if the task had ended or was never recorded, and has replicas).

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use jiff::Timestamp;
use transship_engine::{Begin, Execution, Outcome, Replica, Result, TaskEntry, TaskState};

use transship_oci::Repository;

use super::attributes::{count_of, expires, item, key, number, state_of, text, time, unreadable};
use super::executions;
use super::expression::Change;
use super::replicas;
use super::table::{Item, Table, Written};
use super::transaction::Transaction;

/// The most writes of a transaction. Source: `TransactWriteItems`.
const TRANSACTION_MAX: usize = 100;
/// The most bytes of tasks in one; it takes 4 MB in all. Source: `TransactWriteItems`.
const TRANSACTION_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Maximum length of a message in bytes. Longer ones are cut, because an item may have at most 400 KB.
const MESSAGE_CHARS_MAX: usize = 2000;

const IS_OPEN: &str = "#state IN (:queued, :running, :waiting)";

/// The key of a task.
pub(super) fn task_key(task: &TaskEntry) -> Item {
    key(executions::partition(&task.execution.id), format!("T#{}", task.id))
}

/// Records an execution and its tasks, each unless it is known.
pub(super) async fn record(
    table: &Table,
    execution: &Execution,
    tasks: &[TaskEntry],
    retention: Duration,
) -> Result<()> {
    let operation = "ledger record";
    let queued = tasks.iter().map(|task| queued(task, retention)).collect::<Vec<_>>();
    let items = std::iter::once(executions::item_of(execution, retention)).chain(queued);
    for chunk in chunks(items) {
        let mut writes = chunk
            .into_iter()
            .map(|item| table.new_of_transaction(operation, item))
            .collect::<Result<Vec<_>>>()?;
        // What is known already keeps the rest from being written: the rest is written without it.
        while !writes.is_empty() {
            match table.transact(operation, writes.clone()).await? {
                Transaction::Done => break,
                Transaction::Refused(known) => {
                    let mut known = known.into_iter();
                    writes.retain(|_| !known.next().unwrap_or(false));
                }
            }
        }
    }
    Ok(())
}

/// Empty for a task that reads from a store.
fn repository(task: &TaskEntry) -> &str {
    task.source_repository
        .as_ref()
        .map(Repository::as_str)
        .unwrap_or_default()
}

fn queued(task: &TaskEntry, retention: Duration) -> Item {
    item(
        task_key(task),
        [
            ("body", body(task)),
            ("state", text(TaskState::Queued.as_str())),
            ("touched", time(task.created)),
            ("unfinished_of", text(&task.origin)),
            ("repository", text(repository(task))),
            ("follows", AttributeValue::Bool(task.is_attachment)),
            ("expires", expires(task.created, retention)),
            // Its execution is recorded too, so that no worker needs to.
            ("recorded", AttributeValue::Bool(true)),
        ],
    )
}

/// In order, within what a transaction takes.
fn chunks(items: impl Iterator<Item = Item>) -> Vec<Vec<Item>> {
    let size = |item: &Item| {
        item.values()
            .filter_map(|value| value.as_s().ok())
            .map(String::len)
            .sum::<usize>()
    };
    let mut chunks: Vec<Vec<Item>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += size(&item);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < TRANSACTION_MAX && bytes <= TRANSACTION_BYTES_MAX => chunk.push(item),
            _ => {
                bytes = size(&item);
                chunks.push(vec![item]);
            }
        }
    }
    chunks
}

/// Counts an attempt, unless the task ended.
pub(super) async fn begin(table: &Table, task: &TaskEntry, now: Timestamp, retention: Duration) -> Result<Begin> {
    let operation = "ledger begin";
    let change = Change::default()
        .set("state", text(TaskState::Running.as_str()))
        .set("touched", time(now))
        .keep("body", body(task))
        .keep("unfinished_of", text(&task.origin))
        .keep("repository", text(repository(task)))
        .keep("follows", AttributeValue::Bool(task.is_attachment))
        .keep("expires", expires(task.created, retention))
        .remove("next")
        .add("attempts", number(1));
    let change = open_values(change)
        .value("running", text(TaskState::Running.as_str()))
        .only_if(&format!("attribute_not_exists(#pk) OR {IS_OPEN}"));
    match table.update(operation, task_key(task), change).await? {
        Written::Done(item) => {
            if !item.contains_key("recorded") {
                executions::add(table, &task.execution, retention).await?;
            }
            let attempt = count_of(&item, "attempts").map_err(|answer| table.unreadable(answer, operation))?;
            Ok(Begin::Attempt(attempt))
        }
        Written::Refused(item) => state_of(&item)
            .and_then(|state| {
                if state.is_terminal() {
                    Ok(Begin::Finished(state))
                } else {
                    Err(unreadable("state"))
                }
            })
            .map_err(|answer| table.unreadable(answer, operation)),
    }
}

/// Sets a task that has not ended to waiting.
pub(super) async fn wait(table: &Table, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
    let change = Change::default()
        .set("state", text(TaskState::Waiting.as_str()))
        .set("code", text(code))
        .set("message", sentence(message))
        .set("next", time(next))
        .set("touched", time(next))
        .only_if(IS_OPEN);
    table.update("ledger wait", task_key(task), open_values(change)).await?;
    Ok(())
}

/// Ends a task that has not ended, and remembers what it leaves; false if the task had ended, or was never recorded.
pub(super) async fn finish(table: &Table, task: &TaskEntry, outcome: &Outcome, left: &[Replica]) -> Result<bool> {
    let operation = "ledger finish";
    let end = end(outcome);
    let mut items: Vec<Item> = replicas::latest(left).map(replicas::item_of).collect();
    if items.is_empty() {
        let written = table.update(operation, task_key(task), end).await?;
        return Ok(matches!(written, Written::Done(_)));
    }
    // More than a transaction takes are written before it: to be remembered they need no task.
    let together = items.split_off(items.len().saturating_sub(TRANSACTION_MAX - 1));
    table.batch_put(operation, items).await?;
    let mut writes: Vec<TransactWriteItem> = vec![table.change_of_transaction(operation, task_key(task), &end)?];
    for item in together.clone() {
        writes.push(table.put_of_transaction(operation, item, None)?);
    }
    match table.transact(operation, writes).await? {
        Transaction::Done => Ok(true),
        Transaction::Refused(_) => {
            table.batch_put(operation, together).await?;
            Ok(false)
        }
    }
}

fn end(outcome: &Outcome) -> Change {
    let change = Change::default()
        .set("state", text(outcome.state.as_str()))
        .set("finished", time(outcome.finished))
        .set("copied", number(outcome.bytes.copied))
        .set("mounted", number(outcome.bytes.mounted))
        .set("skipped", number(outcome.bytes.skipped))
        .set_or_remove("digest", outcome.digest.as_ref().map(|digest| text(digest.to_string())))
        .set_or_remove("code", outcome.code.as_ref().map(text))
        .set_or_remove("message", outcome.message.as_deref().map(sentence))
        .remove("next")
        .remove("unfinished_of")
        .only_if(IS_OPEN);
    open_values(change)
}

/// The values of [`IS_OPEN`].
fn open_values(change: Change) -> Change {
    [TaskState::Queued, TaskState::Running, TaskState::Waiting]
        .into_iter()
        .fold(change, |change, state| {
            change.value(state.as_str(), text(state.as_str()))
        })
}

fn sentence(message: &str) -> AttributeValue {
    text(message.chars().take(MESSAGE_CHARS_MAX).collect::<String>())
}

/// A task is names and numbers, which always have a JSON; one without could be listed no more, and would still be worked on.
fn body(task: &TaskEntry) -> AttributeValue {
    text(serde_json::to_string(task).unwrap_or_default())
}
