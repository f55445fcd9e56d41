//! Cancel: stops an execution for an operator.
//!
//! The mark is written first, so that work that begins from now on ends by itself, and then the tasks that have not begun are
//! ended here. A task that is being worked on is ended by its worker, which looks at the mark about once a second and before it
//! writes a tag. What must hold: each task ends once; and two cancels, or a cancel and a redrive, may run at the
//! same time.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use transship_copy::Clock;
use transship_oci::Code;

use crate::ledger::{By, Cancels, Cursor, History, TaskEntry, TaskQuery};
use crate::operations::find_execution;
use crate::send::now;
use crate::{Counts, ExecutionState, Outcome, Result, TaskState};

/// Tasks that are read at once.
const PAGE_TASKS: usize = 100;
/// Tasks that are ended at the same time.
const PARALLEL_ENDS: usize = 8;

/// Cancels executions.
pub struct Cancel {
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// The marks of cancelled executions.
    pub cancels: Cancels,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// No worker is at work, and none can begin: a task that is recorded as running has no worker any more.
    pub is_idle: bool,
}

/// Result of a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cancelled {
    /// The id of the execution.
    pub execution: String,
    /// Its state now. It is `running` until the workers have stopped.
    pub state: ExecutionState,
    /// Number of tasks that this call ended.
    pub cancelled: usize,
    /// Number of tasks whose workers are still to stop.
    pub running: usize,
}

impl Cancel {
    /// Cancels `execution`. [`None`] if the history has none with this id. Nothing changes if it has ended.
    pub async fn run(&self, execution: &str) -> Result<Option<Cancelled>> {
        let Some(found) = find_execution(self.history.as_ref(), execution).await? else {
            return Ok(None);
        };
        let has_ended = !matches!(found.state, ExecutionState::Running | ExecutionState::Waiting);
        if has_ended {
            return Ok(Some(Cancelled {
                execution: found.id,
                state: found.state,
                cancelled: 0,
                running: 0,
            }));
        }
        let now = now(self.clock.as_ref());
        self.cancels.mark(execution, now).await?;
        let mut cancelled = 0;
        let running = TaskState::Running;
        let not_begun = [TaskState::Queued, TaskState::Waiting];
        for state in not_begun.into_iter().chain(self.is_idle.then_some(running)) {
            cancelled += self.end_all(execution, state, now).await?;
        }
        let left = self.history.tasks(&query(execution, running), None, PAGE_TASKS).await?;
        let state = find_execution(self.history.as_ref(), execution).await?;
        Ok(Some(Cancelled {
            execution: found.id,
            state: state.map_or(found.state, |record| record.state),
            cancelled,
            running: left.items.len(),
        }))
    }

    /// Ends the tasks in `state`, and returns their number.
    async fn end_all(&self, execution: &str, state: TaskState, now: Timestamp) -> Result<usize> {
        let query = query(execution, state);
        let (mut ended, mut after): (usize, Option<Cursor>) = (0, None);
        loop {
            let page = self.history.entries(&query, after.as_ref(), PAGE_TASKS).await?;
            let ends: Vec<_> = page.items.iter().map(|entry| self.end(entry, now)).collect();
            let ends: Vec<bool> = stream::iter(ends).buffer_unordered(PARALLEL_ENDS).try_collect().await?;
            ended += ends.into_iter().filter(|was_ended| *was_ended).count();
            after = page.next;
            if after.is_none() {
                return Ok(ended);
            }
        }
    }

    /// False if the task had ended.
    async fn end(&self, entry: &TaskEntry, finished: Timestamp) -> Result<bool> {
        let code = Code::ExecutionCancelled;
        let outcome = Outcome {
            state: TaskState::Cancelled,
            digest: None,
            code: Some(code.as_str().to_owned()),
            message: Some(code.meaning().to_owned()),
            bytes: Counts::default(),
            finished,
        };
        self.history.finish(entry, &outcome, &[], "").await
    }
}

fn query(execution: &str, state: TaskState) -> TaskQuery {
    TaskQuery::new(By::Execution(execution.to_owned())).in_state(state)
}
