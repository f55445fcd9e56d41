//! Executions: recorded once, with the counters of their tasks.

use rusqlite::{Connection, OptionalExtension as _, Result, Row, Transaction, params};
use transship_engine::ledger::TaskEntry;
use transship_engine::{Execution, ExecutionRecord, ExecutionState, Outcome, TaskCounts, TaskState, Trigger};

use crate::column;

/// The number of an execution, which is recorded if it is not known.
pub(super) fn number_of(transaction: &Transaction<'_>, execution: &Execution) -> Result<i64> {
    let recorded = transaction
        .prepare_cached(
            "INSERT INTO history_execution (id, rule, \"trigger\", created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            execution.id,
            execution.rule,
            execution.trigger.as_str(),
            execution.created.as_millisecond(),
        ])?;
    if recorded > 0 {
        return Ok(transaction.last_insert_rowid());
    }
    transaction
        .prepare_cached("SELECT number FROM history_execution WHERE id = ?1")?
        .query_row([&execution.id], |row| row.get(0))
}

/// Counts a task of the execution with this number that was recorded now.
pub(super) fn count_task(transaction: &Transaction<'_>, execution: i64, task: &TaskEntry) -> Result<()> {
    let is_new_repository = match &task.destination_repository {
        None => 0,
        Some(repository) => transaction
            .prepare_cached(
                "INSERT INTO history_repository (execution_number, registry, repository) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![execution, task.destination_registry, repository.as_str()])?,
    };
    transaction
        .prepare_cached(
            "UPDATE history_execution SET total = total + 1, repositories = repositories + ?2 WHERE number = ?1",
        )?
        .execute(params![execution, is_new_repository > 0])?;
    Ok(())
}

/// Counts the end of a task.
pub(super) fn count_end(transaction: &Transaction<'_>, task: &TaskEntry, outcome: &Outcome) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE history_execution
             SET terminal = terminal + 1, succeeded = succeeded + ?2, cancelled = cancelled + ?5, bytes = bytes + ?3,
                 last = max(coalesce(last, ?4), ?4)
             WHERE id = ?1",
        )?
        .execute(params![
            task.execution.id,
            outcome.state.is_success(),
            column::number(outcome.bytes.copied + outcome.bytes.mounted),
            outcome.finished.as_millisecond(),
            outcome.state == TaskState::Cancelled,
        ])?;
    Ok(())
}

/// One execution.
pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<ExecutionRecord>> {
    connection
        .prepare_cached("SELECT * FROM history_execution WHERE id = ?1")?
        .query_row([id], record)
        .optional()
}

/// The execution of a row.
pub(super) fn record(row: &Row<'_>) -> Result<ExecutionRecord> {
    let (total, succeeded) = (column::count(row, "total")?, column::count(row, "succeeded")?);
    let (terminal, cancelled) = (column::count(row, "terminal")?, column::count(row, "cancelled")?);
    let state = ExecutionState::derive(total, terminal, succeeded, cancelled);
    let created = column::time(row, "created")?;
    let last = column::time_option(row, "last")?.unwrap_or(created);
    let elapsed_ms = last.as_millisecond() - created.as_millisecond();
    Ok(ExecutionRecord {
        id: row.get("id")?,
        rule: row.get("rule")?,
        trigger: column::word(row, "trigger", Trigger::parse)?,
        created,
        duration_ms: (state != ExecutionState::Running).then(|| u64::try_from(elapsed_ms).unwrap_or_default()),
        state,
        success_ratio: if total == 0 {
            1.0
        } else {
            succeeded as f64 / total as f64
        },
        repositories: column::count(row, "repositories")?,
        bytes: column::count(row, "bytes")?,
        tasks: TaskCounts::of(total, terminal, succeeded, cancelled),
        run: None,
        code: None,
        message: None,
    })
}
