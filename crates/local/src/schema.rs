//! The tables, and how a database of an older release becomes one of this release.
//!
//! `PRAGMA user_version` counts the steps a database has taken. A step that was released never changes; a new one is
//! added. Times are milliseconds since 1970.

use rusqlite::{Connection, TransactionBehavior};

/// One script per version.
const STEPS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
];

/// The version of a database of this release.
#[expect(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub(crate) const VERSION: i64 = STEPS.len() as i64;

/// The version `connection` has.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Takes the steps that are missing, all or none. A version that is newer is left alone.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    if version(connection)? >= VERSION {
        return Ok(());
    }
    // Looked at again under the lock: another process may be opening the same new folder.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let taken = usize::try_from(version(&transaction)?).unwrap_or_default();
    for step in STEPS.iter().skip(taken) {
        transaction.execute_batch(step)?;
    }
    if taken < STEPS.len() {
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests;
