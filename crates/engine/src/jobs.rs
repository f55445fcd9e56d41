//! Jobs: the parts that every job handler works with, and the way from a message to its handler.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{counter, histogram};
use transship_copy::{Clock, Progress, TimeBudget};
use transship_oci::{Code, Digest, Error, Verb};
use transship_registry::{Quota, Registry};

use crate::failover::Zones;
use crate::job::Run;
use crate::ledger::Ledger;
use crate::send::now;
use crate::{
    Begin, Configuration, Counts, Envelope, Execution, Next, Outcome, Outgoing, Replica, Result, RetryPolicy,
    SourceCache, TaskEntry, TaskQueue, TaskState, Trigger,
};

/// A pause of at least this length is logged as a warning.
const LONG_PAUSE: Duration = Duration::from_mins(5);

/// A job that waits for the end of a pause looks again after this time at the latest, because an operator may end the pause.
const PAUSE_LOOK_INTERVAL: Duration = Duration::from_mins(15);

/// Waits from this length on name the host that is paused.
const NAMED_WAIT_MIN: Duration = Duration::from_secs(30);

/// A time in which no worker sends anything to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) host: String,
    pub(crate) until: Timestamp,
    pub(crate) left: Duration,
}

/// Why a task does not begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// An operator cancelled its execution.
    Cancelled,
    /// A host is paused.
    Paused(Pause),
}

/// `PULL_QUOTA_LOW` if the source says that few pulls are left: they are kept for pushes.
pub(crate) fn low_quota(execution: &Execution, source: &Registry) -> Option<Error> {
    let quota = source.quota().filter(Quota::is_low)?;
    if execution.trigger == Trigger::Event {
        return None;
    }
    let (remaining, limit, hours) = (quota.remaining, quota.limit, quota.window.as_secs() / 3600);
    let why = format!("{remaining} of {limit} pulls in {hours} hours are left");
    Some(Error::of(Code::PullQuotaLow, Verb::Registry.on(source.host())).because(why))
}

/// Processes the jobs of the queue.
pub struct Jobs {
    /// The document in force.
    pub configuration: Configuration,
    /// The ledger.
    pub ledger: Ledger,
    /// The queue for further jobs.
    pub queue: Arc<dyn TaskQueue>,
    /// The stores and sources that imports read.
    pub sources: Arc<SourceCache>,
    /// The zones of failover groups; [`None`]: this worker may not read them.
    pub zones: Option<Arc<dyn Zones>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Limits of retries of jobs.
    pub retry_policy: RetryPolicy,
    /// Identifies this worker among others: the holder of its leases.
    pub worker: String,
}

impl Jobs {
    /// Processes one message within `slot`. An error means that the ledger or the queue did not answer; the message must be
    /// processed again.
    pub async fn run(
        &self,
        envelope: &Envelope,
        progress: Arc<dyn Progress>,
        budget: Option<TimeBudget>,
    ) -> Result<Next> {
        // A message that only waits longer is not a try.
        if let Some(early) = envelope.is_early(self.now()) {
            return Ok(Next::Send(vec![Outgoing {
                envelope: envelope.clone(),
                delay: early,
            }]));
        }
        self.configuration.refresh_writers(self.now()).await;
        let run = Run {
            tries: envelope.tries,
            progress,
            budget,
        };
        envelope.job.run(self, run).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }

    /// Shares a pause that a registry asked this process for with all workers.
    pub(crate) async fn share_pause(&self, registry: &Registry) {
        let Some(left) = registry.paused().filter(|left| left.as_secs() >= 1) else {
            return;
        };
        let (host, now) = (registry.host().as_str(), self.now());
        let until = now.checked_add(left).unwrap_or(Timestamp::MAX);
        match self.ledger.pauses.pause(host, until, now).await {
            Ok(is_new) => {
                registry.pause_was_shared();
                if is_new && left >= LONG_PAUSE {
                    let code = Code::RateLimited.as_str();
                    tracing::warn!(
                        code,
                        host,
                        %until,
                        "the registry asked for a long wait; `transship resume {host}` ends it"
                    );
                }
            }
            Err(error) => tracing::warn!(code = error.code(), %error, "a pause could not be shared"),
        }
    }

    /// The pause of one of `registries` that all workers keep, the longest if there are several. A pause of this process that an
    /// operator ended is ended here as well. One call; a ledger that does not answer counts as no pause.
    pub(crate) async fn pause_of(&self, registries: &[&Registry]) -> Option<Pause> {
        let hosts: Vec<&str> = registries.iter().map(|registry| registry.host().as_str()).collect();
        let now = self.now();
        let found = self.ledger.pauses.until(&hosts, now).await.ok()?;
        kept(found, registries, now)
    }

    /// What keeps a task of `execution` from beginning: that it was cancelled, or a pause as in [`Jobs::pause_of`]. One call; a
    /// ledger that does not answer counts as nothing.
    pub(crate) async fn obstacle_of(&self, execution: &str, registries: &[&Registry]) -> Option<Obstacle> {
        let hosts: Vec<&str> = registries.iter().map(|registry| registry.host().as_str()).collect();
        let now = self.now();
        let found = self.ledger.cancels.with_pauses(execution, &hosts, now).await.ok()?;
        if found.is_cancelled {
            return Some(Obstacle::Cancelled);
        }
        kept(found.pause, registries, now).map(Obstacle::Paused)
    }

    /// True if an operator cancelled the execution. A walk over many images asks this for each of its messages and pages, and
    /// stops. One call.
    pub(crate) async fn is_cancelled(&self, execution: &str) -> Result<bool> {
        self.ledger.cancels.is_marked(execution, self.now()).await
    }

    /// How a job that waits for `wait`, as a registry asked, is sent again: the time until it looks again, and the paused host.
    pub(crate) async fn wait_for(&self, wait: Duration, registries: &[&Registry]) -> (Duration, Option<String>) {
        if wait < NAMED_WAIT_MIN {
            return (wait, None);
        }
        let host = self.pause_of(registries).await.map(|pause| pause.host);
        (wait.min(PAUSE_LOOK_INTERVAL), host)
    }

    /// Records the end of a task that was begun, with what `holder` wrote.
    pub(crate) async fn end(
        &self,
        entry: &TaskEntry,
        outcome: &Outcome,
        written: &[Replica],
        holder: &str,
    ) -> Result<()> {
        log_end(entry, outcome);
        if self.ledger.history.finish(entry, outcome, written, holder).await? {
            measure(entry, outcome);
        }
        Ok(())
    }

    /// Records the end of a job that the ledger has only if it failed before and was redriven.
    pub(crate) async fn end_if_recorded(&self, entry: &TaskEntry, outcome: &Outcome) -> Result<()> {
        if self.ledger.history.finish(entry, outcome, &[], "").await? {
            log_end(entry, outcome);
            measure(entry, outcome);
        }
        Ok(())
    }

    /// The end of a task whose execution an operator cancelled.
    pub(crate) fn cancelled(&self) -> Outcome {
        let code = Code::ExecutionCancelled;
        let message = Some(code.meaning().to_owned());
        self.outcome(TaskState::Cancelled, None, Some(code.as_str()), message)
    }

    /// Records a job that the ledger does not have yet as a task that failed.
    pub(crate) async fn fail(&self, entry: &TaskEntry, code: &str, message: String) -> Result<()> {
        self.end_unrecorded(entry, &self.failed(code, message)).await
    }

    /// Records a job that the ledger does not have yet as a task that ended.
    pub(crate) async fn end_unrecorded(&self, entry: &TaskEntry, outcome: &Outcome) -> Result<()> {
        match self.ledger.history.begin(entry, self.now()).await? {
            Begin::Finished(_) => Ok(()),
            Begin::Attempt(_) => self.end(entry, outcome, &[], "").await,
        }
    }

    pub(crate) fn failed(&self, code: &str, message: String) -> Outcome {
        self.outcome(TaskState::Failed, None, Some(code), Some(message))
    }

    pub(crate) fn outcome(
        &self,
        state: TaskState,
        digest: Option<Digest>,
        code: Option<&str>,
        message: Option<String>,
    ) -> Outcome {
        Outcome {
            state,
            digest,
            code: code.map(str::to_owned),
            message,
            bytes: Counts::default(),
            finished: self.now(),
        }
    }
}

/// The pause that was found, to be kept. Where there is none, a pause of this process that an operator ended is ended.
fn kept(found: Option<(String, Timestamp)>, registries: &[&Registry], now: Timestamp) -> Option<Pause> {
    let Some((host, until)) = found else {
        for registry in registries {
            registry.resume();
        }
        return None;
    };
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    Some(Pause { host, until, left })
}

/// Logs the end of a task, with a level that depends on its state.
fn log_end(entry: &TaskEntry, outcome: &Outcome) {
    let code = outcome.code.as_deref().unwrap_or_default();
    let message = outcome.message.as_deref().unwrap_or_default();
    let digest = outcome.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let (state, source, destination) = (outcome.state, &entry.source, &entry.destination);
    match state {
        TaskState::Failed => tracing::error!(%state, code, why = message, source, destination, "the task ended"),
        TaskState::Kept => {
            tracing::warn!(%state, code, why = message, source, destination, digest, "the task ended");
        }
        _ => {
            let (bytes_copied, bytes_mounted) = (outcome.bytes.copied, outcome.bytes.mounted);
            tracing::info!(%state, code, source, destination, digest, bytes_copied, bytes_mounted, "the task ended");
        }
    }
}

/// Publishes metrics of a task. It costs nothing if no recorder is installed.
fn measure(entry: &TaskEntry, outcome: &Outcome) {
    counter!("Tasks", "State" => outcome.state.as_str()).increment(1);
    counter!("BytesCopied").increment(outcome.bytes.copied);
    counter!("BytesMounted").increment(outcome.bytes.mounted);
    let lag_ms = outcome.finished.duration_since(entry.execution.created).as_millis_f64();
    histogram!("ReplicationLag", "Rule" => entry.execution.rule.clone()).record(lag_ms.max(0.0));
}
