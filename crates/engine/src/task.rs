//! Tasks, executions and replicas as the ledger records them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Digest, Error, Result, Verb};

use crate::ledger::TaskEntry;
use crate::{Envelope, ImageRef};

impl TaskEntry {
    /// The first message of the job. `MESSAGE_INVALID` if another release wrote it.
    pub fn envelope(&self) -> Result<Envelope> {
        Envelope::parse(&self.job)
    }

    /// Reads what an earlier release stored: the task alone.
    pub fn of_stored(json: &str) -> Result<Self> {
        if let Ok(entry) = serde_json::from_str(json) {
            return Ok(entry);
        }
        let entry = Envelope::parse(json)?.job.task();
        entry.ok_or_else(|| Error::of(Code::MessageInvalid, Verb::Ledger).because("it is not a task"))
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The word in the contract.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Parses the word in the contract.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

words!(
    /// What a task does.
    Action {
        /// Make the destination equal to the source.
        Copy = "copy",
        /// Remove the destination tag.
        Delete = "delete",
    }
);

words!(
    /// What started an execution.
    Trigger {
        /// A registry's notification.
        Event = "event",
        /// An operator.
        Manual = "manual",
        /// A schedule.
        Schedule = "schedule",
        /// Layouts in a bucket or folder.
        Import = "import",
    }
);

words!(
    /// State of a task. The last six are terminal and written once.
    TaskState {
        /// Not started.
        Queued = "queued",
        /// An attempt is in progress, or its worker disappeared.
        Running = "running",
        /// The task will be retried at a known time.
        Waiting = "waiting",
        /// The destination became equal to the source.
        Succeeded = "succeeded",
        /// The destination was already equal to the source.
        Unchanged = "unchanged",
        /// The destination has another image, which the rule does not replace.
        Kept = "kept",
        /// Nothing to do: the rule does not select this kind of content, or the subject of a referrer is not replicated.
        Skipped = "skipped",
        /// The task failed, with a code.
        Failed = "failed",
        /// An operator cancelled the task.
        Cancelled = "cancelled",
    }
);

impl TaskState {
    /// True for a state that is written once and never changes.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Waiting)
    }

    /// True for every terminal state except failed and cancelled.
    pub const fn is_success(self) -> bool {
        self.is_terminal() && !matches!(self, Self::Failed | Self::Cancelled)
    }
}

words!(
    /// State of an execution, derived from its tasks.
    ExecutionState {
        /// A task is not terminal.
        Running = "running",
        /// All ended well.
        Succeeded = "succeeded",
        /// Some failed.
        Partial = "partial",
        /// All failed.
        Failed = "failed",
    }
);

impl ExecutionState {
    /// The state of an execution with `total` tasks, of which `terminal` ended and `succeeded` ended well.
    pub const fn derive(total: u64, terminal: u64, succeeded: u64) -> Self {
        if terminal < total {
            Self::Running
        } else if succeeded == total {
            Self::Succeeded
        } else if succeeded == 0 {
            Self::Failed
        } else {
            Self::Partial
        }
    }
}

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

/// Bytes and blobs a task moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Sent.
    pub copied: u64,
    /// Taken by the registry from another repository.
    pub mounted: u64,
    /// There already.
    pub skipped: u64,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// A terminal state.
    pub state: TaskState,
    /// The digest at the destination, where there is one.
    pub digest: Option<Digest>,
    /// A stable code, always set for failed, kept and skipped tasks.
    pub code: Option<String>,
    /// The message for the code. It never contains a secret.
    pub message: Option<String>,
    /// What moved.
    pub bytes: Counts,
    /// When the task ended.
    pub finished: Timestamp,
}

/// A task in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRecord {
    /// See [`TaskEntry::id`].
    pub id: String,
    /// The id of its execution.
    pub execution: String,
    /// The rule.
    pub rule: String,
    /// See [`TaskEntry::action`].
    pub action: Action,
    /// `registry/repository:tag` with the registry's name in the document.
    pub source: String,
    /// The same for the destination.
    pub destination: String,
    /// The digest that the task wrote; before it ended, the digest of the event.
    pub digest: Option<Digest>,
    /// The state.
    pub state: TaskState,
    /// The code of the result, or of the last attempt.
    pub code: Option<String>,
    /// The message for the code.
    pub message: Option<String>,
    /// Number of attempts.
    pub attempts: u32,
    /// When the event was received.
    pub created: Timestamp,
    /// Time of the next attempt, while waiting.
    pub next: Option<Timestamp>,
    /// Time of the end.
    pub finished: Option<Timestamp>,
    /// Bytes by how they came to the destination.
    pub bytes: Counts,
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
}

/// The record of what Transship wrote to a destination tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The tag that was written (or, for a referrer, its digest).
    pub destination: ImageRef,
    /// The image it was copied from; [`None`]: it came from a store.
    pub source: Option<ImageRef>,
    /// The digest that Transship wrote to the tag.
    pub digest: Digest,
    /// Earlier digests that the tag may still have, because the write of `digest` is not known to have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Digest>,
    /// Every manifest of the image, including the root. A referrer of any of them is copied to this destination.
    pub manifests: Vec<Digest>,
    /// The rule.
    pub rule: String,
    /// When the tag was written.
    pub written: Timestamp,
}

impl Replica {
    /// True if the destination tag may name `found` by our hand.
    pub fn is_ours(&self, found: &Digest) -> bool {
        self.digest == *found || self.earlier.contains(found)
    }
}
