//! *Send, then record.* A message is the whole job, and the ledger is memory.
//!
//! What must hold: when [`send_then_record`] returns without an error, every task is in the queue. A ledger that does not
//! answer loses nothing: the worker records what it receives. A queue that shares its database with the ledger does both at
//! once.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::timeout;
use transship_copy::Clock;

use crate::ledger::{History, TaskEntry};
use crate::{CopyTask, Execution, Outgoing, Result, TaskQueue};
use transship_oci::Code;

/// Executions that are recorded at the same time.
const PARALLEL_RECORDS: usize = 8;

/// Sends `tasks`, then records them, except those that are recorded late. Recording may take at most `record_timeout`.
pub(crate) async fn send_then_record(
    queue: &dyn TaskQueue,
    history: &dyn History,
    tasks: &[CopyTask],
    record_timeout: Option<Duration>,
) -> Result<()> {
    let messages: Vec<Outgoing> = tasks.iter().cloned().map(Outgoing::now).collect();
    let entries = tasks
        .iter()
        .filter(|task| !task.is_recorded_late())
        .map(CopyTask::entry)
        .collect();
    send_then_record_entries(queue, history, &messages, entries, record_timeout).await
}

/// The same for messages of any kind and their entries.
pub(crate) async fn send_then_record_entries(
    queue: &dyn TaskQueue,
    history: &dyn History,
    messages: &[Outgoing],
    entries: Vec<TaskEntry>,
    record_timeout: Option<Duration>,
) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    if queue.send_and_record(messages, &entries).await? {
        return Ok(());
    }
    let tasks = entries.len();
    let records: Vec<_> = by_execution(entries)
        .into_iter()
        .map(|(execution, entries)| record(history, execution, entries))
        .collect();
    let recorded = stream::iter(records).buffer_unordered(PARALLEL_RECORDS).collect::<()>();
    let Some(limit) = record_timeout else {
        recorded.await;
        return Ok(());
    };
    if timeout(limit, recorded).await.is_err() {
        tracing::warn!(
            code = Code::LedgerUnavailable.as_str(),
            tasks,
            "tasks are in the queue, but recording them in the ledger takes too long"
        );
    }
    Ok(())
}

async fn record(history: &dyn History, execution: Execution, entries: Vec<TaskEntry>) {
    if let Err(error) = history.record(&entries).await {
        let (execution, tasks) = (&execution.id, entries.len());
        tracing::warn!(code = error.code(), %error, execution, tasks, "tasks are in the queue, but could not be recorded in the ledger");
    }
}

/// Entries by their execution, in order.
fn by_execution(entries: Vec<TaskEntry>) -> Vec<(Execution, Vec<TaskEntry>)> {
    let mut groups: Vec<(Execution, Vec<TaskEntry>)> = Vec::new();
    for entry in entries {
        match groups
            .iter_mut()
            .find(|(execution, _)| execution.id == entry.execution.id)
        {
            Some((_, group)) => group.push(entry),
            None => groups.push((entry.execution.clone(), vec![entry])),
        }
    }
    groups
}

/// The clock's time as the ledger keeps it.
pub(crate) fn now(clock: &dyn Clock) -> Timestamp {
    Timestamp::try_from(clock.now()).unwrap_or(Timestamp::UNIX_EPOCH)
}
