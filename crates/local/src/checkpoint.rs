//! Checkpoints: the pages of the write-ahead log are copied into the database file while changes go on.
//!
//! SQLite would do that within the commit that makes the log long enough, and everything would wait for two syncs and a
//! thousand writes. Here a second connection copies beside the writers. Only the last few pages are copied while the writers
//! wait: a log that is copied completely at the end of a transaction is begun again from its start, otherwise it would grow
//! for as long as changes arrive. A log that is written over needs no new space, which makes its syncs many times faster.
//!
//! What must hold: nothing is lost if the process or the machine ends during a checkpoint. SQLite syncs the log before it
//! copies, and the file before the log is begun again.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, Result};

/// Number of pages of 4 KiB in the log that cause a checkpoint: 16 MiB.
const LOG_PAGES: i32 = 4096;
/// Number of pages that the writers may wait for.
const LAST_PAGES_MAX: i32 = 64;
/// How often pages are copied beside the writers, at most: if more arrive than are copied, the writers wait for the rest.
const PASSES_MAX: u32 = 4;

/// Makes the checkpoints of a database. Clones share it.
#[derive(Clone)]
pub(crate) struct Checkpoints {
    log: Arc<Log>,
    /// Held by the thread that makes a checkpoint.
    connection: Arc<Mutex<Connection>>,
}

struct Log {
    /// Number of its pages after the last commit.
    pages: AtomicI32,
    /// The number of pages at which the next checkpoint is due.
    due: AtomicI32,
}

/// What a checkpoint left in the log.
struct Copied {
    pages: i32,
    rest: i32,
}

impl Checkpoints {
    /// Takes the checkpoints of `writer` over, and makes them with `connection`.
    pub(crate) fn take_over(writer: &mut Connection, connection: Connection) -> Result<Self> {
        let log = Arc::new(Log {
            pages: AtomicI32::new(0),
            due: AtomicI32::new(LOG_PAGES),
        });
        let counted = Arc::clone(&log);
        // This replaces the hook that makes a checkpoint within a commit.
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            counted.pages.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            log,
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Makes a checkpoint if one is due and no other thread makes it. `writers` stops the writers until its result is dropped; the
    /// caller must not have stopped them. A checkpoint that fails is made later: until then, the log is longer.
    pub(crate) fn make<T>(&self, writers: impl FnOnce() -> T) {
        if self.log.pages.load(Ordering::Relaxed) < self.log.due.load(Ordering::Relaxed) {
            return;
        }
        let Ok(connection) = self.connection.try_lock() else {
            return;
        };
        let due = match self.copy(&connection, writers) {
            Ok(Copied { rest: 0, .. }) => LOG_PAGES,
            // A reader of another process still needs the rest.
            Ok(Copied { pages, .. }) => pages.saturating_add(LOG_PAGES),
            Err(error) => {
                tracing::debug!(%error, "a checkpoint failed");
                self.log.pages.load(Ordering::Relaxed).saturating_add(LOG_PAGES)
            }
        };
        self.log.due.store(due, Ordering::Relaxed);
    }

    fn copy<T>(&self, connection: &MutexGuard<'_, Connection>, writers: impl FnOnce() -> T) -> Result<Copied> {
        for _ in 0..PASSES_MAX {
            let copied = passive(connection)?;
            let arrived = self.log.pages.load(Ordering::Relaxed).saturating_sub(copied.pages);
            if copied.rest.saturating_add(arrived) <= LAST_PAGES_MAX {
                break;
            }
        }
        let _stopped = writers();
        passive(connection)
    }
}

/// Copies what no reader needs any more in the log, without waiting for anybody.
fn passive(connection: &Connection) -> Result<Copied> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (pages, copied): (i32, i32) = (row.get(1)?, row.get(2)?);
        Ok(Copied {
            pages,
            rest: pages.saturating_sub(copied),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Database;
    use crate::database::{Durability, transact};

    fn database(dir: &Path) -> Database {
        let database = Database::open(dir).unwrap();
        let create = "CREATE TABLE filler (number INTEGER PRIMARY KEY, bytes BLOB)";
        database.lock().execute_batch(create).unwrap();
        database
    }

    /// Commits a change of about `pages` pages, and returns the length of the log.
    fn fill(database: &Database, pages: i32) -> i32 {
        let bytes = pages * 4096;
        transact(&mut database.lock(), Durability::Process, |transaction| {
            transaction.execute("INSERT INTO filler (bytes) VALUES (zeroblob(?1))", [bytes])
        })
        .unwrap();
        log(database).pages.load(Ordering::Relaxed)
    }

    fn log(database: &Database) -> Arc<Log> {
        Arc::clone(&database.checkpoints().unwrap().log)
    }

    #[test]
    fn a_log_that_is_long_enough_is_copied_and_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path());
        let half = fill(&database, LOG_PAGES / 2);
        database.checkpoint();
        let whole = fill(&database, LOG_PAGES / 2);
        assert!(
            whole > half,
            "no commit makes a checkpoint, and none was due: {half}, {whole}"
        );
        database.checkpoint();
        assert!(fill(&database, 1) < 10);
        drop(database);
        let count = |connection: &Connection| connection.query_row("SELECT count(*) FROM filler", [], |row| row.get(0));
        let found: i64 = count(&Database::open(dir.path()).unwrap().lock()).unwrap();
        assert_eq!(found, 3);
    }

    #[test]
    fn a_reader_delays_a_checkpoint_and_does_not_prevent_it() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path());
        let reader = Database::open_read_only(dir.path()).unwrap();
        reader
            .lock()
            .execute_batch("BEGIN; SELECT count(*) FROM filler")
            .unwrap();
        fill(&database, LOG_PAGES);
        database.checkpoint();
        let after = fill(&database, 1);
        assert!(after > LOG_PAGES);
        let due = log(&database).due.load(Ordering::Relaxed);
        assert!(due > after, "the next commits do not try again: {due}, {after}");
        reader.lock().execute_batch("COMMIT").unwrap();
        fill(&database, LOG_PAGES);
        database.checkpoint();
        assert!(fill(&database, 1) < 10);
        assert_eq!(log(&database).due.load(Ordering::Relaxed), LOG_PAGES);
    }

    #[test]
    fn only_one_thread_makes_a_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path());
        fill(&database, LOG_PAGES);
        let held = database.checkpoints().unwrap().connection.lock().unwrap();
        database.checkpoint();
        drop(held);
        assert!(fill(&database, 1) > LOG_PAGES);
    }
}
