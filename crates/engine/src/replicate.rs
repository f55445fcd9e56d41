//! Replicate: one task, one attempt, and what becomes of its message.
//!
//! The tag is resolved now, whatever the event said. An error that may pass puts the task back with a delay; one that cannot
//! ends it at once; both are recorded with their code before the message is given up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{counter, histogram};
use transship_copy::{Clock, Error as CopyError, Options, Progress, Report, Request, Slot, Source, State, copy};
use transship_layout::{Found, Images};
use transship_oci::Target;
use transship_registry::Registry;
use transship_rules::{Existing, Referrers};

use crate::follow::Subject;
use crate::memory::{Lease, Locations, Uploads, Written, now};
use crate::patience::{SHORTEST, tries};
use crate::{
    Begin, Configuration, Imports, Ledger, Message, Outcome, Patience, Replica, Result, Task, TaskQueue, TaskState,
};

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

/// Where a task reads.
enum Origin<'a> {
    Registry(Registry),
    Found(&'a Found),
}

impl Origin<'_> {
    const fn registry(&self) -> Option<&Registry> {
        match self {
            Self::Registry(registry) => Some(registry),
            Self::Found(_) => None,
        }
    }
}

/// What an attempt brings where.
struct Way<'a> {
    from: Target,
    to: Target,
    destination: &'a Registry,
    attempt: u32,
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

    async fn attempt(
        &self,
        task: &Task,
        attempt: u32,
        progress: Arc<dyn Progress>,
        slot: Option<Slot>,
    ) -> std::result::Result<Ended, CopyError> {
        let snapshot = self.configuration.current();
        let unknown = |error: &crate::Error| Ended::Outcome(self.failed(error.code(), error.to_string()), Vec::new());
        let destination = match snapshot.registry(&task.destination.registry) {
            Ok(destination) => destination,
            Err(error) => return Ok(unknown(&error)),
        };
        let source = match &task.found {
            Some(found) => Origin::Found(found),
            None => match snapshot.registry(&task.source.registry) {
                Ok(source) => Origin::Registry(source),
                Err(error) => return Ok(unknown(&error)),
            },
        };
        let registries: Vec<&Registry> = source.registry().into_iter().chain([&destination]).collect();
        let hosts: Vec<&str> = registries.iter().map(|registry| registry.host().as_str()).collect();
        if let Ok(Some((host, until))) = self.ledger.paused_until(&hosts, self.now()).await {
            let after = Duration::try_from(until.duration_since(self.now())).unwrap_or_default();
            return Ok(Ended::Later {
                code: "RATE_LIMITED".into(),
                message: format!("{host} asked us to wait until {until}"),
                after: Some(after),
            });
        }
        let result = self.bring(task, attempt, (&source, &destination), progress, slot).await;
        for registry in registries {
            self.share_pause(registry).await;
        }
        result
    }

    /// From a registry, or from what lies in a store.
    async fn bring(
        &self,
        task: &Task,
        attempt: u32,
        (source, destination): (&Origin<'_>, &Registry),
        progress: Arc<dyn Progress>,
        slot: Option<Slot>,
    ) -> std::result::Result<Ended, CopyError> {
        let way = |from, to| Way {
            from,
            to,
            destination,
            attempt,
        };
        match source {
            Origin::Registry(source) => {
                let source = source.repository(task.source.repository.clone());
                let (from, to) = if task.follows {
                    match self.subject(task, tries(task, attempt, slot), &source).await? {
                        Subject::Replicated(subject) => (Target::Digest(subject.clone()), Target::Digest(subject)),
                        Subject::Pending => {
                            return Ok(Ended::Later {
                                code: "SUBJECT_PENDING".into(),
                                message: "the image it belongs to is on its way".into(),
                                after: None,
                            });
                        }
                        Subject::None(code, message) => {
                            let outcome = self.outcome(TaskState::Skipped, None, Some(code), Some(message.into()));
                            return Ok(Ended::Outcome(outcome, Vec::new()));
                        }
                    }
                } else {
                    (task.source.target.clone(), task.destination.target.clone())
                };
                let ended = self.copy(task, &source, way(from, to), progress, slot).await;
                tracing::debug!(requests_source = source.requests(), "copied");
                ended
            }
            Origin::Found(found) => {
                let images: Arc<dyn Images> = self.imports.source(task, found, slot).await?;
                let (from, to) = (task.source.target.clone(), task.destination.target.clone());
                let ended = self.copy(task, images.as_ref(), way(from, to), progress, slot).await;
                if ended.is_err() {
                    self.imports.close(&task.source.registry, found);
                }
                ended
            }
        }
    }

    async fn copy(
        &self,
        task: &Task,
        source: &dyn Source,
        way: Way<'_>,
        progress: Arc<dyn Progress>,
        slot: Option<Slot>,
    ) -> std::result::Result<Ended, CopyError> {
        let Way {
            from,
            to,
            destination,
            attempt,
        } = way;
        let tries = tries(task, attempt, slot);
        let remote = destination
            .repository(task.destination.repository.clone())
            .for_writing();
        let locations = Locations {
            ledger: Arc::clone(&self.ledger),
            host: destination.host().to_string(),
        };
        let written = Written {
            ledger: Arc::clone(&self.ledger),
            task,
            clock: Arc::clone(&self.clock),
        };
        let uploads = Uploads {
            ledger: Arc::clone(&self.ledger),
            task,
            clock: Arc::clone(&self.clock),
        };
        let lease = Lease {
            ledger: Arc::clone(&self.ledger),
            destination: task.destination.clone(),
            holder: format!("{} {} {attempt}", self.worker, task.id),
            clock: Arc::clone(&self.clock),
        };
        let report = copy(Request {
            source,
            from,
            destination: &remote,
            to,
            options: Options {
                expected: task
                    .hint
                    .clone()
                    .filter(|_| !task.follows && self.is_settling(task, tries)),
                ..options(task, attempt)
            },
            locations: &locations,
            replicas: &written,
            lease: Some(&lease),
            continuations: Some(&uploads),
            slot,
            progress,
        })
        .await?;
        tracing::debug!(
            requests_destination = remote.requests(),
            name = transship_copy::Destination::name(&remote),
            "copied"
        );
        Ok(Ended::Outcome(
            self.of_report(task, &report),
            replicas(task, &written, &report),
        ))
    }

    /// A wait a registry asked this process for holds for the fleet.
    pub(crate) async fn share_pause(&self, registry: &Registry) {
        if let Some(left) = registry.paused().filter(|left| *left >= Duration::from_secs(1)) {
            let until = self.now().checked_add(left).unwrap_or(Timestamp::MAX);
            if let Err(error) = self.ledger.pause(registry.host().as_str(), until).await {
                tracing::warn!(code = error.code(), %error, "a pause is not shared");
            }
        }
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

/// Every tag that is ours now. An image found equal is adopted: it may be our own work, whose worker died before it could
/// say so.
fn replicas(task: &Task, written: &Written<'_>, report: &Report) -> Vec<Replica> {
    let own = match (&task.destination.target, task.follows, report.state) {
        (Target::Tag(tag), false, State::Copied | State::Unchanged) => {
            Some(written.replica(tag, &report.digest, report.members.clone()))
        }
        _ => None,
    };
    // A tag that moved during the copy was written more than once.
    let mut others: Vec<Replica> = Vec::new();
    for (target, digest) in &report.written {
        if let Target::Tag(tag) = target
            && *target != task.destination.target
        {
            let replica = written.replica(tag, digest, vec![digest.clone()]);
            others.retain(|other| other.destination != replica.destination);
            others.push(replica);
        }
    }
    own.into_iter().chain(others).collect()
}

fn options(task: &Task, attempt: u32) -> Options {
    Options {
        existing: match task.existing {
            Existing::Follow => transship_copy::Existing::Follow,
            Existing::Keep => transship_copy::Existing::Keep,
            Existing::Overwrite => transship_copy::Existing::Overwrite,
            Existing::Backup => transship_copy::Existing::Backup,
        },
        referrers: match task.referrers {
            Referrers::Include => transship_copy::Referrers::Include,
            Referrers::Exclude => transship_copy::Referrers::Exclude,
            Referrers::Require => transship_copy::Referrers::Require,
        },
        kinds: task.kinds.clone(),
        expected: None,
        is_repeated: attempt > 1,
    }
}
