//! What workers agree on: who commits a tag, and which host is left in peace until when.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Result, Transaction, params};

use crate::column;

/// Takes, extends or takes over a lease; false if another holder has it.
pub(super) fn lease_take(
    transaction: &Transaction<'_>,
    key: &str,
    holder: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<bool> {
    let expires = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
    let taken = transaction
        .prepare_cached(
            "INSERT INTO lease (key, holder, expires) VALUES (?1, ?2, ?4)
             ON CONFLICT (key) DO UPDATE SET holder = ?2, expires = ?4 WHERE holder = ?2 OR expires <= ?3",
        )?
        .execute(params![key, holder, now.as_millisecond(), expires.as_millisecond()])?;
    Ok(taken > 0)
}

/// Gives a lease back if `holder` has it.
pub(super) fn lease_release(transaction: &Transaction<'_>, key: &str, holder: &str) -> Result<()> {
    transaction
        .prepare_cached("DELETE FROM lease WHERE key = ?1 AND holder = ?2")?
        .execute([key, holder])?;
    Ok(())
}

/// Releases all leases.
pub(super) fn leases_release(transaction: &Transaction<'_>) -> Result<usize> {
    transaction.prepare_cached("DELETE FROM lease")?.execute([])
}

/// Pauses a host; an earlier end than the one in force changes nothing.
pub(super) fn pause(transaction: &Transaction<'_>, host: &str, until: Timestamp) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO pause (host, \"until\") VALUES (?1, ?2)
             ON CONFLICT (host) DO UPDATE SET \"until\" = max(\"until\", ?2)",
        )?
        .execute(params![host, until.as_millisecond()])?;
    Ok(())
}

/// The end of the pause a host is in.
pub(super) fn paused_until(connection: &Connection, host: &str, now: Timestamp) -> Result<Option<Timestamp>> {
    connection
        .prepare_cached("SELECT \"until\" FROM pause WHERE host = ?1 AND \"until\" > ?2")?
        .query_row(params![host, now.as_millisecond()], |row| column::time(row, "until"))
        .optional()
}
