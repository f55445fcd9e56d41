//! Tasks as the ledger records them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Digest, Error, Result, Verb};

use crate::ledger::TaskEntry;
use crate::{Envelope, Execution};

impl TaskEntry {
    /// A copy from `origin` to `registry`; `source` and `destination` are texts for lists. It has no digest, no repositories and is
    /// not an attachment, until the job says so.
    pub(crate) fn new(
        id: &str,
        execution: &Execution,
        origin: &str,
        source: String,
        registry: &str,
        destination: String,
        job: String,
    ) -> Self {
        Self {
            id: id.to_owned(),
            execution: execution.clone(),
            action: Action::Copy,
            created: execution.created,
            origin: origin.to_owned(),
            source_repository: None,
            is_attachment: false,
            source,
            destination_registry: registry.to_owned(),
            destination_repository: None,
            destination,
            digest: None,
            redrive_of: None,
            job,
        }
    }

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

/// Makes an enum of the words that the contract uses, and its conversions from and to text.
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

pub(crate) use words;

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
    /// When its attempt began, while running. A worker that ended since then says nothing: the message comes to another one.
    pub began: Option<Timestamp>,
    /// Time of the next attempt, while waiting.
    pub next: Option<Timestamp>,
    /// Time of the end.
    pub finished: Option<Timestamp>,
    /// Bytes by how they came to the destination.
    pub bytes: Counts,
    /// The task that this one repeats.
    pub redrive_of: Option<String>,
    /// The task that repeats this one.
    pub redriven_by: Option<String>,
}
