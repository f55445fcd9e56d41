//! Dispatch: *send, then record*. A message is the task, the ledger is memory.
//!
//! What must hold: when this returns without an error, every task is in the queue. A ledger that does not answer loses
//! nothing: the worker records what it receives.

use crate::{Execution, Ledger, Outgoing, Task, TaskQueue};
use transship_oci::Result;

/// Sends `tasks` of `execution`, then records them.
pub(crate) async fn dispatch(
    queue: &dyn TaskQueue,
    ledger: &dyn Ledger,
    execution: &Execution,
    tasks: &[Task],
) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let messages: Vec<Outgoing> = tasks.iter().cloned().map(Outgoing::now).collect();
    queue.send(&messages).await?;
    if let Err(error) = ledger.record(execution, tasks).await {
        let (execution, tasks) = (&execution.id, tasks.len());
        tracing::warn!(code = error.code(), %error, execution, tasks, "tasks are in the queue and not yet in the ledger");
    }
    Ok(())
}
