//! Executions: recorded once, everything else computed from their tasks.

use rusqlite::{Connection, Result, Row, Transaction, params};
use transship_engine::{Execution, ExecutionRecord, ExecutionState, Trigger};

use super::limit;
use crate::column;

/// Records an execution, unless it is known.
pub(super) fn add(transaction: &Transaction<'_>, execution: &Execution) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO execution (id, rule, \"trigger\", created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            execution.id,
            execution.rule,
            execution.trigger.as_str(),
            execution.created.as_millisecond()
        ])?;
    Ok(())
}

/// The newest executions with their totals.
pub(super) fn list(connection: &Connection, newest: usize) -> Result<Vec<ExecutionRecord>> {
    connection
        .prepare_cached(
            "SELECT e.*,
                    count(t.id) AS total,
                    count(t.finished) AS terminal,
                    count(t.id) FILTER (WHERE t.state IN ('succeeded', 'unchanged', 'kept', 'skipped')) AS succeeded,
                    count(DISTINCT t.destination_registry || '/' || t.destination_repository) AS repositories,
                    coalesce(sum(t.copied + t.mounted), 0) AS bytes,
                    coalesce(max(t.finished), e.created) AS last
             FROM (SELECT * FROM execution ORDER BY created DESC, number DESC LIMIT ?1) AS e
             LEFT JOIN task AS t ON t.execution = e.id
             GROUP BY e.number ORDER BY e.created DESC, e.number DESC",
        )?
        .query_map([limit(newest)], record)?
        .collect()
}

fn record(row: &Row<'_>) -> Result<ExecutionRecord> {
    let (total, succeeded) = (column::count(row, "total")?, column::count(row, "succeeded")?);
    let state = ExecutionState::derive(total, column::count(row, "terminal")?, succeeded);
    let created = column::time(row, "created")?;
    let elapsed_ms = column::time(row, "last")?.as_millisecond() - created.as_millisecond();
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
    })
}
