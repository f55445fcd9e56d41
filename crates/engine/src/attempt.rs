//! Attempt: one image is brought once, from a registry or from what lies in a store.
//!
//! Here is where a task meets the clients: it is decided where it reads, what belongs to it goes where its subject went, and
//! the ledger is lent to the copy as its memory. What must hold: a wait that a registry asked for holds for the fleet.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use transship_copy::{Manifests, Options, Progress, Report, Request, Slot, Source, State, copy};
use transship_layout::{Found, Images};
use transship_oci::{Error, Result, Target};
use transship_registry::Registry;

use crate::follow::Subject;
use crate::memory::{Lease, Locations, Uploads, Written};
use crate::patience::tries;
use crate::replicate::Ended;
use crate::{Replica, Replicator, Task, TaskState};

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

impl Replicator {
    /// Brings the image of `task` once.
    pub(crate) async fn attempt(
        &self,
        task: &Task,
        attempt: u32,
        progress: Arc<dyn Progress>,
        slot: Option<Slot>,
    ) -> Result<Ended> {
        let snapshot = self.configuration.current();
        let unknown = |error: &Error| Ended::Outcome(self.failed(error.code(), error.to_string()), Vec::new());
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
    ) -> Result<Ended> {
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
    ) -> Result<Ended> {
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
        tracing::debug!(requests_destination = remote.requests(), name = remote.name(), "copied");
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
        existing: task.existing,
        referrers: task.referrers,
        kinds: task.kinds.clone(),
        expected: None,
        is_repeated: attempt > 1,
    }
}
