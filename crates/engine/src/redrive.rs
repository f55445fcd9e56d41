//! Redrive: tasks that failed or were cancelled are begun anew, by an operator's hand.
//!
//! A task that ended stays as it ended; another one, whose id follows from the old one's, takes its place. So doing it twice
//! does it once, and a redriven task that fails in its turn can be redriven in its turn.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use transship_copy::Clock;

use crate::dispatch::dispatch;
use crate::memory::now;
use crate::plan::id;
use crate::{Execution, Ledger, Task, TaskFilter, TaskQueue, TaskState, Trigger};
use transship_oci::Result;

/// Messages that are sent at once.
const BATCH: usize = 100;

/// Begins tasks anew.
pub struct Redrive {
    /// Where they are remembered.
    pub ledger: Arc<dyn Ledger>,
    /// Where they become durable.
    pub queue: Arc<dyn TaskQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What was begun anew.
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
        for (execution, tasks) in &mut groups {
            tasks.truncate(left);
            left -= tasks.len();
            for batch in tasks.chunks(BATCH) {
                dispatch(self.queue.as_ref(), self.ledger.as_ref(), execution, batch).await?;
            }
            if !tasks.is_empty() {
                redriven.redriven += tasks.len();
                redriven.executions.push(execution.id.clone());
            }
        }
        Ok(redriven)
    }

    /// New tasks by their new execution, the newest first.
    async fn to_redrive(&self, execution: Option<&str>) -> Result<Vec<(Execution, Vec<Task>)>> {
        let mut ended = Vec::new();
        for state in [TaskState::Failed, TaskState::Cancelled] {
            let filter = TaskFilter {
                execution: execution.map(str::to_owned),
                state: Some(state),
                limit: 0,
            };
            ended.extend(self.ledger.originals(&filter).await?);
        }
        ended.sort_by_key(|task| std::cmp::Reverse(task.created));
        let mut groups: Vec<(Execution, Vec<Task>)> = Vec::new();
        for old in ended {
            let execution = self.execution_after(&old);
            let task = successor(old, &execution);
            match groups.iter_mut().find(|(known, _)| known.id == execution.id) {
                Some((_, tasks)) => tasks.push(task),
                None => groups.push((execution, vec![task])),
            }
        }
        for (execution, tasks) in &mut groups {
            let known = self.known(&execution.id).await?;
            tasks.retain(|task| !known.contains(&task.id));
        }
        Ok(groups)
    }

    fn execution_after(&self, old: &Task) -> Execution {
        Execution {
            id: id("e", &["redrive", &old.execution]),
            rule: old.rule.clone(),
            trigger: Trigger::Manual,
            created: now(self.clock.as_ref()),
        }
    }

    /// The tasks that are recorded of an execution.
    async fn known(&self, execution: &str) -> Result<HashSet<String>> {
        let filter = TaskFilter {
            execution: Some(execution.to_owned()),
            ..TaskFilter::default()
        };
        let records = self.ledger.tasks(&filter).await?;
        Ok(records.into_iter().map(|record| record.id).collect())
    }
}

/// The task that takes the place of `old`: the same work, not begun.
fn successor(old: Task, execution: &Execution) -> Task {
    Task {
        id: id("t", &["redrive", &old.id]),
        execution: execution.id.clone(),
        trigger: execution.trigger,
        created: execution.created,
        hops: 0,
        not_before: None,
        ..old
    }
}
