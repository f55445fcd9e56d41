//! The ledger in one DynamoDB table: its four ports, and the old ones that they replace. Each file holds one port or one
//! concept of it.
//!
//! What must hold: a terminal state is written once, by a condition of the write itself, and counted in the same transaction;
//! what expires is judged by the caller's clock, never by the table's clean-up, which is days late; an event or a task stays
//! within the calls that its concept says.
//!
//! # The table
//!
//! Billed per request, with point-in-time recovery. Other attributes need no definition.
//!
//! | what | hash key | range key | projection |
//! |---|---|---|---|
//! | table | `pk` (S) | `sk` (S) | |
//! | index `months` | `month` (S) | `month_order` (S) | `KEYS_ONLY` |
//! | index `lists` | `list` (S) | `list_order` (S) | `KEYS_ONLY` |
//! | index `unfinished` | `unfinished_of` (S) | `touched` (N) | `INCLUDE`: `repository`, `follows` |
//!
//! Time to live: attribute `expires` (seconds since 1970).
//!
//! What a worker must be allowed on the table: `GetItem`, `BatchGetItem`, `Query`, `PutItem`, `UpdateItem`, `DeleteItem`,
//! `BatchWriteItem`; and `Query` on its indexes (`table/…/index/*`). The intake needs `PutItem` and `UpdateItem`. A user who
//! only lists needs `Query` and `BatchGetItem`. The intake of imports needs `Query`, `BatchGetItem`, `UpdateItem` and
//! `DeleteItem` on the table. A transaction needs what its parts need. Nothing here scans.
//!
//! # The items
//!
//! | item | `pk` | `sk` | kept |
//! |---|---|---|---|
//! | execution, with its counters if an event started it | `E#<execution>` | `E` | the retention after the last end in it |
//! | counters of another execution, one of 16 | `E#<execution>` | `S#<0 to f>` | the same |
//! | task | `E#<execution>` | `T#<task>` | the retention after its end; without expiry while it has not ended |
//! | origin: a registry or store that tasks read from | `O` | `<origin>` | without expiry |
//! | replica, with the lease of its destination | `R#<destination registry>/<repository>` | `:<tag>` or `@<digest>` | without expiry |
//! | record | `V#<family>` | `<name>` | without expiry |
//! | hint | `<family>` | `<name>` | an hour after its end |
//!
//! The families of hints: `lease`; `P#<host>`, a pause; `B#<host>#<digest>`, locations of a blob; `upload#<task>`;
//! `waiting`, `scan#<scan>`, `missing#<scan>#<wait>` and `lead#<place>#<blob>`, what incomplete sources wait for.
//!
//! | index | hash | order | which items |
//! |---|---|---|---|
//! | `months` | `<year>-<month>` | time, id | executions |
//! | `lists` | `R#<rule>` | time, id | executions of a rule |
//! | `lists` | `D#<destination registry>/<repository>` | time, id | tasks that write to a repository |
//! | `unfinished` | `<origin>` | when it was last touched | tasks that have not ended |
//! | `unfinished` | `F#`, which names no registry | when it ended | tasks that failed |
//!
//! Times are milliseconds, but `expires`. An index takes 1,000 writes a second in one of its partitions, so the busiest rule,
//! destination repository or origin is bound to 1,000 tasks a second.
//!
//! # What is counted
//!
//! `total` and the set `repositories` change in the transaction that records tasks, or, for a task that begins unrecorded, in
//! a transaction that marks the task as `recorded`; `ended_<state>`, `bytes` and `last` in the transaction that ends a task.
//! The set holds 48 bits for each destination repository and ends at 10,000. The own item of an execution with 16 counters
//! does not learn of its end: it is kept for the retention and 30 days after its last task was recorded.
//!
//! # The previous release
//!
//! Its executions have no `total`: they are not counted, and their totals are computed from at most 10,000 tasks. Its tasks
//! have their whole message in `body` and nothing beside it. Neither is in `lists`. Its locations are a list of `repositories`
//! instead of a `value`. Its leases (`C#`), pauses, continuations (`K#`) and waiting looks (`W#`, `A#`) are not read.

mod agreements;
mod attributes;
mod awaited;
mod batches;
mod claims;
mod continuations;
mod executions;
mod expression;
mod hints;
mod history;
mod lists;
mod locations;
mod records;
mod repeats;
mod replicas;
mod table;
mod tasks;
mod transaction;
mod unfinished;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::Continuation;
use transship_engine::{
    Awaited, Begin, Execution, ExecutionRecord, ImageRef, Ledger, Outcome, PendingScan, Replica, Result, TaskEntry,
    TaskFilter, TaskRecord,
};
use transship_oci::{Digest, Repository, Tag};

use crate::Aws;
use locations::Known;
use table::Table;

/// How long executions and tasks are kept.
const RETENTION: Duration = Duration::from_hours(90 * 24);
/// How far an index may be behind its table. AWS names no bound; it is a fraction of a second as a rule.
const LAG: Duration = Duration::from_secs(5);

/// A [`Ledger`], and an [`Awaited`], in a DynamoDB table. Clones share it.
#[derive(Debug, Clone)]
pub struct DynamoLedger {
    table: Table,
    retention: Duration,
    known: Arc<Known>,
    origins: history::Origins,
}

impl DynamoLedger {
    /// The ledger in `table`. Executions and tasks are kept for 90 days.
    pub fn new(aws: &Aws, table: String) -> Self {
        Self {
            table: Table::new(aws.dynamodb(), table),
            retention: RETENTION,
            known: Arc::default(),
            origins: history::Origins::default(),
        }
    }

    /// The same, keeping executions and tasks for `retention` after their creation.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// The name of the table.
    pub fn table(&self) -> &str {
        self.table.name()
    }
}

#[async_trait]
impl Ledger for DynamoLedger {
    async fn record(&self, execution: &Execution, tasks: &[TaskEntry]) -> Result<()> {
        tasks::record(&self.table, execution, tasks, self.retention).await
    }

    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        tasks::begin(&self.table, task, now, self.retention).await
    }

    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        tasks::wait(&self.table, task, code, message, next).await
    }

    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, replicas: &[Replica]) -> Result<bool> {
        tasks::finish(&self.table, task, outcome, replicas).await
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
        lists::tasks(&self.table, filter, self.retention, attributes::record).await
    }

    async fn executions(&self, limit: usize) -> Result<Vec<ExecutionRecord>> {
        lists::executions(&self.table, limit, self.retention).await
    }

    async fn originals(&self, filter: &TaskFilter) -> Result<Vec<TaskEntry>> {
        lists::tasks(&self.table, filter, self.retention, attributes::task).await
    }

    async fn unfinished(&self, registry: &str, before: Timestamp, limit: usize) -> Result<Vec<TaskEntry>> {
        unfinished::list(&self.table, registry, before, limit).await
    }

    fn lag(&self) -> Duration {
        LAG
    }

    async fn is_busy(&self, registry: &str, repository: &Repository) -> Result<bool> {
        unfinished::is_busy(&self.table, registry, repository).await
    }

    async fn replica(&self, registry: &str, repository: &Repository, tag: &Tag) -> Result<Option<Replica>> {
        replicas::find(&self.table, registry, repository, tag).await
    }

    async fn replica_intend(&self, replica: &Replica) -> Result<()> {
        replicas::intend(&self.table, replica).await
    }

    async fn is_replicated(&self, source: &ImageRef, destination: &ImageRef, manifest: &Digest) -> Result<bool> {
        replicas::is_replicated(&self.table, source, destination, manifest).await
    }

    async fn lease_take(&self, key: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<bool> {
        agreements::lease_take(&self.table, key, holder, now, ttl).await
    }

    async fn lease_release(&self, key: &str, holder: &str) -> Result<()> {
        agreements::lease_release(&self.table, key, holder).await
    }

    async fn locations_find(&self, host: &str, digests: &[Digest]) -> Result<HashMap<Digest, Vec<Repository>>> {
        locations::find(&self.table, &self.known, host, digests).await
    }

    async fn locations_add(&self, host: &str, digests: &[Digest], repository: &Repository) -> Result<()> {
        locations::add(&self.table, &self.known, host, digests, repository).await
    }

    async fn location_remove(&self, host: &str, digest: &Digest, repository: &Repository) -> Result<()> {
        locations::remove(&self.table, &self.known, host, digest, repository).await
    }

    async fn pause(&self, host: &str, until: Timestamp) -> Result<()> {
        agreements::pause(&self.table, host, until).await
    }

    async fn paused_until(&self, hosts: &[&str], now: Timestamp) -> Result<Option<(String, Timestamp)>> {
        agreements::paused_until(&self.table, hosts, now).await
    }

    async fn continuation(&self, task: &str, blob: &Digest, now: Timestamp) -> Result<Option<Continuation>> {
        continuations::find(&self.table, task, blob, now).await
    }

    async fn continuation_put(&self, task: &str, continuation: &Continuation, expires: Timestamp) -> Result<()> {
        continuations::put(&self.table, task, continuation, expires).await
    }

    async fn continuation_remove(&self, task: &str, blob: &Digest) -> Result<()> {
        continuations::remove(&self.table, task, blob).await
    }
}

#[async_trait]
impl Awaited for DynamoLedger {
    async fn wait_for(&self, waiting: &PendingScan, place: &str, blobs: &[Digest], expires: Timestamp) -> Result<()> {
        awaited::wait_for(&self.table, waiting, place, blobs, expires).await
    }

    async fn arrived(&self, place: &str, blob: &Digest, now: Timestamp) -> Result<Vec<String>> {
        awaited::arrived(&self.table, place, blob, now).await
    }

    async fn settle(&self, task: &str, _: &str) -> Result<()> {
        awaited::settle(&self.table, task).await
    }

    async fn waiting(&self, limit: usize, now: Timestamp) -> Result<Vec<PendingScan>> {
        awaited::waiting(&self.table, limit, now).await
    }
}
