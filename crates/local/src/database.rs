//! The database file of a data folder: opened once for each process, with one connection behind a mutex, never used on an
//! async thread, and one more for checkpoints.
//!
//! A send that returned must survive a power loss; everything else must survive the process. The write-ahead log is ordered,
//! so syncing the send also syncs all earlier writes, and nothing else needs to wait for the disk.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::checkpoint::Checkpoints;
use crate::group::Group;
use crate::{data_dir, schema};
use transship_oci::{Code, Error, Operation, Result, Verb};

/// Name of the file in the data folder.
const FILE: &str = "transship.db";

/// Name of the file that is locked while the database is opened.
const OPENING: &str = "transship.opening";

/// Maximum wait of a statement for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of prepared statements that a connection keeps: more than there are.
const STATEMENTS_MAX: usize = 128;

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    writer: Arc<Mutex<Writer>>,
    /// [`None`] if this process only reads.
    checkpoints: Option<Checkpoints>,
    /// Changes that are to be on the disk.
    durable: Group,
    /// The other changes.
    quick: Group,
}

/// The connection that all changes share.
pub(crate) struct Writer {
    connection: Connection,
    /// The durability of its transactions, if it was set.
    durability: Option<Durability>,
}

impl Deref for Writer {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Durability of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The transaction is on the disk.
    Disk,
    /// The operating system has the transaction: it survives kill -9, but a power loss may undo the last ones, in order.
    Process,
}

impl Database {
    /// Opens the database in the folder `dir`. The folder (mode 0700) and the file are created if necessary. Errors:
    /// `DATA_TOO_NEW`, `DATA_UNAVAILABLE`.
    pub fn open(dir: &Path) -> Result<Self> {
        data_dir::create(dir)?;
        let path = dir.join(FILE);
        let operation = Verb::Open.on(path.display());
        // SQLite does not wait if two processes enable the write-ahead log of a new file at the same time; one of them would fail.
        let _alone = data_dir::lock(&dir.join(OPENING))?;
        // SQLite gives its other files the mode of this one.
        data_dir::create_file(&path).map_err(|error| {
            let why = "its file cannot be created: check the rights of the folder, and the space on the disk";
            Error::of(Code::DataUnavailable, &operation)
                .because(why)
                .with_source(error)
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(&path, flags).map_err(|error| unavailable(error, &operation))?;
        connection
            .pragma_update(None, "journal_mode", "wal")
            .and_then(|()| schema::migrate(&mut connection))
            .map_err(|error| unavailable(error, &operation))?;
        let mut database = Self::checked(connection, &operation)?;
        let checkpoints = database.take_checkpoints_over(&path);
        database.checkpoints = Some(checkpoints.map_err(|error| unavailable(error, &operation))?);
        Ok(database)
    }

    fn take_checkpoints_over(&self, path: &Path) -> rusqlite::Result<Checkpoints> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Checkpoints::take_over(&mut self.lock().connection, connection)
    }

    /// Opens an existing database for reading, also while another process uses it. Errors: `DATA_TOO_NEW`, `DATA_UNAVAILABLE`.
    pub fn open_read_only(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let operation = Verb::Open.on(path.display());
        if !path.is_file() {
            let why = "it contains no transship.db: use the data folder of serve".to_owned();
            return Err(Error::of(Code::DataUnavailable, operation).because(why));
        }
        // Readers of a write-ahead log write its index, so the file is opened for writing, and a pragma forbids changes.
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|connection| {
                connection.pragma_update(None, "query_only", true)?;
                Ok(connection)
            })
            .map_err(|error| unavailable(error, &operation))?;
        Self::checked(connection, &operation)
    }

    fn checked(connection: Connection, operation: &Operation) -> Result<Self> {
        let found = schema::version(&connection).map_err(|error| unavailable(error, operation))?;
        let known = schema::VERSION;
        match found.cmp(&known) {
            std::cmp::Ordering::Equal => Ok(Self {
                writer: Arc::new(Mutex::new(Writer {
                    connection,
                    durability: None,
                })),
                checkpoints: None,
                durable: Group::new(Durability::Disk),
                quick: Group::new(Durability::Process),
            }),
            std::cmp::Ordering::Greater => {
                let message = format!(
                    "the database has version {found}, but this release supports up to {known}: use a newer release, or another data folder"
                );
                Err(Error::new(Code::DataTooNew, operation, message))
            }
            std::cmp::Ordering::Less => {
                let why = "its database was written by an older release: start serve once to migrate it".to_owned();
                Err(Error::of(Code::DataUnavailable, operation).because(why))
            }
        }
    }

    /// Runs queries on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(|database| query(&database.lock()).map_err(failed)).await
    }

    /// Makes `change` in a transaction on a thread that may block. Changes of one durability that arrive together share it; one that
    /// fails is undone alone.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let group = match durability {
            Durability::Disk => &self.durable,
            Durability::Process => &self.quick,
        };
        group.write(self, change).await
    }

    /// Number of changes that wait for a transaction.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.durable.count() + self.quick.count()
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> Result<T> + Send + 'static) -> Result<T> {
        let database = self.clone();
        match tokio::task::spawn_blocking(move || work(&database)).await {
            Ok(result) => result,
            Err(error) => Err(stopped(error)),
        }
    }

    /// A panic in a transaction rolls it back, so the connection remains usable.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a checkpoint if one is due. The caller must not have locked the database.
    pub(crate) fn checkpoint(&self) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.make(|| self.lock());
        }
    }

    #[cfg(test)]
    pub(crate) const fn checkpoints(&self) -> Option<&Checkpoints> {
        self.checkpoints.as_ref()
    }

    /// True if `other` is a clone of this database.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.writer, &other.writer)
    }
}

/// Runs `change` in one transaction.
pub(crate) fn transact<T>(
    writer: &mut Writer,
    durability: Durability,
    change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    if writer.durability != Some(durability) {
        let synchronous = match durability {
            Durability::Disk => "full",
            Durability::Process => "normal",
        };
        writer.connection.pragma_update(None, "synchronous", synchronous)?;
        writer.durability = Some(durability);
    }
    let transaction = writer
        .connection
        .transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changed = change(&transaction)?;
    transaction.commit()?;
    Ok(changed)
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

fn unavailable(error: rusqlite::Error, operation: &Operation) -> Error {
    Error::of(Code::DataUnavailable, operation)
        .because(sentence(&error))
        .with_source(error)
}

/// Converts an error of SQLite to a sentence for operators.
fn sentence(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk of the data folder is full: free some space".to_owned(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "transship.db is damaged: stop serve, restore the file or move it away, and start serve again".to_owned()
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process has locked the database for too long: stop other processes that use the data folder"
                .to_owned()
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "cannot open or write transship.db: check the permissions of the data folder".to_owned()
        }
        Some(ErrorCode::SystemIoFailure) => "the disk of the data folder cannot be read or written".to_owned(),
        _ => format!("SQLite reports: {error}"),
    }
}

/// A failed statement: the message says what to do, and the callers add the operation and their code.
pub(crate) fn failed(error: rusqlite::Error) -> Error {
    Error::new(Code::DataUnavailable, Operation::default(), sentence(&error)).with_source(error)
}

/// The database thread has ended.
pub(crate) fn stopped(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    let sentence = "the database thread stopped; see the log for a panic";
    Error::new(Code::DataUnavailable, Operation::default(), sentence).with_source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("deep/data");
        drop(Database::open(&data).unwrap());
        let database = Database::open(&data).unwrap();
        let mode: String = database
            .lock()
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let rights = std::fs::metadata(&data).unwrap().permissions().mode();
            assert_eq!(rights & 0o777, 0o700);
        }
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path()).unwrap();
        database.lock().pragma_update(None, "user_version", 99).unwrap();
        drop(database);
        for opened in [Database::open(dir.path()), Database::open_read_only(dir.path())] {
            let error = opened.err().unwrap();
            assert_eq!(error.code(), "DATA_TOO_NEW");
            assert!(error.to_string().contains("version 99"), "{error}");
        }
    }

    #[test]
    fn a_damaged_database_says_so() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join(FILE),
            "this is not a database, and it is long enough to show it".repeat(99),
        )
        .unwrap();
        let error = Database::open(dir.path()).err().unwrap();
        assert_eq!(error.code(), "DATA_UNAVAILABLE");
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn looking_needs_a_database_and_makes_none() {
        let dir = tempfile::tempdir().unwrap();
        let error = Database::open_read_only(dir.path()).err().unwrap();
        assert_eq!(error.code(), "DATA_UNAVAILABLE");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let _writer = Database::open(dir.path()).unwrap();
        let reader = Database::open_read_only(dir.path()).unwrap();
        let refused = transact(&mut reader.lock(), Durability::Process, |transaction| {
            transaction.execute("DELETE FROM hint", [])
        });
        assert!(refused.is_err());
    }

    #[test]
    fn processes_may_open_a_new_folder_together() {
        // Many folders, since a race is lost only now and then.
        for _ in 0..40 {
            let dir = tempfile::tempdir().unwrap();
            std::thread::scope(|scope| {
                let openers: Vec<_> = (0..8).map(|_| scope.spawn(|| Database::open(dir.path()))).collect();
                for opener in openers {
                    opener.join().unwrap().unwrap();
                }
            });
        }
    }
}
