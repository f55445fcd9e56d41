//! Redrive: retries failed or cancelled tasks for an operator.
//!
//! The old task stays unchanged, and a new one is created whose id is derived from the old one. Repeating a redrive therefore
//! has no effect, and a new task that fails can be redriven as well.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use transship_copy::Clock;

use crate::ledger::{By, History, TaskEntry, TaskQuery};
use crate::operations::{list_entries, list_tasks};
use crate::plan::id;
use crate::send::{now, send_then_record_entries};
use crate::{Envelope, Execution, Outgoing, Result, TaskQueue, TaskState, Trigger};

/// Number of messages in one send.
const BATCH_MESSAGES: usize = 100;

/// Retries failed or cancelled tasks.
pub struct Redrive {
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// The queue.
    pub queue: Arc<dyn TaskQueue>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Result of a redrive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Redriven {
    /// Number of tasks.
    pub redriven: usize,
    /// The new executions, one for each old one.
    pub executions: Vec<String>,
}

impl Redrive {
    /// Redrives the failed or cancelled tasks of `execution`, or all of them; up to `limit`, newest first, or all if it is 0. Tasks
    /// that were redriven before are excluded.
    pub async fn run(&self, execution: Option<&str>, limit: usize) -> Result<Redriven> {
        let mut groups = self.to_redrive(execution).await?;
        let mut left = if limit == 0 { usize::MAX } else { limit };
        let mut redriven = Redriven::default();
        for (execution, successors) in &mut groups {
            successors.truncate(left);
            left -= successors.len();
            for batch in successors.chunks(BATCH_MESSAGES) {
                let (entries, messages): (Vec<_>, Vec<_>) = batch.iter().cloned().unzip();
                let (queue, history) = (self.queue.as_ref(), self.history.as_ref());
                send_then_record_entries(queue, history, &messages, entries, None).await?;
            }
            if !successors.is_empty() {
                redriven.redriven += successors.len();
                redriven.executions.push(execution.id.clone());
            }
        }
        Ok(redriven)
    }

    /// New tasks by their new execution, the newest first.
    async fn to_redrive(&self, execution: Option<&str>) -> Result<Vec<(Execution, Vec<Successor>)>> {
        let of = |all: By| execution.map_or(all, |id| By::Execution(id.to_owned()));
        let mut ended = Vec::new();
        for (by, state) in [
            (of(By::Failed), TaskState::Failed),
            (of(By::Newest), TaskState::Cancelled),
        ] {
            let query = TaskQuery::new(by).in_state(state);
            ended.extend(list_entries(self.history.as_ref(), &query).await?);
        }
        ended.sort_by_key(|entry| std::cmp::Reverse(entry.created));
        let mut groups: Vec<(Execution, Vec<Successor>)> = Vec::new();
        for old in ended {
            let execution = self.execution_after(&old);
            let Some(successor) = successor(&old, &execution) else {
                continue;
            };
            match groups.iter_mut().find(|(known, _)| known.id == execution.id) {
                Some((_, group)) => group.push(successor),
                None => groups.push((execution, vec![successor])),
            }
        }
        for (execution, successors) in &mut groups {
            let known = self.known(&execution.id).await?;
            successors.retain(|(entry, _)| !known.contains(&entry.id));
        }
        Ok(groups)
    }

    fn execution_after(&self, old: &TaskEntry) -> Execution {
        Execution {
            id: id("e", &["redrive", &old.execution.id]),
            rule: old.execution.rule.clone(),
            trigger: Trigger::Manual,
            created: now(self.clock.as_ref()),
        }
    }

    /// The tasks that are recorded of an execution.
    async fn known(&self, execution: &str) -> Result<HashSet<String>> {
        let query = TaskQuery::new(By::Execution(execution.to_owned()));
        let records = list_tasks(self.history.as_ref(), &query, 0).await?;
        Ok(records.into_iter().map(|record| record.id).collect())
    }
}

/// A new task, and the message that begins it.
type Successor = (TaskEntry, Outgoing);

/// The task that takes the place of `old`: the same work, not begun. [`None`], logged, if another release recorded it.
fn successor(old: &TaskEntry, execution: &Execution) -> Option<Successor> {
    let read = old.envelope();
    let read = read.inspect_err(|error| {
        tracing::error!(code = error.code(), %error, task = old.id, "a task cannot be redriven");
    });
    let job = read.ok()?.job.restarted(id("t", &["redrive", &old.id]), execution);
    let entry = job.task()?;
    let delay = Duration::ZERO;
    let envelope = Envelope::new(job);
    Some((entry, Outgoing { envelope, delay }))
}
