//! The ledger in SQLite: each file holds one of its ports.
//!
//! What must hold: a terminal state is written once, and counted in the same transaction.

mod claims;
mod hints;
mod history;
mod records;
mod replicas;

use rusqlite::{Connection, Transaction};
use transship_engine::ledger::Leases;
use transship_oci::{Code, Error, Result, Verb};

use crate::Database;
use crate::database::Durability;
pub(crate) use history::record;

/// The ledger's ports in a [`Database`]. Clones share it.
#[derive(Clone)]
pub struct SqliteLedger {
    database: Database,
}

impl SqliteLedger {
    /// The ledger of `database`.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// True if the ledger is in this database.
    pub(crate) fn is_in(&self, database: &Database) -> bool {
        self.database.is_same(database)
    }

    /// Releases all commit leases and returns their number. The caller must hold the [`crate::DataLock`] and must not have started
    /// to work, so that the previous holders have ended.
    pub async fn release_leases(&self) -> Result<usize> {
        self.write("leases_release", |transaction| {
            let leases = transaction
                .prepare_cached("DELETE FROM hint WHERE family = ?1")?
                .execute([Leases::FAMILY])?;
            Ok(leases + replicas::release_all(transaction)?)
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

fn unavailable(fault: Error, operation: &str) -> Error {
    Error::of(Code::LedgerUnavailable, Verb::Ledger.on(operation))
        .because(fault.message())
        .with_source(fault)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use transship_engine::ledger::{ExecutionQuery, History as _, Locations};
    use transship_oci::{Digest, Repository};
    use transship_testkit::suites::{at, task};

    use super::*;

    #[tokio::test]
    async fn a_reader_sees_what_a_worker_writes_and_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let worker = SqliteLedger::new(Database::open(dir.path()).unwrap());
        let reader = SqliteLedger::new(Database::open_read_only(dir.path()).unwrap());
        let all = ExecutionQuery::default();
        let executions = async || reader.executions(&all, None, 10).await.unwrap().items.len();
        assert_eq!(executions().await, 0);
        worker.record(&[task(1)]).await.unwrap();
        assert_eq!(executions().await, 1);
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
                let locations = Locations::new(Arc::new(ledger));
                let repository = Arc::clone(&repository);
                tokio::spawn(async move {
                    for number in 0..25 {
                        let digest = digest(writer * 100 + number);
                        let (digests, now) = ([digest], Timestamp::UNIX_EPOCH);
                        locations.add("r.example", &digests, &repository, now).await.unwrap();
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
        let locations = Locations::new(Arc::new(ledger));
        let found = locations.find("r.example", &all, Timestamp::UNIX_EPOCH).await;
        assert_eq!(found.unwrap().len(), 100);
    }
}
