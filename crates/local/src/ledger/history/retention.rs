//! Deleting what ended long ago, in small batches.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Result, Transaction, params};

use super::SqliteLedger;

/// How long tasks and executions are kept after their end.
const RETENTION: Duration = Duration::from_hours(90 * 24);
/// How often what is older is deleted.
const RETENTION_INTERVAL: Duration = Duration::from_hours(1);
/// Rows of one transaction: the queue waits for it.
const BATCH_ROWS: usize = 500;
/// The wait between two transactions.
const BATCH_PAUSE: Duration = Duration::from_millis(100);

impl SqliteLedger {
    /// Deletes tasks and executions that ended 90 days ago, and hints that expired: now and every hour, until it is dropped.
    pub async fn keep_retention(&self) {
        loop {
            let now = Timestamp::now();
            let before = now.saturating_sub(RETENTION).unwrap_or(Timestamp::MIN);
            match self.delete_ended(before, now, BATCH_ROWS).await {
                Ok(BATCH_ROWS) => tokio::time::sleep(BATCH_PAUSE).await,
                Ok(_) => tokio::time::sleep(RETENTION_INTERVAL).await,
                Err(error) => {
                    tracing::warn!(code = error.code(), %error, "ended tasks were not deleted");
                    tokio::time::sleep(RETENTION_INTERVAL).await;
                }
            }
        }
    }
}

/// See [`super::SqliteLedger::delete_ended`].
pub(super) fn delete_ended(
    transaction: &Transaction<'_>,
    before: Timestamp,
    now: Timestamp,
    limit: usize,
) -> Result<usize> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (before, now) = (before.as_millisecond(), now.as_millisecond());
    let tasks = transaction
        .prepare_cached(
            "DELETE FROM history_task WHERE number IN
                 (SELECT number FROM history_task WHERE finished < ?1 ORDER BY finished LIMIT ?2)",
        )?
        .execute(params![before, limit])?;
    // Its last task ended before then, so its tasks are deleted above, now or at the next call. It stays as long as they do: the
    // next execution may get its number.
    let ended = "SELECT number FROM history_execution AS e
         WHERE terminal >= total AND last < ?1 AND NOT EXISTS (SELECT 1 FROM history_task WHERE execution_number = e.number)
         ORDER BY last LIMIT ?2";
    transaction
        .prepare_cached(&format!(
            "DELETE FROM history_repository WHERE execution_number IN ({ended})"
        ))?
        .execute(params![before, limit])?;
    let executions = transaction
        .prepare_cached(&format!("DELETE FROM history_execution WHERE number IN ({ended})"))?
        .execute(params![before, limit])?;
    let hints = transaction
        .prepare_cached(
            "DELETE FROM hint WHERE (family, name) IN
                 (SELECT family, name FROM hint WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        )?
        .execute(params![now, limit])?;
    Ok(tasks.max(executions).max(hints))
}
