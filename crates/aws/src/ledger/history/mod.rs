//! The history in DynamoDB.
//!
//! What must hold: a terminal state is written once, by a condition of the write itself, and counted in the same transaction.

mod cursors;
mod ends;
mod executions;
mod items;
mod keys;
mod lists;
mod open;
mod origins;
mod tasks;
mod totals;
mod walk;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::ledger::{Cursor, ExecutionQuery, History, Page, TaskEntry, TaskQuery};
use transship_engine::{Begin, ExecutionRecord, Outcome, Replica, TaskRecord};
use transship_oci::Repository;
use transship_oci::Result;

use self::items::TaskItem;
pub(super) use self::origins::Origins;
use self::tasks::Tasks;
use super::{DynamoLedger, INDEX_LAG};

impl DynamoLedger {
    fn tasks_of(&self) -> Tasks<'_> {
        Tasks {
            table: &self.table,
            retention: self.retention,
            origins: &self.origins,
        }
    }
}

#[async_trait]
impl History for DynamoLedger {
    async fn record(&self, tasks: &[TaskEntry]) -> Result<()> {
        self.tasks_of().record(tasks).await
    }

    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        self.tasks_of().begin(task, now).await
    }

    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        self.tasks_of().wait(task, code, message, next).await
    }

    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, settled: &[Replica], holder: &str) -> Result<bool> {
        self.tasks_of().finish(task, outcome, settled, holder).await
    }

    async fn redriven(&self, task: &TaskEntry, successor: &str) -> Result<()> {
        self.tasks_of().redriven(task, successor).await
    }

    async fn tasks(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskRecord>> {
        lists::tasks(&self.table, query, after, limit, self.retention, TaskItem::record).await
    }

    async fn entries(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskEntry>> {
        lists::tasks(&self.table, query, after, limit, self.retention, TaskItem::entry).await
    }

    async fn executions(
        &self,
        query: &ExecutionQuery,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<ExecutionRecord>> {
        executions::list(&self.table, query, after, limit, self.retention).await
    }

    async fn execution(&self, id: &str) -> Result<Option<ExecutionRecord>> {
        executions::find(&self.table, id).await
    }

    async fn untouched(
        &self,
        origin: &str,
        before: Timestamp,
        latest: Timestamp,
        limit: usize,
    ) -> Result<Vec<TaskEntry>> {
        open::untouched(&self.table, origin, (before, latest), limit).await
    }

    async fn is_busy(&self, origin: &str, repository: &Repository) -> Result<bool> {
        open::is_busy(&self.table, origin, repository).await
    }

    fn lag(&self) -> Duration {
        INDEX_LAG
    }
}
