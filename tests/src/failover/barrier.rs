//! A barrier in the ledger: a process that writes the state of the group beyond it stays in that write, which is not committed,
//! until it is killed.
//!
//! So a test ends a command at each of its writes, without a guess about time: what it did before is in the ledger, and the next
//! write is not.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

/// Rows without end.
const ENDLESS: &str = "CREATE VIEW IF NOT EXISTS endless AS \
     WITH RECURSIVE row(number) AS (SELECT 1 UNION ALL SELECT number FROM row) SELECT sum(number) AS number FROM row";

/// The ledger of a data folder, opened beside its processes.
#[derive(Debug)]
pub struct Barrier(Connection);

impl Barrier {
    /// Opens the ledger in `data`.
    pub fn open(data: &Path) -> Self {
        let connection = Connection::open(data.join("transship.db")).expect("the ledger can be opened");
        connection
            .busy_timeout(super::stage::PATIENCE)
            .and_then(|()| connection.execute_batch(ENDLESS))
            .expect("a view can be made");
        Self(connection)
    }

    /// The number of times that the state of the group `main` was written; [`None`]: it is not there.
    pub fn version(&self) -> Option<u64> {
        let query = "SELECT version FROM record WHERE family = 'failover' AND name = 'main'";
        let version = self.0.query_row(query, [], |row| row.get::<_, i64>(0)).optional();
        version.expect("the ledger can be read").map(i64::unsigned_abs)
    }

    /// Keeps every process from writing the state beyond `version`.
    pub fn close_after(&self, version: u64) {
        self.lift();
        let trigger = format!(
            "CREATE TRIGGER barrier BEFORE UPDATE ON record \
             WHEN new.family = 'failover' AND new.name = 'main' AND new.version > {version} \
             BEGIN SELECT number FROM endless; END"
        );
        self.0.execute_batch(&trigger).expect("a trigger can be made");
    }

    /// Lets every process write.
    pub fn lift(&self) {
        self.0
            .execute_batch("DROP TRIGGER IF EXISTS barrier")
            .expect("a trigger can be removed");
    }
}
