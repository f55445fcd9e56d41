//! Tasks: recorded, started, waiting, and ended once.

use jiff::Timestamp;
use rusqlite::{Connection, Result, Row, Transaction, params};
use transship_engine::ledger::TaskEntry;
use transship_engine::{Action, Begin, Counts, Execution, Outcome, TaskRecord, TaskState, Trigger};
use transship_oci::Repository;

use super::executions;
use crate::column;

/// A task, with the id, trigger and time of its execution.
pub(super) const COLUMNS: &str =
    "t.*, e.id AS execution, e.\"trigger\" AS execution_trigger, e.created AS execution_created
     FROM history_task AS t JOIN history_execution AS e ON e.number = t.execution_number";

/// Records a task as queued and counts it, unless it is known.
pub(crate) fn add(transaction: &Transaction<'_>, task: &TaskEntry) -> Result<()> {
    let execution = executions::number_of(transaction, &task.execution)?;
    let added = transaction
        .prepare_cached(
            "INSERT INTO history_task (id, execution_number, rule, action, origin, source_repository, is_attachment, source,
                                       destination_registry, destination_repository, destination, named, job,
                                       redrive_of, state, created, touched)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 'queued', ?15, ?15)
             ON CONFLICT (execution_number, id) DO NOTHING",
        )?
        .execute(params![
            task.id,
            execution,
            task.execution.rule,
            task.action.as_str(),
            task.origin,
            task.source_repository.as_ref().map(Repository::as_str),
            task.is_attachment,
            task.source,
            task.destination_registry,
            task.destination_repository.as_ref().map(Repository::as_str),
            task.destination,
            task.digest.as_ref().map(ToString::to_string),
            task.job,
            task.redrive_of,
            task.created.as_millisecond(),
        ])?;
    if added > 0 {
        executions::count_task(transaction, execution, task)?;
    }
    Ok(())
}

/// Counts an attempt of a task that is recorded, unless it ended.
pub(super) fn begin(transaction: &Transaction<'_>, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
    let mut update = transaction.prepare_cached(
        "UPDATE history_task SET state = 'running', attempts = attempts + 1, next = NULL, touched = ?3
         WHERE execution_number = (SELECT number FROM history_execution WHERE id = ?1) AND id = ?2 AND state IN ('queued', 'running', 'waiting') RETURNING attempts",
    )?;
    let key = params![task.execution.id, task.id, now.as_millisecond()];
    if let Some(row) = update.query(key)?.next()? {
        return Ok(Begin::Attempt(row.get(0)?));
    }
    transaction
        .prepare_cached("SELECT state FROM history_task WHERE execution_number = (SELECT number FROM history_execution WHERE id = ?1) AND id = ?2")?
        .query_row([&task.execution.id, &task.id], |row| {
            Ok(Begin::Finished(column::word(row, "state", TaskState::parse)?))
        })
}

/// Sets a task that has not ended to waiting.
pub(super) fn wait(
    transaction: &Transaction<'_>,
    task: &TaskEntry,
    code: &str,
    message: &str,
    next: Timestamp,
) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE history_task SET state = 'waiting', code = ?3, message = ?4, next = ?5, touched = ?5
             WHERE execution_number = (SELECT number FROM history_execution WHERE id = ?1) AND id = ?2 AND state IN ('queued', 'running', 'waiting')",
        )?
        .execute(params![
            task.execution.id,
            task.id,
            code,
            message,
            next.as_millisecond()
        ])?;
    Ok(())
}

/// Ends a task that has not ended, and counts that; false if it had.
pub(super) fn finish(transaction: &Transaction<'_>, task: &TaskEntry, outcome: &Outcome) -> Result<bool> {
    let ended = transaction
        .prepare_cached(
            "UPDATE history_task SET state = ?3, digest = ?4, code = ?5, message = ?6, copied = ?7, mounted = ?8,
                                     skipped = ?9, finished = ?10, next = NULL
             WHERE execution_number = (SELECT number FROM history_execution WHERE id = ?1) AND id = ?2 AND state IN ('queued', 'running', 'waiting')",
        )?
        .execute(params![
            task.execution.id,
            task.id,
            outcome.state.as_str(),
            outcome.digest.as_ref().map(ToString::to_string),
            outcome.code,
            outcome.message,
            column::number(outcome.bytes.copied),
            column::number(outcome.bytes.mounted),
            column::number(outcome.bytes.skipped),
            outcome.finished.as_millisecond(),
        ])?;
    if ended > 0 {
        executions::count_end(transaction, task, outcome)?;
    }
    Ok(ended > 0)
}

/// Remembers the task that repeats an ended one, unless there is one.
pub(super) fn redriven(transaction: &Transaction<'_>, task: &TaskEntry, successor: &str) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE history_task SET redriven_by = ?3
             WHERE execution_number = (SELECT number FROM history_execution WHERE id = ?1) AND id = ?2 AND redriven_by IS NULL AND finished IS NOT NULL",
        )?
        .execute(params![task.execution.id, task.id, successor])?;
    Ok(())
}

/// Tasks that have not ended and were last touched before `before`, or after the latest possible time, the longest untouched
/// first.
pub(super) fn untouched(
    connection: &Connection,
    origin: &str,
    (before, latest): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<TaskEntry>> {
    // A task of the first release has no job that could be sent again.
    let sql = format!(
        "SELECT {COLUMNS} WHERE t.origin = ?1 AND (t.touched < ?2 OR t.touched > ?3) AND t.state IN ('queued', 'running', 'waiting')
         AND t.job <> '' ORDER BY t.touched > ?3, t.touched LIMIT ?4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(&sql)?
        .query_map(
            params![origin, before.as_millisecond(), latest.as_millisecond(), limit],
            entry,
        )?
        .collect()
}

/// True if a task that reads from the repository and is not an attachment has not ended.
pub(super) fn is_busy(connection: &Connection, origin: &str, repository: &Repository) -> Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM history_task WHERE origin = ?1 AND source_repository = ?2
                            AND is_attachment = 0 AND state IN ('queued', 'running', 'waiting'))",
        )?
        .query_row(params![origin, repository.as_str()], |row| row.get(0))
}

/// The task of a row of [`COLUMNS`].
pub(super) fn entry(row: &Row<'_>) -> Result<TaskEntry> {
    Ok(TaskEntry {
        id: row.get("id")?,
        execution: Execution {
            id: row.get("execution")?,
            rule: row.get("rule")?,
            trigger: column::word(row, "execution_trigger", Trigger::parse)?,
            created: column::time(row, "execution_created")?,
        },
        action: column::word(row, "action", Action::parse)?,
        created: column::time(row, "created")?,
        origin: row.get("origin")?,
        source_repository: column::parsed_option(row, "source_repository")?,
        is_attachment: row.get("is_attachment")?,
        source: row.get("source")?,
        destination_registry: row.get("destination_registry")?,
        destination_repository: column::parsed_option(row, "destination_repository")?,
        destination: row.get("destination")?,
        digest: column::parsed_option(row, "named")?,
        redrive_of: row.get("redrive_of")?,
        job: row.get("job")?,
    })
}

/// What lists show of a row of [`COLUMNS`].
pub(super) fn record(row: &Row<'_>) -> Result<TaskRecord> {
    let state = column::word(row, "state", TaskState::parse)?;
    let digest = if state.is_terminal() { "digest" } else { "named" };
    Ok(TaskRecord {
        id: row.get("id")?,
        execution: row.get("execution")?,
        rule: row.get("rule")?,
        action: column::word(row, "action", Action::parse)?,
        source: row.get("source")?,
        destination: row.get("destination")?,
        digest: column::parsed_option(row, digest)?,
        state,
        code: row.get("code")?,
        message: row.get("message")?,
        attempts: row.get("attempts")?,
        created: column::time(row, "created")?,
        began: (state == TaskState::Running)
            .then(|| column::time(row, "touched"))
            .transpose()?,
        next: column::time_option(row, "next")?,
        finished: column::time_option(row, "finished")?,
        bytes: Counts {
            copied: column::count(row, "copied")?,
            mounted: column::count(row, "mounted")?,
            skipped: column::count(row, "skipped")?,
        },
        redrive_of: row.get("redrive_of")?,
        redriven_by: row.get("redriven_by")?,
    })
}
