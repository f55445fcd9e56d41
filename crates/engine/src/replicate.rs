//! Replicate: one task, one attempt, and what becomes of its message.
//!
//! The tag is resolved now, whatever the event said. An error that may pass puts the task back with a delay; one that cannot
//! ends it at once; both are recorded with their code before the message is given up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{counter, histogram};
use transship_copy::{Clock, Progress, Slot};

use crate::memory::now;
use crate::patience::{SHORTEST, tries};
use crate::{Begin, Configuration, Imports, Ledger, Message, Outcome, Patience, Replica, Task, TaskQueue, TaskState};
use transship_oci::Result;

/// How often a task may be sent on as a new message. A worker that hands over every 54 seconds works 15 hours within it.
pub const HOPS_MAX: u32 = 1000;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It is done: remove it.
    Done,
    /// Give it back, to be received after this long.
    Again(Duration),
}

/// Works on tasks.
pub struct Replicator {
    /// The document in force.
    pub configuration: Configuration,
    /// The memory.
    pub ledger: Arc<dyn Ledger>,
    /// Where a sweep sends what was missed, and a look what it found.
    pub queue: Arc<dyn TaskQueue>,
    /// What tasks of imports read.
    pub imports: Arc<Imports>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long tasks are tried.
    pub patience: Patience,
    /// Tells this worker from others: the holder of its leases.
    pub worker: String,
}

/// How an attempt ended.
pub(crate) enum Ended {
    Outcome(Outcome, Vec<Replica>),
    Later {
        code: String,
        message: String,
        after: Option<Duration>,
    },
}

impl Replicator {
    /// Works on one message of the queue, within `slot`. A message that is none of ours is an error, and stays one.
    pub async fn message(&self, body: &str, progress: Arc<dyn Progress>, slot: Option<Slot>) -> Result<Disposition> {
        match Message::parse(body)? {
            Message::Task(task) => match &task.look {
                Some(orders) => self.look(&task, orders, slot).await,
                None => self.replicate(&task, progress, slot).await,
            },
            Message::Sweep(sweep) => self.sweep(&sweep, slot).await,
            Message::Search(search) => self.search(&search, slot).await,
        }
    }

    /// One attempt. An error means that the ledger did not answer: nothing is decided, the message comes again.
    #[tracing::instrument(skip_all, fields(execution = task.execution, task = task.id, rule = task.rule))]
    pub async fn replicate(&self, task: &Task, progress: Arc<dyn Progress>, slot: Option<Slot>) -> Result<Disposition> {
        if let Some(early) = self.early(task) {
            return Ok(Disposition::Again(early));
        }
        let attempt = match self.ledger.begin(task, self.now()).await? {
            Begin::Finished(state) => {
                tracing::debug!(%state, "a message came again after its task had ended");
                return Ok(Disposition::Done);
            }
            Begin::Attempt(attempt) => attempt,
        };
        let turn = self.turn_of(task, attempt, slot);
        if let Some(turn) = &turn
            && !self.turn_begin(turn).await?
        {
            tracing::info!(code = "TASK_BUSY", "another worker is at it: this message waits");
            return Ok(Disposition::Again(turn.length.max(SHORTEST)));
        }
        let ended = match self.attempt(task, attempt, progress, slot).await {
            Ok(ended) => ended,
            Err(error) => self.judge(task, tries(task, attempt, slot), &error),
        };
        if let Some(turn) = &turn {
            self.turn_end(turn).await;
        }
        match ended {
            Ended::Outcome(outcome, replicas) => self.end(task, &outcome, &replicas).await,
            Ended::Later { code, message, .. } if self.is_out_of_patience(task, attempt) => {
                self.end(task, &self.failed(&code, message), &[]).await
            }
            Ended::Later { code, message, .. } if task.hops >= HOPS_MAX => {
                let message = format!("it was handed on {HOPS_MAX} times, the last time for {code}: {message}");
                self.end(task, &self.failed("HOPS_EXHAUSTED", message), &[]).await
            }
            Ended::Later { code, message, after } => {
                let delay = self.patience.delay(tries(task, attempt, slot), &task.id, after);
                let next = self.now().checked_add(delay).unwrap_or(Timestamp::MAX);
                tracing::warn!(code, why = message, attempt, ?delay, source = %task.source, destination = %task.destination, "the task is tried again later");
                self.ledger.wait(task, &code, &message, next).await?;
                Ok(Disposition::Again(delay))
            }
        }
    }

    /// How long a task is not to be worked on yet.
    pub(crate) fn early(&self, task: &Task) -> Option<Duration> {
        let early = task.not_before?.duration_since(self.now());
        Duration::try_from(early).ok().filter(|early| !early.is_zero())
    }

    pub(crate) async fn end(&self, task: &Task, outcome: &Outcome, replicas: &[Replica]) -> Result<Disposition> {
        let code = outcome.code.as_deref().unwrap_or_default();
        let message = outcome.message.as_deref().unwrap_or_default();
        let digest = outcome.digest.as_ref().map(ToString::to_string).unwrap_or_default();
        let (state, source, destination) = (outcome.state, &task.source, &task.destination);
        match state {
            TaskState::Failed => tracing::error!(%state, code, why = message, %source, %destination, "the task ended"),
            TaskState::Kept => {
                tracing::warn!(%state, code, why = message, %source, %destination, digest, "the task ended");
            }
            _ => {
                let (bytes_copied, bytes_mounted) = (outcome.bytes.copied, outcome.bytes.mounted);
                tracing::info!(%state, code, %source, %destination, digest, bytes_copied, bytes_mounted, "the task ended");
            }
        }
        if self.ledger.finish(task, outcome, replicas).await? {
            measure(task, outcome);
        }
        Ok(Disposition::Done)
    }

    pub(crate) fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }
}

/// What an operator's graphs are made of; it costs nothing where no recorder is installed.
fn measure(task: &Task, outcome: &Outcome) {
    counter!("Tasks", "State" => outcome.state.as_str()).increment(1);
    counter!("BytesCopied").increment(outcome.bytes.copied);
    counter!("BytesMounted").increment(outcome.bytes.mounted);
    let lag_ms = outcome.finished.duration_since(task.created).as_millis_f64();
    histogram!("ReplicationLag", "Rule" => task.rule.clone()).record(lag_ms.max(0.0));
}
