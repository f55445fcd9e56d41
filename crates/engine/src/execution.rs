//! Executions as the ledger records them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::RunProgress;
use crate::task::words;

/// The group of tasks that one trigger started under one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Deterministic, as the ids of its tasks.
    pub id: String,
    /// The rule.
    pub rule: String,
    /// What started it.
    pub trigger: Trigger,
    /// When the execution was created.
    pub created: Timestamp,
}

words!(
    /// What started an execution.
    Trigger {
        /// A registry's notification.
        Event = "event",
        /// An operator.
        Manual = "manual",
        /// A schedule of a rule.
        Schedule = "schedule",
        /// A sweep, which found what no notification reported.
        Sweep = "sweep",
        /// Layouts in a bucket or folder.
        Import = "import",
    }
);

words!(
    /// State of an execution, derived from its tasks.
    ExecutionState {
        /// A task is not terminal.
        Running = "running",
        /// Every task that is not terminal waits. Lists of operators find this out, see [`crate::operations`].
        Waiting = "waiting",
        /// All ended well.
        Succeeded = "succeeded",
        /// Some failed.
        Partial = "partial",
        /// None ended well.
        Failed = "failed",
        /// All ended, and some were cancelled.
        Cancelled = "cancelled",
        /// A run that did not begin, because another one of its rule was active. Lists of operators find this out as well.
        Skipped = "skipped",
    }
);

impl ExecutionState {
    /// The state of an execution with `total` tasks, of which `terminal` ended, `succeeded` of them well, and `cancelled` of them
    /// because they were cancelled.
    pub const fn derive(total: u64, terminal: u64, succeeded: u64, cancelled: u64) -> Self {
        if terminal < total {
            Self::Running
        } else if succeeded == total {
            Self::Succeeded
        } else if cancelled > 0 {
            Self::Cancelled
        } else if succeeded == 0 {
            Self::Failed
        } else {
            Self::Partial
        }
    }
}

/// Numbers of tasks of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TaskCounts {
    /// All that are recorded.
    pub total: u64,
    /// Those that ended well.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
}

impl TaskCounts {
    /// The counts where `ended` of `total` tasks have ended, `succeeded` of them well.
    pub const fn of(total: u64, ended: u64, succeeded: u64, cancelled: u64) -> Self {
        Self {
            total,
            succeeded,
            failed: ended.saturating_sub(succeeded).saturating_sub(cancelled),
            cancelled,
        }
    }
}

/// An execution in lists. Everything except its first four fields is derived from its tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecutionRecord {
    /// See [`Execution::id`].
    pub id: String,
    /// See [`Execution::rule`].
    pub rule: String,
    /// See [`Execution::trigger`].
    pub trigger: Trigger,
    /// See [`Execution::created`].
    pub created: Timestamp,
    /// From creation to the end of the last task; [`None`] while running.
    pub duration_ms: Option<u64>,
    /// Derived.
    pub state: ExecutionState,
    /// Ratio of tasks that ended well to all tasks, 0 to 1.
    pub success_ratio: f64,
    /// Number of distinct destination repositories.
    pub repositories: u64,
    /// Number of bytes sent and mounted.
    pub bytes: u64,
    /// Number of tasks, by how they stand.
    pub tasks: TaskCounts,
    /// What a run found so far; [`None`] for every other execution, and where nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunProgress>,
    /// The code of what a waiting execution waits for.
    pub code: Option<String>,
    /// The message for the code.
    pub message: Option<String>,
}
