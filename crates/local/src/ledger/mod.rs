//! The ledger in SQLite. Each file holds the statements of one concept; here they become the port.
//!
//! What must hold: a terminal state is written once, totals are computed when asked for and stored nowhere.

mod agreements;
mod claims;
mod continuations;
mod executions;
mod hints;
mod history;
mod locations;
mod records;
mod replicas;
mod tasks;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, Transaction};
use transship_copy::Continuation;
use transship_engine::ledger::Leases;
use transship_engine::{
    Begin, Execution, ExecutionRecord, ImageRef, Ledger, Outcome, Replica, TaskEntry, TaskFilter, TaskRecord,
};
use transship_oci::{Code, Digest, Error, Operation, Repository, Result, Tag, Target};

use crate::Database;
use crate::column::target_text;
use crate::database::{Durability, Fault};

/// A [`Ledger`] in a [`Database`]. Clones share it.
#[derive(Clone)]
pub struct SqliteLedger {
    database: Database,
}

impl SqliteLedger {
    /// The ledger of `database`.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Releases all commit leases and returns their number. The caller must hold the [`crate::DataLock`] and must not have started
    /// to work, so that the previous holders have ended.
    pub async fn release_leases(&self) -> Result<usize> {
        self.write("ledger leases_release", |transaction| {
            let leases = transaction
                .prepare_cached("DELETE FROM hint WHERE family = ?1")?
                .execute([Leases::FAMILY])?;
            Ok(leases + replicas::release_all(transaction)? + agreements::leases_release(transaction)?)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = self.database.read(query).await;
        result.map_err(|fault| unavailable(fault, operation))
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = self.database.write(Durability::Process, change).await;
        result.map_err(|fault| unavailable(fault, operation))
    }
}

fn unavailable(fault: Fault, operation: &str) -> Error {
    Error::of(Code::LedgerUnavailable, Operation::of(operation))
        .because(fault.sentence.clone())
        .with_source(fault)
}

/// The `LIMIT` of a list; 0 means all, which SQLite writes as -1.
fn limit(limit: usize) -> i64 {
    match limit {
        0 => -1,
        some => i64::try_from(some).unwrap_or(-1),
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn record(&self, execution: &Execution, tasks: &[TaskEntry]) -> Result<()> {
        let (execution, tasks) = (execution.clone(), tasks.to_vec());
        self.write("ledger record", move |transaction| {
            executions::add(transaction, &execution)?;
            tasks.iter().try_for_each(|task| tasks::add(transaction, task))
        })
        .await
    }

    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        let task = task.clone();
        self.write("ledger begin", move |transaction| {
            executions::add(transaction, &task.execution)?;
            tasks::add(transaction, &task)?;
            tasks::begin(transaction, &task.id, now)
        })
        .await
    }

    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        let (id, code, message) = (task.id.clone(), code.to_owned(), message.to_owned());
        self.write("ledger wait", move |transaction| {
            tasks::wait(transaction, &id, &code, &message, next)
        })
        .await
    }

    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, replicas: &[Replica]) -> Result<bool> {
        let (id, outcome, replicas) = (task.id.clone(), outcome.clone(), replicas.to_vec());
        self.write("ledger finish", move |transaction| {
            replicas
                .iter()
                .try_for_each(|replica| replicas::put(transaction, replica))?;
            continuations::remove_all(transaction, &id)?;
            tasks::finish(transaction, &id, &outcome)
        })
        .await
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
        let filter = filter.clone();
        self.read("ledger tasks", move |connection| tasks::list(connection, &filter))
            .await
    }

    async fn executions(&self, limit: usize) -> Result<Vec<ExecutionRecord>> {
        self.read("ledger executions", move |connection| {
            executions::list(connection, limit)
        })
        .await
    }

    async fn originals(&self, filter: &TaskFilter) -> Result<Vec<TaskEntry>> {
        let filter = filter.clone();
        self.read("ledger originals", move |connection| {
            tasks::originals(connection, &filter)
        })
        .await
    }

    async fn unfinished(&self, registry: &str, before: Timestamp, limit: usize) -> Result<Vec<TaskEntry>> {
        let registry = registry.to_owned();
        self.read("ledger unfinished", move |connection| {
            tasks::unfinished(connection, &registry, before, limit)
        })
        .await
    }

    async fn is_busy(&self, registry: &str, repository: &Repository) -> Result<bool> {
        let (registry, repository) = (registry.to_owned(), repository.clone());
        self.read("ledger is_busy", move |connection| {
            tasks::is_busy(connection, &registry, &repository)
        })
        .await
    }

    async fn replica(&self, registry: &str, repository: &Repository, tag: &Tag) -> Result<Option<Replica>> {
        let (registry, repository) = (registry.to_owned(), repository.clone());
        let target = target_text(&Target::Tag(tag.clone()));
        self.read("ledger replica", move |connection| {
            replicas::find(connection, &registry, &repository, &target)
        })
        .await
    }

    async fn replica_intend(&self, replica: &Replica) -> Result<()> {
        let replica = replica.clone();
        self.write("ledger replica_intend", move |transaction| {
            replicas::intend(transaction, &replica)
        })
        .await
    }

    async fn is_replicated(&self, source: &ImageRef, destination: &ImageRef, manifest: &Digest) -> Result<bool> {
        let (source, destination, manifest) = (source.clone(), destination.clone(), manifest.clone());
        self.read("ledger is_replicated", move |connection| {
            replicas::is_replicated(connection, &source, &destination, &manifest)
        })
        .await
    }

    async fn lease_take(&self, key: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<bool> {
        let (key, holder) = (key.to_owned(), holder.to_owned());
        self.write("ledger lease_take", move |transaction| {
            agreements::lease_take(transaction, &key, &holder, now, ttl)
        })
        .await
    }

    async fn lease_release(&self, key: &str, holder: &str) -> Result<()> {
        let (key, holder) = (key.to_owned(), holder.to_owned());
        self.write("ledger lease_release", move |transaction| {
            agreements::lease_release(transaction, &key, &holder)
        })
        .await
    }

    async fn locations_find(&self, host: &str, digests: &[Digest]) -> Result<HashMap<Digest, Vec<Repository>>> {
        if digests.is_empty() {
            return Ok(HashMap::new());
        }
        let (host, digests) = (host.to_owned(), digests.to_vec());
        self.read("ledger locations_find", move |connection| {
            locations::find(connection, &host, digests)
        })
        .await
    }

    async fn locations_add(&self, host: &str, digests: &[Digest], repository: &Repository) -> Result<()> {
        if digests.is_empty() {
            return Ok(());
        }
        let (host, digests, repository) = (host.to_owned(), digests.to_vec(), repository.clone());
        self.write("ledger locations_add", move |transaction| {
            locations::add(transaction, &host, &digests, &repository)
        })
        .await
    }

    async fn location_remove(&self, host: &str, digest: &Digest, repository: &Repository) -> Result<()> {
        let (host, digest, repository) = (host.to_owned(), digest.clone(), repository.clone());
        self.write("ledger location_remove", move |transaction| {
            locations::remove(transaction, &host, &digest, &repository)
        })
        .await
    }

    async fn pause(&self, host: &str, until: Timestamp) -> Result<()> {
        let host = host.to_owned();
        self.write("ledger pause", move |transaction| {
            agreements::pause(transaction, &host, until)
        })
        .await
    }

    async fn paused_until(&self, hosts: &[&str], now: Timestamp) -> Result<Option<(String, Timestamp)>> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.read("ledger paused_until", move |connection| {
            let mut longest: Option<(String, Timestamp)> = None;
            for host in hosts {
                let until = agreements::paused_until(connection, &host, now)?;
                longest = longest
                    .into_iter()
                    .chain(until.map(|until| (host, until)))
                    .max_by_key(|(_, until)| *until);
            }
            Ok(longest)
        })
        .await
    }

    async fn continuation(&self, task: &str, blob: &Digest, now: Timestamp) -> Result<Option<Continuation>> {
        let (task, blob) = (task.to_owned(), blob.clone());
        self.read("ledger continuation", move |connection| {
            continuations::find(connection, &task, &blob, now)
        })
        .await
    }

    async fn continuation_put(&self, task: &str, continuation: &Continuation, expires: Timestamp) -> Result<()> {
        let (task, continuation) = (task.to_owned(), continuation.clone());
        self.write("ledger continuation_put", move |transaction| {
            continuations::put(transaction, &task, &continuation, expires)
        })
        .await
    }

    async fn continuation_remove(&self, task: &str, blob: &Digest) -> Result<()> {
        let (task, blob) = (task.to_owned(), blob.clone());
        self.write("ledger continuation_remove", move |transaction| {
            continuations::remove(transaction, &task, &blob)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use transship_testkit::suites::{at, execution, task};

    use super::*;

    #[tokio::test]
    async fn a_reader_sees_what_a_worker_writes_and_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let worker = SqliteLedger::new(Database::open(dir.path()).unwrap());
        let reader = SqliteLedger::new(Database::open_read_only(dir.path()).unwrap());
        assert!(reader.executions(0).await.unwrap().is_empty());
        worker.record(&execution(1), &[task(1)]).await.unwrap();
        assert_eq!(reader.executions(0).await.unwrap().len(), 1);
        let error = reader.begin(&task(1), at(1)).await.unwrap_err();
        assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
        assert!(error.to_string().contains("check the permissions"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn processes_that_share_a_folder_lose_no_location() {
        let dir = tempfile::tempdir().unwrap();
        let digest = |number: u32| Digest::sha256(&number.to_be_bytes());
        let repository: Arc<Repository> = Arc::new("core/app".parse().unwrap());
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let ledger = SqliteLedger::new(Database::open(dir.path()).unwrap());
                let repository = Arc::clone(&repository);
                tokio::spawn(async move {
                    for number in 0..25 {
                        let digest = digest(writer * 100 + number);
                        ledger.locations_add("r.example", &[digest], &repository).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let all: Vec<_> = (0..4)
            .flat_map(|writer| (0..25).map(move |number| digest(writer * 100 + number)))
            .collect();
        let ledger = SqliteLedger::new(Database::open(dir.path()).unwrap());
        assert_eq!(ledger.locations_find("r.example", &all).await.unwrap().len(), 100);
    }
}
