//! Replicate: one task, one attempt, and what becomes of its message.
//!
//! The tag is resolved now, whatever the event said. An error that may pass puts the task back with a delay; one that cannot
//! ends it at once; both are recorded with their code before the message is given up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use transship_copy::{Clock, Error as CopyError, Options, Progress, Report, Request, State, copy};
use transship_oci::referrers::digest_tag;
use transship_oci::{Digest, Persistence, Target};
use transship_registry::{Registry, RemoteRepository};
use transship_rules::{Existing, Referrers};

use crate::memory::{Lease, Locations, Written, now};
use crate::task::TASK_VERSION;
use crate::{Begin, Bytes, Configuration, Error, ErrorKind, Ledger, Outcome, Result, Task, TaskState};

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It is done: remove it.
    Done,
    /// Give it back, to be received after this long.
    Again(Duration),
}

/// How long a task that may still succeed is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A task older than this, that has been tried at least `attempts` times, ends with the code of its last attempt.
    pub age: Duration,
    /// See `age`.
    pub attempts: u32,
    /// The longest wait between two attempts.
    pub max_delay: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            age: Duration::from_hours(24),
            attempts: 10,
            max_delay: Duration::from_mins(5),
        }
    }
}

/// Works on tasks.
pub struct Replicator {
    /// The document in force.
    pub configuration: Configuration,
    /// The memory.
    pub ledger: Arc<dyn Ledger>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long tasks are tried.
    pub patience: Patience,
    /// Tells this worker from others: the holder of its leases.
    pub worker: String,
}

/// How an attempt ended.
enum Ended {
    Outcome(Outcome),
    Later {
        code: String,
        message: String,
        after: Option<Duration>,
    },
}

impl Replicator {
    /// Works on one message of the queue. A message that is no task of ours is an error, and stays one.
    pub async fn message(&self, body: &str, progress: Arc<dyn Progress>) -> Result<Disposition> {
        let task: Task = serde_json::from_str(body)
            .map_err(|error| Error::new(ErrorKind::MessageInvalid(error.to_string()), "message"))?;
        if task.version != TASK_VERSION {
            return Err(Error::new(
                ErrorKind::MessageInvalid(format!("version {} where {TASK_VERSION} is understood", task.version)),
                "message",
            ));
        }
        self.replicate(&task, progress).await
    }

    /// One attempt. An error means that the ledger did not answer: nothing is decided, the message comes again.
    #[tracing::instrument(skip_all, fields(execution = task.execution, task = task.id, rule = task.rule))]
    pub async fn replicate(&self, task: &Task, progress: Arc<dyn Progress>) -> Result<Disposition> {
        let attempt = match self.ledger.begin(task, self.now()).await? {
            Begin::Finished(state) => {
                tracing::debug!(%state, "a message came again after its task had ended");
                return Ok(Disposition::Done);
            }
            Begin::Attempt(attempt) => attempt,
        };
        let ended = match self.attempt(task, attempt, progress).await {
            Ok(ended) => ended,
            Err(error) => self.judge(&error),
        };
        match ended {
            Ended::Outcome(outcome) => self.end(task, &outcome).await,
            Ended::Later { code, message, .. } if self.is_out_of_patience(task, attempt) => {
                self.end(task, &self.failed(&code, message)).await
            }
            Ended::Later { code, message, after } => {
                let delay = after
                    .unwrap_or_default()
                    .max(backoff(attempt, &task.id))
                    .min(self.patience.max_delay.max(after.unwrap_or_default()));
                let next = self.now().checked_add(delay).unwrap_or(Timestamp::MAX);
                tracing::warn!(code, message, attempt, ?delay, source = %task.source, destination = %task.destination, "the task is tried again later");
                self.ledger.wait(&task.id, &code, &message, next).await?;
                Ok(Disposition::Again(delay))
            }
        }
    }

    async fn end(&self, task: &Task, outcome: &Outcome) -> Result<Disposition> {
        let code = outcome.code.as_deref().unwrap_or_default();
        let message = outcome.message.as_deref().unwrap_or_default();
        let digest = outcome.digest.as_ref().map(ToString::to_string).unwrap_or_default();
        let (state, source, destination) = (outcome.state, &task.source, &task.destination);
        match state {
            TaskState::Failed => tracing::error!(%state, code, message, %source, %destination, "the task ended"),
            TaskState::Kept => tracing::warn!(%state, code, message, %source, %destination, digest, "the task ended"),
            _ => {
                let (bytes_copied, bytes_mounted) = (outcome.bytes.copied, outcome.bytes.mounted);
                tracing::info!(%state, code, %source, %destination, digest, bytes_copied, bytes_mounted, "the task ended");
            }
        }
        self.ledger.finish(&task.id, outcome).await?;
        Ok(Disposition::Done)
    }

    async fn attempt(
        &self,
        task: &Task,
        attempt: u32,
        progress: Arc<dyn Progress>,
    ) -> std::result::Result<Ended, CopyError> {
        let snapshot = self.configuration.current();
        let (source, destination) = match (
            snapshot.registry(&task.source.registry),
            snapshot.registry(&task.destination.registry),
        ) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(error), _) | (_, Err(error)) => {
                return Ok(Ended::Outcome(self.failed(error.code(), error.to_string())));
            }
        };
        for registry in [&source, &destination] {
            let paused = self.ledger.paused_until(registry.host().as_str(), self.now()).await;
            if let Ok(Some(until)) = paused {
                let after = Duration::try_from(until.duration_since(self.now())).unwrap_or_default();
                return Ok(Ended::Later {
                    code: "RATE_LIMITED".into(),
                    message: format!("{} asked us to wait until {until}", registry.host()),
                    after: Some(after),
                });
            }
        }
        let result = self.copy(task, attempt, &source, &destination, progress).await;
        for registry in [&source, &destination] {
            self.share_pause(registry).await;
        }
        result
    }

    async fn copy(
        &self,
        task: &Task,
        attempt: u32,
        source: &Registry,
        destination: &Registry,
        progress: Arc<dyn Progress>,
    ) -> std::result::Result<Ended, CopyError> {
        let source = source.repository(task.source.repository.clone());
        let (from, to) = if task.follows {
            match self.subject(task, &source).await? {
                Subject::Replicated(subject) => (Target::Digest(subject.clone()), Target::Digest(subject)),
                Subject::Pending => {
                    return Ok(Ended::Later {
                        code: "SUBJECT_PENDING".into(),
                        message: "the image it belongs to is on its way".into(),
                        after: None,
                    });
                }
                Subject::None(code, message) => {
                    return Ok(Ended::Outcome(self.outcome(
                        TaskState::Skipped,
                        None,
                        Some(code),
                        Some(message.into()),
                    )));
                }
            }
        } else {
            (task.source.target.clone(), task.destination.target.clone())
        };
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
        let lease = Lease {
            ledger: Arc::clone(&self.ledger),
            key: task.destination.lease_key(),
            holder: format!("{} {} {attempt}", self.worker, task.id),
            clock: Arc::clone(&self.clock),
        };
        let report = copy(Request {
            source: &source,
            from,
            destination: &remote,
            to,
            options: options(task, attempt),
            locations: &locations,
            replicas: &written,
            lease: Some(&lease),
            progress,
        })
        .await?;
        self.remember(task, &written, &report).await?;
        tracing::debug!(
            requests_source = source.requests(),
            requests_destination = remote.requests(),
            name = transship_copy::Destination::name(&remote),
            "copied"
        );
        Ok(Ended::Outcome(self.of_report(task, &report)))
    }

    /// What a referrer or a digest tag belongs to, and whether that is at the destination by our hand.
    async fn subject(&self, task: &Task, source: &RemoteRepository) -> std::result::Result<Subject, CopyError> {
        use transship_copy::Source;
        let subject = match &task.source.target {
            Target::Tag(tag) => digest_tag(tag).map(|tag| tag.subject),
            target @ Target::Digest(_) => match Source::manifest_get(source, target).await {
                Ok(manifest) => manifest.subject().map(|subject| subject.digest.clone()),
                Err(error) if error.is_not_found() => {
                    return Ok(Subject::None(
                        "SOURCE_GONE",
                        "the manifest is not at the source any more",
                    ));
                }
                Err(error) => return Err(error),
            },
        };
        let Some(subject) = subject else {
            return Ok(Subject::None(
                "NOT_A_REFERRER",
                "an untagged manifest that refers to nothing comes with its image",
            ));
        };
        let place = &task.source;
        let held = self
            .ledger
            .replicas_holding(&place.registry, &place.repository, &subject)
            .await;
        let is_there = held.map_err(later)?.iter().any(|replica| {
            replica.destination.registry == task.destination.registry
                && replica.destination.repository == task.destination.repository
        });
        if is_there {
            return Ok(Subject::Replicated(subject));
        }
        if self
            .ledger
            .is_busy(&place.registry, &place.repository)
            .await
            .map_err(later)?
        {
            return Ok(Subject::Pending);
        }
        Ok(Subject::None(
            "SUBJECT_NOT_REPLICATED",
            "the image it belongs to is not replicated; it will come with it if that changes",
        ))
    }

    /// Remembers every tag that is ours now. An image found equal is adopted: it may be our own work, whose worker died
    /// before it could say so.
    async fn remember(
        &self,
        task: &Task,
        written: &Written<'_>,
        report: &Report,
    ) -> std::result::Result<(), CopyError> {
        if let (Target::Tag(tag), false, State::Copied | State::Unchanged) =
            (&task.destination.target, task.follows, report.state)
        {
            written.confirm(tag, &report.digest, report.members.clone()).await?;
        }
        for (target, digest) in &report.written {
            if let Target::Tag(tag) = target
                && *target != task.destination.target
            {
                written.confirm(tag, digest, vec![digest.clone()]).await?;
            }
        }
        Ok(())
    }

    /// A wait a registry asked this process for holds for the fleet.
    async fn share_pause(&self, registry: &Registry) {
        if let Some(left) = registry.paused().filter(|left| *left >= Duration::from_secs(1)) {
            let until = self.now().checked_add(left).unwrap_or(Timestamp::MAX);
            if let Err(error) = self.ledger.pause(registry.host().as_str(), until).await {
                tracing::warn!(code = error.code(), %error, "a pause is not shared");
            }
        }
    }

    fn judge(&self, error: &CopyError) -> Ended {
        let message = error.to_string();
        match error.persistence() {
            Persistence::Permanent => Ended::Outcome(self.failed(error.code(), message)),
            Persistence::Temporary(after) => Ended::Later {
                code: error.code().into(),
                message,
                after,
            },
            Persistence::Persistent => Ended::Later {
                code: error.code().into(),
                message,
                after: None,
            },
        }
    }

    fn of_report(&self, task: &Task, report: &Report) -> Outcome {
        let (state, code, message) = match report.state {
            State::Copied if !report.kept_tags.is_empty() => (
                TaskState::Succeeded,
                Some("SIGNATURE_TAG_KEPT"),
                Some(format!(
                    "the destination has its own {}; it was kept",
                    report.kept_tags.join(", ")
                )),
            ),
            State::Copied if report.foreign_layers > 0 => (
                TaskState::Succeeded,
                Some("FOREIGN_LAYER_SKIPPED"),
                Some(format!(
                    "{} layers that may not be distributed stay at their urls",
                    report.foreign_layers
                )),
            ),
            State::Copied => (TaskState::Succeeded, None, None),
            State::Unchanged => (TaskState::Unchanged, None, None),
            State::Kept => {
                let why = match task.existing {
                    Existing::Keep => "the rule keeps what is there (existing: keep)",
                    _ => "the destination tag names an image we did not write there (existing: follow)",
                };
                (TaskState::Kept, Some("DESTINATION_KEPT"), Some(why.to_owned()))
            }
            State::Skipped => (
                TaskState::Skipped,
                Some("KIND_NOT_MATCHED"),
                Some("the rule does not let this kind pass".to_owned()),
            ),
        };
        let bytes = Bytes {
            copied: report.bytes.copied,
            mounted: report.bytes.mounted,
            skipped: report.bytes.skipped,
        };
        Outcome {
            bytes,
            ..self.outcome(state, Some(report.digest.clone()), code, message)
        }
    }

    fn failed(&self, code: &str, message: String) -> Outcome {
        self.outcome(TaskState::Failed, None, Some(code), Some(message))
    }

    fn outcome(
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
            bytes: Bytes::default(),
            finished: self.now(),
        }
    }

    fn is_out_of_patience(&self, task: &Task, attempt: u32) -> bool {
        let age = Duration::try_from(self.now().duration_since(task.created)).unwrap_or_default();
        attempt >= self.patience.attempts && age >= self.patience.age
    }

    fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }
}

enum Subject {
    Replicated(Digest),
    Pending,
    None(&'static str, &'static str),
}

fn later(error: Error) -> CopyError {
    let kind = transship_copy::ErrorKind::Adapter {
        code: error.code(),
        message: error.kind.to_string(),
        persistence: error.persistence(),
    };
    CopyError::new(kind, error.operation)
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
        is_repeated: attempt > 1,
    }
}

/// 1, 2, 4 … seconds, up to a quarter more by the task's own id, so that tasks that failed together do not come together.
fn backoff(attempt: u32, id: &str) -> Duration {
    let base = Duration::from_secs(1 << attempt.saturating_sub(1).min(12));
    let spread = u32::from(
        id.bytes()
            .fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)),
    );
    base + base * spread / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_differ_by_task() {
        assert!(backoff(1, "a") >= Duration::from_secs(1) && backoff(1, "a") < Duration::from_millis(1300));
        assert!(backoff(5, "a") > backoff(4, "a"));
        assert_ne!(backoff(3, "t-1"), backoff(3, "t-2"));
        assert!(backoff(u32::MAX, "a") < Duration::from_hours(2));
    }
}
