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
            /// The word of the contract.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Reads the word of the contract.
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
    /// Where a task stands. The last five are terminal and written once.
    TaskState {
        /// Not started.
        Queued = "queued",
        /// An attempt is under way, or its worker vanished.
        Running = "running",
        /// To be tried again at a known time.
        Waiting = "waiting",
        /// The destination became equal to the source.
        Succeeded = "succeeded",
        /// It was equal already.
        Unchanged = "unchanged",
        /// The destination holds something the rule does not let us replace.
        Kept = "kept",
        /// Nothing to do: the rule does not let this kind pass, or a referrer's subject is not replicated.
        Skipped = "skipped",
        /// It cannot be done; the code says why.
        Failed = "failed",
        /// An operator ended it.
        Cancelled = "cancelled",
    }
);

impl TaskState {
    /// True for a state that is written once and never changes.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Waiting)
    }

    /// True for a terminal state in which all is as it should be: everything but failed and cancelled.
    pub const fn is_success(self) -> bool {
        self.is_terminal() && !matches!(self, Self::Failed | Self::Cancelled)
    }
}

words!(
    /// Where an execution stands: derived from its tasks.
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
    /// The state of an execution of `total` tasks of which `terminal` ended, `succeeded` of them well.
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
    /// When.
    pub created: Timestamp,
}

/// Bytes and blobs a task moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bytes {
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
    /// A stable code where something is to be said: always for failed, kept and skipped.
    pub code: Option<String>,
    /// The sentence behind the code. Never holds a secret.
    pub message: Option<String>,
    /// What moved.
    pub bytes: Bytes,
    /// When.
    pub finished: Timestamp,
}

/// A task as the ledger tells it.
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
    /// What is at the destination now by this task; before it ended, the event's hint.
    pub digest: Option<Digest>,
    /// Where it stands.
    pub state: TaskState,
    /// Of the end, or of the last attempt that must be repeated.
    pub code: Option<String>,
    /// The sentence behind the code.
    pub message: Option<String>,
    /// How often it was begun.
    pub attempts: u32,
    /// When the event was received.
    pub created: Timestamp,
    /// When it is tried next, while waiting.
    pub next: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What it moved.
    pub bytes: Bytes,
}

/// An execution as the ledger tells it; everything but its first four fields is derived from its tasks.
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
    /// Tasks that ended well by all tasks, 0 to 1.
    pub success_ratio: f64,
    /// Distinct destination repositories.
    pub repositories: u64,
    /// Bytes sent and mounted.
    pub bytes: u64,
}

/// What we wrote to a destination tag, and what it consisted of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The tag that was written (or, for a referrer, its digest).
    pub destination: ImageRef,
    /// The image it was copied from; [`None`]: it came from a store.
    pub source: Option<ImageRef>,
    /// The manifest the tag names by our hand.
    pub digest: Digest,
    /// What the tag may name still, by our hand too: a write of `digest` was begun and is not known to have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Digest>,
    /// Every manifest of the image, the root among them: a referrer of any of them follows this replica.
    pub manifests: Vec<Digest>,
    /// By which rule.
    pub rule: String,
    /// When.
    pub written: Timestamp,
}

impl Replica {
    /// True if the destination tag may name `found` by our hand.
    pub fn is_ours(&self, found: &Digest) -> bool {
        self.digest == *found || self.earlier.contains(found)
    }
}
