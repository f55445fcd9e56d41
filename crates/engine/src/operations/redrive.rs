//! Redrive: tasks that failed or were cancelled are sent again as new tasks.
//!
//! A task that ended does not change. The id of the new task follows from the id of the old one, so a second redrive sends
//! nothing. A new task that fails can be redriven like any other.

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

/// Messages that are sent at once.
const BATCH_MESSAGES: usize = 100;

/// Sends failed and cancelled tasks again.
pub struct Redrive {
    /// Where tasks are recorded.
    pub history: Arc<dyn History>,
    /// Where tasks are sent.
    pub queue: Arc<dyn TaskQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What was sent again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Redriven {
    /// How many tasks.
    pub redriven: usize,
    /// The executions they belong to now, each in place of an old one.
    pub executions: Vec<String>,
}

impl Redrive {
    /// Redrives the tasks of `execution` that failed or were cancelled, or all such tasks; the newest `limit` of them, 0
    /// being all. Those that were redriven before stay out, whatever became of it.
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
