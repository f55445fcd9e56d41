//! Continuations: how far the upload of a blob got.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Result, Transaction, params};
use transship_copy::Continuation;
use transship_oci::Digest;

use crate::column;

/// The upload of `blob` by `task`, unless it expired.
pub(super) fn find(connection: &Connection, task: &str, blob: &Digest, now: Timestamp) -> Result<Option<Continuation>> {
    connection
        .prepare_cached("SELECT * FROM continuation WHERE task = ?1 AND digest = ?2 AND expires > ?3")?
        .query_row(params![task, blob.to_string(), now.as_millisecond()], |row| {
            Ok(Continuation {
                digest: column::parsed(row, "digest")?,
                location: row.get("location")?,
                offset: column::count(row, "offset")?,
                hash: row.get("hash")?,
                hops: row.get("hops")?,
            })
        })
        .optional()
}

/// Remembers an upload.
pub(super) fn put(transaction: &Transaction<'_>, task: &str, upload: &Continuation, expires: Timestamp) -> Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO continuation (task, digest, location, \"offset\", hash, hops, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            task,
            upload.digest.to_string(),
            upload.location,
            column::number(upload.offset),
            upload.hash,
            upload.hops,
            expires.as_millisecond()
        ])?;
    Ok(())
}

/// Forgets an upload.
pub(super) fn remove(transaction: &Transaction<'_>, task: &str, blob: &Digest) -> Result<()> {
    transaction
        .prepare_cached("DELETE FROM continuation WHERE task = ?1 AND digest = ?2")?
        .execute(params![task, blob.to_string()])?;
    Ok(())
}

/// Forgets every upload of a task that ended.
pub(super) fn remove_all(transaction: &Transaction<'_>, task: &str) -> Result<()> {
    transaction
        .prepare_cached("DELETE FROM continuation WHERE task = ?1")?
        .execute([task])?;
    Ok(())
}
