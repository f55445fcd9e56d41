//! The history in SQLite.
//!
//! What must hold: the counters of an execution change in the transaction that changes a task.

mod executions;
mod lists;
mod retention;
mod tasks;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::ledger::{Cursor, ExecutionQuery, History, Page, TaskEntry, TaskQuery};
use transship_engine::{Begin, ExecutionRecord, Outcome, Replica, TaskRecord};
use transship_oci::{Code, Error, Repository, Result, Verb};

use super::{SqliteLedger, replicas};
pub(crate) use tasks::add as record;

impl SqliteLedger {
    /// Deletes tasks that ended before `before`, executions whose last task ended before then, and hints that expired at
    /// `now`; at most `limit` of each. Returns how many rows are gone; less than `limit` means that nothing is left to delete.
    pub async fn delete_ended(&self, before: Timestamp, now: Timestamp, limit: usize) -> Result<usize> {
        self.write("delete_ended", move |transaction| {
            retention::delete_ended(transaction, before, now, limit)
        })
        .await
    }
}

#[async_trait]
impl History for SqliteLedger {
    async fn record(&self, tasks: &[TaskEntry]) -> Result<()> {
        let tasks = tasks.to_vec();
        self.write("record", move |transaction| {
            tasks.iter().try_for_each(|task| tasks::add(transaction, task))
        })
        .await
    }

    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        let task = task.clone();
        self.write("begin", move |transaction| {
            tasks::add(transaction, &task)?;
            tasks::begin(transaction, &task, now)
        })
        .await
    }

    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        let (task, code, message) = (task.clone(), code.to_owned(), message.to_owned());
        self.write("wait", move |transaction| {
            tasks::wait(transaction, &task, &code, &message, next)
        })
        .await
    }

    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, settled: &[Replica], holder: &str) -> Result<bool> {
        let (task, outcome, settled) = (task.clone(), outcome.clone(), settled.to_vec());
        let holder = holder.to_owned();
        self.write("finish", move |transaction| {
            for replica in &settled {
                replicas::settle(transaction, replica, &holder, outcome.finished)?;
            }
            tasks::finish(transaction, &task, &outcome)
        })
        .await
    }

    async fn redriven(&self, task: &TaskEntry, successor: &str) -> Result<()> {
        let (task, successor) = (task.clone(), successor.to_owned());
        self.write("redriven", move |transaction| {
            tasks::redriven(transaction, &task, &successor)
        })
        .await
    }

    async fn tasks(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskRecord>> {
        let (query, after) = (query.clone(), after.map(position).transpose()?);
        self.read("tasks", move |connection| {
            lists::tasks(connection, &query, after, limit, tasks::record)
        })
        .await
    }

    async fn entries(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskEntry>> {
        let (query, after) = (query.clone(), after.map(position).transpose()?);
        self.read("entries", move |connection| {
            lists::tasks(connection, &query, after, limit, tasks::entry)
        })
        .await
    }

    async fn executions(
        &self,
        query: &ExecutionQuery,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<ExecutionRecord>> {
        let (query, after) = (query.clone(), after.map(position).transpose()?);
        self.read("executions", move |connection| {
            lists::executions(connection, &query, after, limit)
        })
        .await
    }

    async fn execution(&self, id: &str) -> Result<Option<ExecutionRecord>> {
        let id = id.to_owned();
        self.read("execution", move |connection| executions::find(connection, &id))
            .await
    }

    async fn untouched(
        &self,
        origin: &str,
        before: Timestamp,
        latest: Timestamp,
        limit: usize,
    ) -> Result<Vec<TaskEntry>> {
        let origin = origin.to_owned();
        self.read("untouched", move |connection| {
            tasks::untouched(connection, &origin, (before, latest), limit)
        })
        .await
    }

    async fn is_busy(&self, origin: &str, repository: &Repository) -> Result<bool> {
        let (origin, repository) = (origin.to_owned(), repository.clone());
        self.read("is_busy", move |connection| {
            tasks::is_busy(connection, &origin, &repository)
        })
        .await
    }
}

/// The position of a row in its list: milliseconds, then the row's number.
type Position = (i64, i64);

fn cursor((time, number): Position) -> Cursor {
    Cursor(format!("{time} {number}"))
}

fn position(cursor: &Cursor) -> Result<Position> {
    let read = cursor.0.split_once(' ');
    read.and_then(|(time, number)| Some((time.parse().ok()?, number.parse().ok()?)))
        .ok_or_else(|| Error::of(Code::CursorInvalid, Verb::Ledger.on("list")))
}

#[cfg(test)]
mod tests;
