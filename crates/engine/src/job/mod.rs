//! What the queue carries: an [`Envelope`] around one [`Job`]. A message is JSON and complete: a worker needs the ledger only
//! as memory.
//!
//! To add a kind of job: write its file with the payload and [`JobKind`], and add a line to the table [`jobs!`]. Queues,
//! worker loops and the dead-letter side do not know the kinds.

mod compare;
mod copy;
mod delete;
mod due;
mod list;
mod run;
mod scan;
mod sweep;
mod version1;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_copy::{Progress, TimeBudget};
use transship_oci::{Code, Error, Result, Verb};

pub use compare::CompareSites;
pub use copy::{CopyTask, Ids, Policy, Source};
pub use delete::DeleteTask;
pub use due::Due;
pub use list::ListPrefix;
pub use run::RunRule;
pub use scan::Scan;
pub use sweep::{Cursor, Sweep, SweepStep};

use crate::jobs::Jobs;
use crate::{Execution, TaskEntry};

/// The version of [`Envelope`] as JSON that this release writes. It also reads version 1.
pub const ENVELOPE_VERSION: u32 = 2;

/// The largest message that is sent, in bytes: the limit that every queue accepts.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The longest wait of a message. Registries are believed up to a day.
pub(crate) const WAIT_MAX: Duration = Duration::from_hours(25);

/// A message of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`ENVELOPE_VERSION`].
    pub version: u32,
    /// How often this job was sent again as a new message since it last made progress.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// The number of the last tries, one after another, in which nothing could be decided.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undecided: u32,
    /// The job does not begin before this time. For waits that are longer than the queue can delay a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When that wait began. If it began later than now, the clock was ahead and the wait is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_since: Option<Timestamp>,
    /// The host whose pause the job waits for. When an operator ends the pause, the job may begin at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The trace context of what caused the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The version of the document under which the job was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// What to do.
    pub job: Job,
}

/// A message on its way into the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What is sent, as JSON.
    pub envelope: Envelope,
    /// The message is not received before this long from now.
    pub delay: Duration,
}

/// What happens with a message after a worker worked on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is done: remove it.
    Done,
    /// Send these messages, then remove it.
    Send(Vec<Outgoing>),
    /// Work on it again after this long.
    Again(Duration),
    /// Work on it again after this long, or as soon as an operator ends the pause of this host.
    AgainWhenResumed(String, Duration),
}

/// One delivery of a job to a worker.
pub(crate) struct Run {
    /// See [`Envelope::tries`].
    pub(crate) tries: u32,
    /// Listens to the copy.
    pub(crate) progress: Arc<dyn Progress>,
    /// When this worker has to stop; [`None`]: never.
    pub(crate) budget: Option<TimeBudget>,
}

/// What a kind of job defines.
pub(crate) trait JobKind: Serialize + Sized {
    /// The word in [`Job`]'s JSON.
    const NAME: &'static str;

    /// Another message will do the same work later, so a message that cannot be worked on now need not be kept.
    const IS_PERIODIC: bool = false;

    /// What an operator can do if no worker survives the job.
    const CRASH_ADVICE: &'static str = "see their logs, then redrive the task";

    /// The fairness group: jobs of one group do not keep those of others waiting.
    fn group(&self) -> &str;

    /// What the job reads: a registry, a store, or the rule of a sweep; [`None`]: nothing that can keep a worker waiting.
    fn origin(&self) -> Option<&str>;

    /// The task as which the ledger records the job, or its failure; [`None`]: it is never recorded.
    fn task(&self) -> Option<TaskEntry>;

    /// The execution that the job belongs to, if it belongs to one.
    fn execution(&self) -> Option<&Execution> {
        None
    }

    /// The same, to be changed.
    fn execution_mut(&mut self) -> Option<&mut Execution> {
        None
    }

    /// The same job as task `id` of `execution`.
    fn restarted(self, id: String, execution: &Execution) -> Self;

    /// Works on the job. An error: nothing is decided, the message is to be worked on again.
    fn run(&self, jobs: &Jobs, run: Run) -> impl Future<Output = Result<Next>> + Send;
}

macro_rules! jobs {
    ($($(#[$doc:meta])* $variant:ident($payload:ty)),+ $(,)?) => {
        /// What a message asks for.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum Job { $($(#[$doc])* $variant($payload)),+ }

        $(impl From<$payload> for Job {
            fn from(payload: $payload) -> Self {
                Self::$variant(payload)
            }
        })+

        impl Job {
            /// The word in the JSON.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$payload as JobKind>::NAME),+ }
            }

            /// True if another message will do the same work later, so that this one need not be kept.
            pub const fn is_periodic(&self) -> bool {
                match self { $(Self::$variant(_) => <$payload as JobKind>::IS_PERIODIC),+ }
            }

            /// The fairness group: jobs of one group do not keep those of others waiting.
            pub fn group(&self) -> &str {
                match self { $(Self::$variant(job) => job.group()),+ }
            }

            /// What the job reads: a registry, a store, or the rule of a sweep; [`None`]: nothing that can keep a worker waiting.
            pub fn origin(&self) -> Option<&str> {
                match self { $(Self::$variant(job) => job.origin()),+ }
            }

            /// The task as which the ledger records the job, or its failure; [`None`]: it is never recorded.
            pub fn task(&self) -> Option<TaskEntry> {
                match self { $(Self::$variant(job) => job.task()),+ }
            }

            /// The execution that the job belongs to, if it belongs to one.
            pub fn execution(&self) -> Option<&Execution> {
                match self { $(Self::$variant(job) => job.execution()),+ }
            }

            pub(crate) fn execution_mut(&mut self) -> Option<&mut Execution> {
                match self { $(Self::$variant(job) => job.execution_mut()),+ }
            }

            /// What an operator can do if no worker survives the job.
            pub const fn crash_advice(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$payload as JobKind>::CRASH_ADVICE),+ }
            }

            /// The same job as task `id` of `execution`.
            pub(crate) fn restarted(self, id: String, execution: &Execution) -> Self {
                match self { $(Self::$variant(job) => Self::$variant(job.restarted(id, execution))),+ }
            }

            pub(crate) async fn run(&self, jobs: &Jobs, run: Run) -> Result<Next> {
                match self { $(Self::$variant(job) => Box::pin(job.run(jobs, run)).await),+ }
            }
        }
    };
}

jobs! {
    /// Copy one image.
    Copy(CopyTask),
    /// Delete one tag.
    Delete(DeleteTask),
    /// Turn the images of one source in a store into tasks.
    Scan(Scan),
    /// Find the sources below a prefix of a store.
    List(ListPrefix),
    /// Walk the existing images of a rule.
    Run(RunRule),
    /// Start what schedules ask for.
    Due(Due),
    /// Compare the sites of a failover group.
    CompareSites(CompareSites),
    /// Find what was missed.
    Sweep(Sweep),
}

impl Envelope {
    /// The first message of a job.
    pub fn new(job: impl Into<Job>) -> Self {
        Self {
            version: ENVELOPE_VERSION,
            tries: 0,
            undecided: 0,
            not_before: None,
            waits_since: None,
            waits_for: None,
            trace: None,
            document: None,
            job: job.into(),
        }
    }

    /// Reads a message of this version or of version 1. `MESSAGE_INVALID` for anything else.
    pub fn parse(body: &str) -> Result<Self> {
        let value: serde_json::Value = serde_json::from_str(body).map_err(|error| invalid(error.to_string()))?;
        let read = match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(1) => version1::read(value),
            Some(2) => serde_json::from_value(value),
            Some(version) => {
                return Err(invalid(format!(
                    "version {version}, but this release reads versions up to {ENVELOPE_VERSION}"
                )));
            }
            None => return Err(invalid("it has no version".into())),
        };
        read.map_err(|error| invalid(error.to_string()))
    }

    /// The JSON. `MESSAGE_INVALID` if it is larger than [`MESSAGE_BYTES_MAX`].
    pub fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|error| unsendable(error.to_string()))?;
        if json.len() > MESSAGE_BYTES_MAX {
            return Err(unsendable(format!(
                "{} bytes, but a message holds at most {MESSAGE_BYTES_MAX}",
                json.len()
            )));
        }
        Ok(json)
    }

    /// How long the job is not to begin yet. A wait that a clock which was ahead recorded is over.
    pub fn is_early(&self, now: Timestamp) -> Option<Duration> {
        let early = Duration::try_from(self.not_before?.duration_since(now)).ok()?;
        let is_possible = self.waits_since.is_none_or(|since| since <= now) && early <= WAIT_MAX;
        (is_possible && !early.is_zero()).then_some(early)
    }

    /// The message as it waits on, until [`Envelope::not_before`] is `delay` from `now`.
    #[must_use]
    pub fn waiting(mut self, delay: Duration, now: Timestamp) -> Self {
        let until = now.checked_add(delay).unwrap_or(Timestamp::MAX);
        if self.not_before.is_none_or(|known| known < until) {
            self.not_before = Some(until);
            self.waits_since = Some(now);
        }
        self
    }

    /// The same message, received at `now`. A job that was accepted later than now counts as accepted now, because a clock was
    /// ahead: otherwise the job would be tried until that time.
    #[must_use]
    pub fn received(mut self, now: Timestamp) -> Self {
        if let Some(execution) = self.job.execution_mut() {
            execution.created = execution.created.min(now);
        }
        self
    }

    /// The message that follows this one after a try, to be received after `delay`.
    #[must_use]
    pub fn again(self, delay: Duration) -> Outgoing {
        Outgoing {
            envelope: Self {
                tries: self.tries.saturating_add(1),
                undecided: 0,
                not_before: None,
                waits_since: None,
                waits_for: None,
                ..self
            },
            delay,
        }
    }

    /// The same after a try in which nothing could be decided.
    #[must_use]
    pub fn again_undecided(self, delay: Duration) -> Outgoing {
        let undecided = self.undecided.saturating_add(1);
        let mut next = self.again(delay);
        next.envelope.undecided = undecided;
        next
    }
}

impl Outgoing {
    /// The first message of a job, to be received at once.
    pub fn now(job: impl Into<Job>) -> Self {
        Self::later(job, Duration::ZERO)
    }

    /// The same, to be received after `delay`.
    pub fn later(job: impl Into<Job>, delay: Duration) -> Self {
        Self {
            envelope: Envelope::new(job),
            delay,
        }
    }

    /// The same with [`Envelope::waits_for`].
    #[must_use]
    pub fn waiting_for(mut self, host: Option<String>) -> Self {
        self.envelope.waits_for = host;
        self
    }

    /// The same with [`Envelope::tries`].
    #[must_use]
    pub fn with_tries(mut self, tries: u32) -> Self {
        self.envelope.tries = tries;
        self
    }
}

/// A job as the ledger keeps it: the JSON of its first message. Names and numbers always have a JSON.
pub(crate) fn stored<J: JobKind>(job: &J) -> String {
    #[derive(Serialize)]
    struct Tagged<'a, J> {
        kind: &'static str,
        #[serde(flatten)]
        payload: &'a J,
    }
    #[derive(Serialize)]
    struct First<'a, J> {
        version: u32,
        job: Tagged<'a, J>,
    }
    let job = Tagged {
        kind: J::NAME,
        payload: job,
    };
    let version = ENVELOPE_VERSION;
    serde_json::to_string(&First { version, job }).unwrap_or_default()
}

fn invalid(why: String) -> Error {
    Error::of(Code::MessageInvalid, Verb::Message).because(why)
}

fn unsendable(why: String) -> Error {
    Error::of(Code::MessageInvalid, Verb::Queue.on("send")).because(why)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
pub(crate) const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
