//! Redrive: retries failed or cancelled tasks for an operator.
//!
//! The old task stays unchanged, and a new one is created whose id is derived from the old one. Repeating a redrive therefore
//! has no effect, and a new task that fails can be redriven as well.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use transship_copy::Clock;
use transship_oci::Code;

use crate::ledger::{By, Cancels, DeleteGrants, History, TaskEntry, TaskQuery};
use crate::operations::{list_entries, list_tasks};
use crate::plan::id;
use crate::send::now;
use crate::{Action, Envelope, Execution, Outgoing, Result, TaskQueue, TaskState, Trigger};

/// The codes of tasks that wait until an operator redrives them.
const WAITING_FOR_OPERATORS: [Code; 2] = [Code::DeleteLimit, Code::DeleteUnconfirmed];
/// Number of messages in one send.
const BATCH_MESSAGES: usize = 100;
/// Old tasks that are changed at the same time.
const PARALLEL_LINKS: usize = 8;

/// Retries failed or cancelled tasks.
pub struct Redrive {
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// The marks of cancelled executions.
    pub cancels: Cancels,
    /// The deletes that may begin.
    pub grants: DeleteGrants,
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
        self.run_with_code(execution, None, limit).await
    }

    /// The same for tasks with `code` only: those that ended with it, and those that wait for an operator with it. These go on as
    /// they are; what waited for the limit of deletes is not limited any more.
    pub async fn run_with_code(&self, execution: Option<&str>, code: Option<&str>, limit: usize) -> Result<Redriven> {
        let mut groups = self.to_redrive(execution, code).await?;
        let mut left = if limit == 0 { usize::MAX } else { limit };
        let mut redriven = Redriven::default();
        for (execution, successors) in &mut groups {
            successors.truncate(left);
            left -= successors.len();
            for batch in successors.chunks(BATCH_MESSAGES) {
                self.send(batch).await?;
            }
            if !successors.is_empty() {
                redriven.redriven += successors.len();
                redriven.executions.push(execution.id.clone());
            }
        }
        if let Some(code) = code.filter(|code| WAITING_FOR_OPERATORS.iter().any(|known| known.as_str() == *code)) {
            let released = self.release(execution, code, left).await?;
            redriven.redriven += released.redriven;
            redriven.executions.extend(released.executions);
        }
        Ok(redriven)
    }

    /// Sends the tasks again that wait for an operator with `code`, at most `limit`. A task that has begun meanwhile receives one
    /// message more, which is dropped.
    async fn release(&self, execution: Option<&str>, code: &str, limit: usize) -> Result<Redriven> {
        let by = execution.map_or(By::Open, |id| By::Execution(id.to_owned()));
        let mut query = TaskQuery::new(by).in_state(TaskState::Waiting);
        query.filter.code = Some(code.to_owned());
        let mut released = Redriven::default();
        let mut waiting = list_entries(self.history.as_ref(), &query).await?;
        waiting.retain(|entry| entry.action == Action::Delete);
        waiting.truncate(limit);
        let now = now(self.clock.as_ref());
        for batch in waiting.chunks(BATCH_MESSAGES) {
            let messages: Vec<Outgoing> = batch.iter().filter_map(again).collect();
            let is_limited = code == Code::DeleteLimit.as_str();
            let granted = batch.iter().filter(|_| is_limited);
            let grants: Vec<_> = granted.map(|entry| self.grants.add(&entry.id, now)).collect();
            stream::iter(grants)
                .buffer_unordered(PARALLEL_LINKS)
                .try_collect::<()>()
                .await?;
            self.queue.send(&messages).await?;
            released.redriven += messages.len();
        }
        for entry in waiting {
            if !released.executions.contains(&entry.execution.id) {
                released.executions.push(entry.execution.id);
            }
        }
        Ok(released)
    }

    /// Sends new tasks, then records them and that they repeat the old ones. What is not recorded now is recorded by the worker
    /// that begins the task, and by the next redrive.
    async fn send(&self, successors: &[Successor]) -> Result<()> {
        let messages: Vec<Outgoing> = successors.iter().map(|(_, _, message)| message.clone()).collect();
        self.queue.send(&messages).await?;
        let entries: Vec<TaskEntry> = successors.iter().map(|(_, entry, _)| entry.clone()).collect();
        if let Err(error) = self.history.record(&entries).await {
            tracing::warn!(code = error.code(), %error, tasks = entries.len(), "redriven tasks are in the queue, but could not be recorded in the ledger");
            return Ok(());
        }
        let links: Vec<_> = successors
            .iter()
            .map(|(old, new, _)| self.history.redriven(old, &new.id))
            .collect();
        stream::iter(links)
            .buffer_unordered(PARALLEL_LINKS)
            .try_collect::<()>()
            .await
    }

    /// New tasks by their new execution, the newest first.
    async fn to_redrive(
        &self,
        execution: Option<&str>,
        code: Option<&str>,
    ) -> Result<Vec<(Execution, Vec<Successor>)>> {
        let of = |all: By| execution.map_or(all, |id| By::Execution(id.to_owned()));
        let mut ended = Vec::new();
        for (by, state) in [
            (of(By::Failed), TaskState::Failed),
            (of(By::Newest), TaskState::Cancelled),
        ] {
            let mut query = TaskQuery::new(by).in_state(state);
            query.filter.is_redriven = Some(false);
            query.filter.code = code.map(str::to_owned);
            ended.extend(list_entries(self.history.as_ref(), &query).await?);
        }
        ended.sort_by_key(|entry| std::cmp::Reverse(entry.created));
        let mut groups: Vec<(Execution, Vec<Successor>)> = Vec::new();
        let mut next: HashMap<String, Execution> = HashMap::new();
        for old in ended {
            let execution = match next.get(&old.execution.id) {
                Some(execution) => execution,
                None => &*next
                    .entry(old.execution.id.clone())
                    .or_insert(self.execution_after(&old).await?),
            };
            let Some(successor) = successor(old, execution) else {
                continue;
            };
            match groups.iter_mut().find(|(known, _)| known.id == execution.id) {
                Some((_, group)) => group.push(successor),
                None => groups.push((execution.clone(), vec![successor])),
            }
        }
        for (execution, successors) in &mut groups {
            let known = self.known(&execution.id).await?;
            let (done, new): (Vec<_>, Vec<_>) = std::mem::take(successors)
                .into_iter()
                .partition(|(_, entry, _)| known.contains(&entry.id));
            *successors = new;
            // A redrive that was cut short, or an earlier release, recorded them alone.
            for (old, entry, _) in &done {
                self.history.redriven(old, &entry.id).await?;
            }
        }
        Ok(groups)
    }

    /// The execution of the tasks that repeat those of the execution of `old`: always the same, unless that one was cancelled.
    async fn execution_after(&self, old: &TaskEntry) -> Result<Execution> {
        let created = now(self.clock.as_ref());
        let mut next = id("e", &["redrive", &old.execution.id]);
        while self.cancels.is_marked(&next, created).await? {
            next = id("e", &["redrive", &next]);
        }
        Ok(Execution {
            id: next,
            rule: old.execution.rule.clone(),
            trigger: Trigger::Manual,
            created,
        })
    }

    /// The tasks that are recorded of an execution.
    async fn known(&self, execution: &str) -> Result<HashSet<String>> {
        let query = TaskQuery::new(By::Execution(execution.to_owned()));
        let records = list_tasks(self.history.as_ref(), &query, 0).await?;
        Ok(records.into_iter().map(|record| record.id).collect())
    }
}

/// The message of a task as it was recorded. [`None`], logged, if another release recorded it.
fn again(entry: &TaskEntry) -> Option<Outgoing> {
    let read = entry.envelope().inspect_err(|error| {
        tracing::error!(code = error.code(), %error, task = entry.id, "a task cannot be sent again");
    });
    let delay = Duration::ZERO;
    let envelope = read.ok()?;
    Some(Outgoing { envelope, delay })
}

/// The old task, the new one, and the message that begins it.
type Successor = (TaskEntry, TaskEntry, Outgoing);

/// The task that takes the place of `old`: the same work, not begun. [`None`], logged, if another release recorded it.
fn successor(old: TaskEntry, execution: &Execution) -> Option<Successor> {
    let read = old.envelope();
    let read = read.inspect_err(|error| {
        tracing::error!(code = error.code(), %error, task = old.id, "a task cannot be redriven");
    });
    let job = read.ok()?.job.restarted(id("t", &["redrive", &old.id]), execution);
    let entry = TaskEntry {
        redrive_of: Some(old.id.clone()),
        ..job.task()?
    };
    let delay = Duration::ZERO;
    let envelope = Envelope::new(job);
    Some((old, entry, Outgoing { envelope, delay }))
}
