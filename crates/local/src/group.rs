//! Group commit: while one transaction is written, the changes that arrive are collected for the next one.
//!
//! There is one group for each durability, so that what need not be on the disk does not wait for it.
//!
//! What must hold: a change is answered after the commit of its transaction. A change that fails is undone alone.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Transaction;
use tokio::sync::oneshot;
use transship_oci::Result;

use crate::database::{Database, Durability, failed, stopped, transact};

/// The changes of one durability that wait for the next transaction. Clones share them.
#[derive(Clone)]
pub(crate) struct Group {
    durability: Durability,
    waiting: Arc<Mutex<Vec<Box<dyn Change>>>>,
}

/// A change and the caller that waits for its result.
trait Change: Send {
    /// Makes the change, and keeps its result until the commit.
    fn make(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()>;

    /// Answers with the result, or with the error that undid it.
    fn answer(self: Box<Self>, result: Result<()>);
}

struct Call<T, F> {
    change: Option<F>,
    made: Option<T>,
    done: oneshot::Sender<Result<T>>,
}

impl<T, F> Change for Call<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send,
{
    fn make(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        if let Some(change) = self.change.take() {
            self.made = Some(change(transaction)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<()>) {
        let Self { made, done, .. } = *self;
        // Dropping `done` without an answer tells the caller that the thread of the database has stopped.
        if let Some(answer) = result.map(|()| made).transpose() {
            // The caller may have been cancelled. The change is made nevertheless.
            let _: Result<(), _> = done.send(answer);
        }
    }
}

impl Group {
    pub(crate) fn new(durability: Durability) -> Self {
        Self {
            durability,
            waiting: Arc::default(),
        }
    }

    /// Makes `change` in a transaction that it may share with others, on a thread that may block.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        database: &Database,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, written) = oneshot::channel();
        let change = Box::new(Call {
            change: Some(change),
            made: None,
            done,
        });
        if self.join(change) {
            let leader = Leader {
                group: self.clone(),
                database: database.clone(),
                has_taken: false,
            };
            // Nobody waits for the thread: the changes answer for themselves.
            drop(tokio::task::spawn_blocking(move || leader.write_all()));
        }
        written.await.unwrap_or_else(|error| Err(stopped(error)))
    }

    /// Adds a change. True if it is the first, whose caller writes for all.
    fn join(&self, change: Box<dyn Change>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(change);
        waiting.len() == 1
    }

    fn take(&self) -> Vec<Box<dyn Change>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Number of changes that wait.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Writes all waiting changes. If it is dropped before, as by a runtime that shuts down, they are answered with an error, and
/// the next change has a leader again.
struct Leader {
    group: Group,
    database: Database,
    has_taken: bool,
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.has_taken {
            drop(self.group.take());
        }
    }
}

impl Leader {
    fn write_all(mut self) {
        let mut writer = self.database.lock();
        // After the database is locked, so that the changes that arrived during another transaction are included.
        let mut taken = self.group.take();
        self.has_taken = true;
        let committed = transact(&mut writer, self.group.durability, |transaction| {
            make_all(transaction, &mut taken)
        });
        drop(writer);
        let results = match committed {
            Ok(results) => results,
            Err(error) => vec![Err(failed(error)); taken.len()],
        };
        for (change, result) in taken.into_iter().zip(results) {
            change.answer(result);
        }
        self.database.checkpoint();
    }
}

/// Makes the changes, each in a savepoint of its own if there are several.
fn make_all(transaction: &Transaction<'_>, changes: &mut [Box<dyn Change>]) -> rusqlite::Result<Vec<Result<()>>> {
    if let [only] = changes {
        only.make(transaction)?;
        return Ok(vec![Ok(())]);
    }
    let savepoint = |statement| transaction.prepare_cached(statement)?.execute([]);
    changes
        .iter_mut()
        .map(|change| {
            savepoint("SAVEPOINT change")?;
            let made = change.make(transaction);
            if made.is_err() {
                // If SQLite had to undo the whole transaction, as when the disk is full, this fails, and so do all changes.
                savepoint("ROLLBACK TO change")?;
            }
            savepoint("RELEASE change")?;
            Ok(made.map_err(failed))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn database(dir: &tempfile::TempDir) -> Database {
        let database = Database::open(dir.path()).unwrap();
        database
            .lock()
            .execute_batch(
                "CREATE TABLE seen (number INTEGER); CREATE UNIQUE INDEX once ON seen (number) WHERE number > 0",
            )
            .unwrap();
        database
    }

    fn numbers(database: &Database) -> Vec<i64> {
        let connection = database.lock();
        let mut statement = connection.prepare("SELECT number FROM seen ORDER BY number").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    /// Adds the negative of `number`, then `number`, which fails if that is there.
    async fn add(database: Database, number: i64) -> Result<usize> {
        let change = move |transaction: &Transaction<'_>| {
            transaction.execute("INSERT INTO seen VALUES (-?1)", [number])?;
            transaction.execute("INSERT INTO seen VALUES (?1)", [number])
        };
        database.write(Durability::Process, change).await
    }

    /// Starts `changes` while the database is locked, so that they share a transaction.
    async fn together(database: &Database, changes: &[i64]) -> Vec<Result<usize>> {
        let held = database.lock();
        let mut running = Vec::new();
        for number in changes {
            running.push(tokio::spawn(add(database.clone(), *number)));
            while database.waiting() < running.len() {
                std::thread::yield_now();
            }
        }
        drop(held);
        futures_util::future::join_all(running)
            .await
            .into_iter()
            .map(std::result::Result::unwrap)
            .collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_that_fails_is_undone_alone() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(&dir);
        let results = together(&database, &[1, 2, 2, 3]).await;
        let failed: Vec<bool> = results.iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, false, true, false]);
        assert_eq!(numbers(&database), [-3, -2, -1, 1, 2, 3]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_that_panics_ends_its_transaction_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(&dir);
        let panics = |_: &Transaction<'_>| -> rusqlite::Result<()> { panic!("a bug") };
        let error = database.write(Durability::Process, panics).await.unwrap_err();
        assert_eq!(error.code(), "DATA_UNAVAILABLE");
        add(database.clone(), 1).await.unwrap();
        assert_eq!(numbers(&database), [-1, 1]);
    }

    #[test]
    fn a_runtime_that_ended_leaves_the_database_usable() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(&dir);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ended = runtime.handle().clone();
        runtime.shutdown_background();
        {
            let _inside = ended.enter();
            let error = add(database.clone(), 1).now_or_never().unwrap().unwrap_err();
            assert_eq!(error.code(), "DATA_UNAVAILABLE");
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(add(database.clone(), 2)).unwrap();
        assert_eq!(numbers(&database), [-2, 2]);
    }
}
