//! Tasks: recorded, started, waiting, ended once, and listed.

use jiff::Timestamp;
use rusqlite::{Connection, Result, Row, Transaction, params};
use transship_engine::{Action, Begin, Bytes, Outcome, TaskEntry, TaskFilter, TaskRecord, TaskState};
use transship_oci::Repository;

use super::limit;
use crate::column;

/// Records a task as queued, unless it is known.
pub(super) fn add(transaction: &Transaction<'_>, task: &TaskEntry) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO task (id, execution, rule, action, source_registry, source_repository, source_target,
                               destination_registry, destination_repository, destination_target, follows,
                               digest, state, created, touched, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?14, ?15) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            task.id,
            task.execution.id,
            task.execution.rule,
            task.action.as_str(),
            task.origin,
            task.source_repository.as_ref().map(Repository::as_str).unwrap_or_default(),
            "",
            task.destination_registry,
            task.destination_repository.as_ref().map(Repository::as_str).unwrap_or_default(),
            "",
            task.is_attachment,
            task.digest.as_ref().map(ToString::to_string),
            TaskState::Queued.as_str(),
            task.created.as_millisecond(),
            column::json(task)?,
        ])?;
    Ok(())
}

/// Counts an attempt of a task that is recorded, unless it ended.
pub(super) fn begin(transaction: &Transaction<'_>, id: &str, now: Timestamp) -> Result<Begin> {
    let mut update = transaction.prepare_cached(
        "UPDATE task SET state = 'running', attempts = attempts + 1, next = NULL, touched = ?2
         WHERE id = ?1 AND state IN ('queued', 'running', 'waiting') RETURNING attempts",
    )?;
    if let Some(row) = update.query(params![id, now.as_millisecond()])?.next()? {
        return Ok(Begin::Attempt(row.get(0)?));
    }
    transaction
        .prepare_cached("SELECT state FROM task WHERE id = ?1")?
        .query_row([id], |row| {
            Ok(Begin::Finished(column::word(row, "state", TaskState::parse)?))
        })
}

/// Sets a task that has not ended to waiting.
pub(super) fn wait(transaction: &Transaction<'_>, id: &str, code: &str, message: &str, next: Timestamp) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE task SET state = 'waiting', code = ?2, message = ?3, next = ?4, touched = ?4
             WHERE id = ?1 AND state IN ('queued', 'running', 'waiting')",
        )?
        .execute(params![id, code, message, next.as_millisecond()])?;
    Ok(())
}

/// Ends a task that has not ended; false if it had.
pub(super) fn finish(transaction: &Transaction<'_>, id: &str, outcome: &Outcome) -> Result<bool> {
    let ended = transaction
        .prepare_cached(
            "UPDATE task SET state = ?2, digest = ?3, code = ?4, message = ?5, copied = ?6, mounted = ?7, skipped = ?8,
                             finished = ?9, next = NULL
             WHERE id = ?1 AND state IN ('queued', 'running', 'waiting')",
        )?
        .execute(params![
            id,
            outcome.state.as_str(),
            outcome.digest.as_ref().map(ToString::to_string),
            outcome.code,
            outcome.message,
            column::number(outcome.bytes.copied),
            column::number(outcome.bytes.mounted),
            column::number(outcome.bytes.skipped),
            outcome.finished.as_millisecond(),
        ])?;
    Ok(ended > 0)
}

/// Tasks, newest first.
pub(super) fn list(connection: &Connection, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
    select(connection, filter, record)
}

/// Tasks as they were sent, newest first.
pub(super) fn originals(connection: &Connection, filter: &TaskFilter) -> Result<Vec<TaskEntry>> {
    let found = select(connection, filter, original)?;
    Ok(found.into_iter().flatten().collect())
}

/// Tasks that have not ended and were not touched since `before`, the longest untouched first.
pub(super) fn unfinished(
    connection: &Connection,
    registry: &str,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<TaskEntry>> {
    connection
        .prepare_cached(
            "SELECT body FROM task WHERE source_registry = ?1 AND touched < ?2 AND body IS NOT NULL
                AND state IN ('queued', 'running', 'waiting') ORDER BY touched LIMIT ?3",
        )?
        .query_map(
            params![
                registry,
                before.as_millisecond(),
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            |row| column::entry(row, "body"),
        )?
        .collect()
}

/// One statement per shape of the filter, so that each has its index.
fn select<T>(connection: &Connection, filter: &TaskFilter, read: fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let condition = match (&filter.execution, filter.state) {
        (None, None) => "?1 IS NULL AND ?2 IS NULL",
        (Some(_), None) => "execution = ?1 AND ?2 IS NULL",
        (None, Some(_)) => "?1 IS NULL AND state = ?2",
        (Some(_), Some(_)) => "execution = ?1 AND state = ?2",
    };
    connection
        .prepare_cached(&format!(
            "SELECT * FROM task WHERE {condition} ORDER BY created DESC, number DESC LIMIT ?3"
        ))?
        .query_map(
            params![
                filter.execution,
                filter.state.map(TaskState::as_str),
                limit(filter.limit)
            ],
            read,
        )?
        .collect()
}

/// True if a task that reads from the repository and follows no other has not ended.
pub(super) fn is_busy(connection: &Connection, registry: &str, repository: &Repository) -> Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM task WHERE source_registry = ?1 AND source_repository = ?2 AND follows = 0
                            AND state IN ('queued', 'running', 'waiting'))",
        )?
        .query_row(params![registry, repository.as_str()], |row| row.get(0))
}

fn original(row: &Row<'_>) -> Result<Option<TaskEntry>> {
    let body: Option<String> = row.get("body")?;
    body.map(|_| column::entry(row, "body")).transpose()
}

fn record(row: &Row<'_>) -> Result<TaskRecord> {
    let (source, destination) = match original(row)? {
        Some(entry) => (entry.source, entry.destination),
        None => (
            column::place(row, "source")?.to_string(),
            column::place(row, "destination")?.to_string(),
        ),
    };
    Ok(TaskRecord {
        id: row.get("id")?,
        execution: row.get("execution")?,
        rule: row.get("rule")?,
        action: column::word(row, "action", Action::parse)?,
        source,
        destination,
        digest: column::parsed_option(row, "digest")?,
        state: column::word(row, "state", TaskState::parse)?,
        code: row.get("code")?,
        message: row.get("message")?,
        attempts: row.get("attempts")?,
        created: column::time(row, "created")?,
        next: column::time_option(row, "next")?,
        finished: column::time_option(row, "finished")?,
        bytes: Bytes {
            copied: column::count(row, "copied")?,
            mounted: column::count(row, "mounted")?,
            skipped: column::count(row, "skipped")?,
        },
    })
}
