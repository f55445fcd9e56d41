//! Blob locations: which repositories of a registry hold a blob, so that it is mounted and not sent.

use std::collections::HashMap;

use rusqlite::{Connection, Result, Transaction, params};
use transship_oci::{Digest, Repository};

use crate::column;

/// How many are kept for a blob: further ones would not be asked for.
const PER_BLOB: i64 = 3;

/// What is known of each digest, the latest first.
pub(super) fn find(
    connection: &Connection,
    host: &str,
    digests: Vec<Digest>,
) -> Result<HashMap<Digest, Vec<Repository>>> {
    let mut query = connection.prepare_cached(
        "SELECT repository FROM location WHERE host = ?1 AND digest = ?2 ORDER BY number DESC LIMIT ?3",
    )?;
    let mut found = HashMap::new();
    for digest in digests {
        let repositories = query
            .query_map(params![host, digest.to_string(), PER_BLOB], |row| {
                column::parsed(row, "repository")
            })?
            .collect::<Result<Vec<_>>>()?;
        if !repositories.is_empty() {
            found.insert(digest, repositories);
        }
    }
    Ok(found)
}

/// Makes `repository` the latest of each digest, and forgets the oldest.
pub(super) fn add(
    transaction: &Transaction<'_>,
    host: &str,
    digests: &[Digest],
    repository: &Repository,
) -> Result<()> {
    // REPLACE gives the row a new number, and the largest is the latest.
    let mut insert =
        transaction.prepare_cached("INSERT OR REPLACE INTO location (host, digest, repository) VALUES (?1, ?2, ?3)")?;
    let mut forget = transaction.prepare_cached(
        "DELETE FROM location WHERE number IN
             (SELECT number FROM location WHERE host = ?1 AND digest = ?2 ORDER BY number DESC LIMIT -1 OFFSET ?3)",
    )?;
    for digest in digests {
        let digest = digest.to_string();
        insert.execute(params![host, digest, repository.as_str()])?;
        forget.execute(params![host, digest, PER_BLOB])?;
    }
    Ok(())
}

/// Forgets one location.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    host: &str,
    digest: &Digest,
    repository: &Repository,
) -> Result<()> {
    transaction
        .prepare_cached("DELETE FROM location WHERE host = ?1 AND digest = ?2 AND repository = ?3")?
        .execute(params![host, digest.to_string(), repository.as_str()])?;
    Ok(())
}
