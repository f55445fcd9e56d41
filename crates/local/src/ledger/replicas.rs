//! Replicas: what we wrote to a destination, and the manifests it consists of.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, Transaction, params};
use transship_engine::ledger::{Claim, earlier_of, lease_in_force};
use transship_engine::{ImageRef, Replica};
use transship_oci::{Digest, Repository};

use crate::column;

/// The role of a manifest of the image.
const MANIFEST: &str = "manifest";

/// The role of a digest the destination may name still.
const EARLIER: &str = "earlier";

/// Puts a replica in place of what was remembered of its destination.
pub(super) fn put(transaction: &Transaction<'_>, replica: &Replica) -> Result<()> {
    let destination = &replica.destination;
    let (registry, repository, target) = source_columns(replica);
    let destination_target = column::target_text(&destination.target);
    transaction
        .prepare_cached(
            "DELETE FROM replica
             WHERE destination_registry = ?1 AND destination_repository = ?2 AND destination_target = ?3",
        )?
        .execute(params![
            destination.registry,
            destination.repository.as_str(),
            destination_target
        ])?;
    transaction
        .prepare_cached(
            "INSERT INTO replica (destination_registry, destination_repository, destination_target,
                                  source_registry, source_repository, source_target, digest, rule, written,
                                  accepted, selected)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            destination.registry,
            destination.repository.as_str(),
            destination_target,
            registry,
            repository,
            target,
            replica.digest.to_string(),
            replica.rule,
            replica.written.as_millisecond(),
            replica.accepted.as_millisecond(),
            replica.selected.as_ref().map(ToString::to_string),
        ])?;
    let number = transaction.last_insert_rowid();
    digests_add(transaction, number, MANIFEST, &replica.manifests)?;
    digests_add(transaction, number, EARLIER, &replica.earlier)
}

/// The replica at a destination.
pub(super) fn at(connection: &Connection, destination: &ImageRef) -> Result<Option<Replica>> {
    let found = connection
        .prepare_cached(
            "SELECT * FROM replica
             WHERE destination_registry = ?1 AND destination_repository = ?2 AND destination_target = ?3",
        )?
        .query_row(
            params![
                destination.registry,
                destination.repository.as_str(),
                column::target_text(&destination.target)
            ],
            without_digests,
        )
        .optional()?;
    found.map(|found| with_digests(connection, found)).transpose()
}

/// True if a replica at the destination repository, made from the source repository, holds `manifest`.
pub(super) fn holds(
    connection: &Connection,
    destination: &(String, Repository),
    source: &(String, Repository),
    manifest: &Digest,
) -> Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM replica JOIN replica_digest ON replica = number
             WHERE replica_digest.digest = ?5 AND role = 'manifest' AND source_registry = ?1 AND source_repository = ?2
               AND destination_registry = ?3 AND destination_repository = ?4)",
        )?
        .query_row(
            params![
                source.0,
                source.1.as_str(),
                destination.0,
                destination.1.as_str(),
                manifest.to_string()
            ],
            |row| row.get(0),
        )
}

/// The replicas at the destination repository, made from the source repository, whose destination may name what was copied
/// from `digest`.
pub(super) fn made_of(
    connection: &Connection,
    destination: &(String, Repository),
    source: &(String, Repository),
    digest: &Digest,
) -> Result<Vec<Replica>> {
    let found: Vec<(i64, Replica)> = connection
        .prepare_cached(
            "SELECT * FROM replica
             WHERE destination_registry = ?1 AND destination_repository = ?2 AND source_registry = ?3 AND source_repository = ?4
               AND (digest = ?5 OR instr(selected, ?5) > 0 OR EXISTS (SELECT 1 FROM replica_digest
                                           WHERE replica = number AND role = 'earlier' AND replica_digest.digest = ?5))",
        )?
        .query_map(
            params![
                destination.0,
                destination.1.as_str(),
                source.0,
                source.1.as_str(),
                digest.to_string()
            ],
            without_digests,
        )?
        .collect::<Result<_>>()?;
    let mut replicas = Vec::new();
    for found in found {
        let replica = with_digests(connection, found)?;
        // The selection may be one of an earlier digest.
        if replica.is_made_of(digest) {
            replicas.push(replica);
        }
    }
    Ok(replicas)
}

/// The end of the lease of another holder, if it has not expired.
fn held_until(
    transaction: &Transaction<'_>,
    destination: &ImageRef,
    holder: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    transaction
        .prepare_cached(
            "SELECT \"until\" FROM replica
             WHERE destination_registry = ?1 AND destination_repository = ?2 AND destination_target = ?3
               AND holder <> ?4 AND \"until\" > ?5",
        )?
        .query_row(
            params![
                destination.registry,
                destination.repository.as_str(),
                column::target_text(&destination.target),
                holder,
                now.as_millisecond()
            ],
            |row| column::time(row, "until"),
        )
        .optional()
}

/// Takes the lease and remembers the intent, unless another holder has the lease.
pub(super) fn claim(
    transaction: &Transaction<'_>,
    replica: &Replica,
    holder: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Claim> {
    let until = held_until(transaction, &replica.destination, holder, now)?;
    if let Some(until) = until.and_then(|until| lease_in_force(until, now, ttl)) {
        return Ok(Claim::Held { until });
    }
    let known = at(transaction, &replica.destination)?;
    if known.as_ref().is_some_and(|known| known.supersedes(replica, now)) {
        return Ok(Claim::Superseded);
    }
    let later = known.as_ref().filter(|known| known.is_later_than(replica, now));
    let accepted = later.map_or(replica.accepted, |known| known.accepted);
    let earlier = earlier_of(known.as_ref(), &replica.digest);
    let intended = Replica {
        accepted,
        earlier: earlier.clone(),
        selected: known.as_ref().and_then(|known| known.selected.clone()),
        manifests: known.map(|known| known.manifests).unwrap_or_default(),
        ..replica.clone()
    };
    put(transaction, &intended)?;
    let until = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
    transaction
        .prepare_cached("UPDATE replica SET holder = ?2, \"until\" = ?3 WHERE number = ?1")?
        .execute(params![
            replica_number(transaction, &replica.destination)?,
            holder,
            until.as_millisecond()
        ])?;
    Ok(Claim::Granted { earlier, accepted })
}

fn replica_number(transaction: &Transaction<'_>, destination: &ImageRef) -> Result<i64> {
    transaction
        .prepare_cached(
            "SELECT number FROM replica
             WHERE destination_registry = ?1 AND destination_repository = ?2 AND destination_target = ?3",
        )?
        .query_row(
            params![
                destination.registry,
                destination.repository.as_str(),
                column::target_text(&destination.target)
            ],
            |row| row.get(0),
        )
}

/// Forgets the intent to write `digest` if `holder` has the lease.
pub(super) fn withdraw(
    transaction: &Transaction<'_>,
    destination: &ImageRef,
    digest: &Digest,
    holder: &str,
) -> Result<()> {
    let Some(known) = at(transaction, destination)? else {
        return Ok(());
    };
    let number = replica_number(transaction, destination)?;
    let is_holder: bool = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM replica WHERE number = ?1 AND holder = ?2)")?
        .query_row(params![number, holder], |row| row.get(0))?;
    if !is_holder {
        return Ok(());
    }
    let left = known.without(digest);
    let Some((latest, earlier)) = left.split_first() else {
        transaction
            .prepare_cached("DELETE FROM replica WHERE number = ?1")?
            .execute([number])?;
        return Ok(());
    };
    transaction
        .prepare_cached("UPDATE replica SET digest = ?2 WHERE number = ?1")?
        .execute(params![number, latest.to_string()])?;
    transaction
        .prepare_cached("DELETE FROM replica_digest WHERE replica = ?1 AND role = ?2")?
        .execute(params![number, EARLIER])?;
    digests_add(transaction, number, EARLIER, earlier)
}

/// Gives the lease back if `holder` has it.
pub(super) fn release(transaction: &Transaction<'_>, destination: &ImageRef, holder: &str) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE replica SET holder = NULL, \"until\" = NULL
             WHERE destination_registry = ?1 AND destination_repository = ?2 AND destination_target = ?3 AND holder = ?4",
        )?
        .execute(params![
            destination.registry,
            destination.repository.as_str(),
            column::target_text(&destination.target),
            holder
        ])?;
    Ok(())
}

/// Gives every lease back.
pub(super) fn release_all(transaction: &Transaction<'_>) -> Result<usize> {
    transaction
        .prepare_cached("UPDATE replica SET holder = NULL, \"until\" = NULL WHERE holder IS NOT NULL")?
        .execute([])
}

/// Puts a replica in place of what was remembered of its destination, without the lease; under the lease of another holder,
/// only its manifests and what belongs to them. What is remembered of a later push stays.
pub(super) fn settle(transaction: &Transaction<'_>, replica: &Replica, holder: &str, now: Timestamp) -> Result<()> {
    if at(transaction, &replica.destination)?.is_some_and(|known| known.is_later_than(replica, now)) {
        return release(transaction, &replica.destination, holder);
    }
    if held_until(transaction, &replica.destination, holder, now)?.is_none() {
        return put(transaction, replica);
    }
    let number = replica_number(transaction, &replica.destination)?;
    let (registry, repository, target) = source_columns(replica);
    transaction
        .prepare_cached(
            "UPDATE replica SET source_registry = ?2, source_repository = ?3, source_target = ?4, rule = ?5, written = ?6,
                                accepted = ?7, selected = ?8
             WHERE number = ?1",
        )?
        .execute(params![
            number,
            registry,
            repository,
            target,
            replica.rule,
            replica.written.as_millisecond(),
            replica.accepted.as_millisecond(),
            replica.selected.as_ref().map(ToString::to_string),
        ])?;
    transaction
        .prepare_cached("DELETE FROM replica_digest WHERE replica = ?1 AND role = ?2")?
        .execute(params![number, MANIFEST])?;
    digests_add(transaction, number, MANIFEST, &replica.manifests)
}

fn digests_add(transaction: &Transaction<'_>, replica: i64, role: &str, digests: &[Digest]) -> Result<()> {
    let mut add = transaction
        .prepare_cached("INSERT INTO replica_digest (replica, role, position, digest) VALUES (?1, ?2, ?3, ?4)")?;
    for (position, digest) in (0_i64..).zip(digests) {
        add.execute(params![replica, role, position, digest.to_string()])?;
    }
    Ok(())
}

fn digests(connection: &Connection, replica: i64, role: &str) -> Result<Vec<Digest>> {
    connection
        .prepare_cached("SELECT digest FROM replica_digest WHERE replica = ?1 AND role = ?2 ORDER BY position")?
        .query_map(params![replica, role], |row| column::parsed(row, "digest"))?
        .collect()
}

fn without_digests(row: &Row<'_>) -> Result<(i64, Replica)> {
    let replica = Replica {
        destination: column::place(row, "destination")?,
        source: source(row)?,
        digest: column::parsed(row, "digest")?,
        earlier: Vec::new(),
        manifests: Vec::new(),
        selected: column::parsed_option(row, "selected")?,
        rule: row.get("rule")?,
        written: column::time(row, "written")?,
        accepted: column::time(row, "accepted")?,
    };
    Ok((row.get("number")?, replica))
}

/// The source in its three columns; empty for an image that came from a store.
fn source_columns(replica: &Replica) -> (&str, &str, String) {
    replica.source.as_ref().map_or(("", "", String::new()), |source| {
        let target = column::target_text(&source.target);
        (&source.registry, source.repository.as_str(), target)
    })
}

fn source(row: &Row<'_>) -> Result<Option<ImageRef>> {
    let registry: String = row.get("source_registry")?;
    if registry.is_empty() {
        return Ok(None);
    }
    column::place(row, "source").map(Some)
}

fn with_digests(connection: &Connection, (number, replica): (i64, Replica)) -> Result<Replica> {
    Ok(Replica {
        manifests: digests(connection, number, MANIFEST)?,
        earlier: digests(connection, number, EARLIER)?,
        ..replica
    })
}
