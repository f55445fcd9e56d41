//! One attempt: the image is read from a registry or from a store and written to the destination.
//!
//! This file connects a task to the clients, and lends the ledger to the copy as its memory. What must hold: a wait that a
//! registry asked for holds for every worker.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use transship_copy::{Manifests, Options, Report, Request, Source as CopySource, State, copy};
use transship_oci::{Code, Error, Result, Target, Verb};
use transship_registry::Registry;

use super::CopyImage;
use super::attachment::Subject;
use super::ledger_adapters::{LedgerLease, LedgerLocations, LedgerReplicas, LedgerSessions};
use super::outcome::AttemptResult;
use super::task_source::TaskSource;
use crate::configuration::{Snapshot, Standing};
use crate::failover::Writes;
use crate::job::Source;
use crate::jobs::{Obstacle, low_quota};
use crate::retry_policy::{BLOB_PATIENCE, Wait};
use crate::{ImageRef, Replica};

/// How long a tag that was absent counts as absent without a look.
const ABSENT_FOR: SignedDuration = SignedDuration::from_mins(10);

impl CopyImage<'_> {
    /// Copies the image once.
    pub(super) async fn attempt(&self) -> Result<AttemptResult> {
        let Self { jobs, task, .. } = self;
        let mut snapshot = jobs.configuration.current();
        if self.standing(&snapshot) == Standing::Ended(Code::FailoverFenced) {
            // Another process may have changed the writer just now.
            jobs.configuration.read_writers(jobs.now()).await?;
            snapshot = jobs.configuration.current();
        }
        match self.standing(&snapshot) {
            Standing::Enabled => {}
            Standing::Ended(Code::FailoverFenced) if snapshot.is_coming(&task.execution.rule) => {
                return Err(Error::of(Code::FailoverUnderWay, Verb::Copy.on(&task.execution.rule)));
            }
            Standing::Ended(code @ Code::FailoverFenced) => {
                return Ok(AttemptResult::Ended(self.skipped(code, code.meaning()), Vec::new()));
            }
            Standing::Ended(code) => return Ok(self.cancelled(code)),
            Standing::Unclear => return Ok(Self::unclear()),
        }
        let destination = match snapshot.registry(&task.destination.registry) {
            Ok(destination) => destination,
            Err(_) if self.is_unknown(&snapshot, &task.destination.registry) => return Ok(Self::unclear()),
            Err(error) => return Ok(self.failed(error.code(), error.to_string())),
        };
        let source = match task.source.registry().map(|image| snapshot.registry(&image.registry)) {
            Some(Ok(source)) => Some(source),
            Some(Err(_)) if self.is_unknown(&snapshot, task.source.origin()) => return Ok(Self::unclear()),
            Some(Err(error)) => return Ok(self.failed(error.code(), error.to_string())),
            None => None,
        };
        let registries: Vec<&Registry> = source.iter().chain([&destination]).collect();
        match jobs.obstacle_of(&task.execution.id, &registries).await {
            Some(Obstacle::Cancelled) => return Ok(self.cancelled_by_operator()),
            Some(Obstacle::Paused(pause)) => return Ok(AttemptResult::Paused(pause)),
            None => {}
        }
        if let Some(error) = source.as_ref().and_then(|source| low_quota(&task.execution, source)) {
            return Ok(self.classify(&error));
        }
        let result = match (&task.source, &source) {
            (Source::Registry(image), Some(source)) => {
                let rule = snapshot.document.rule(&task.execution.rule);
                match self.beyond_latest(rule, image, source).await {
                    Ok(None) => self.copy_registry(image, source, &destination).await,
                    Ok(Some(ended)) => Ok(ended),
                    Err(error) => Err(error),
                }
            }
            _ => self.copy_stored(&destination).await,
        };
        for registry in registries {
            jobs.share_pause(registry).await;
        }
        result
    }

    /// What the document says about the rule or import of the task.
    pub(super) fn standing(&self, snapshot: &Snapshot) -> Standing {
        match &self.task.source {
            Source::Registry(_) => match snapshot.standing_of_rule(&self.task.execution) {
                Standing::Ended(Code::RuleDisabled) if self.task.policy.is_by_hand => Standing::Enabled,
                standing => standing,
            },
            Source::Stored { .. } => snapshot.standing_of_import(&self.task.execution),
        }
    }

    /// True if the document has no such registry, but another version that is newer may have it.
    fn is_unknown(&self, snapshot: &Snapshot, registry: &str) -> bool {
        !snapshot.document.registries.contains_key(registry) && !snapshot.covers(&self.task.execution)
    }

    async fn copy_registry(
        &self,
        image: &ImageRef,
        source: &Registry,
        destination: &Registry,
    ) -> Result<AttemptResult> {
        let source = source.repository(image.repository.clone());
        let (from, to) = if self.task.is_attachment {
            let subject = match &self.known_subject {
                Some(known) => known.clone(),
                None => self.subject(image, &source).await?,
            };
            match subject {
                Subject::Replicated(subject) => (Target::Digest(subject.clone()), Target::Digest(subject)),
                Subject::Pending => {
                    return Ok(AttemptResult::Later {
                        code: "SUBJECT_PENDING".into(),
                        message: "the image that it belongs to is still being copied".into(),
                        wait: Wait::ForSubject,
                    });
                }
                Subject::None(code, message) => {
                    let outcome = self.skipped(code, message);
                    return Ok(AttemptResult::Ended(outcome, Vec::new()));
                }
            }
        } else {
            (image.target.clone(), self.task.destination.target.clone())
        };
        let reading = TaskSource {
            source: &source,
            bandwidth: self.jobs.configuration.bandwidth(&self.task.execution.rule),
            from: &from,
            resolved: &self.resolved,
        };
        let result = self.copy(&reading, from.clone(), destination, to).await;
        tracing::debug!(requests_source = source.requests(), "copied");
        result
    }

    async fn copy_stored(&self, destination: &Registry) -> Result<AttemptResult> {
        let (task, sources) = (self.task, &self.jobs.sources);
        let images = sources.open(task, self.run.budget).await?;
        let (from, to) = (task.source.target().clone(), task.destination.target.clone());
        let result = self.copy(images.as_ref(), from, destination, to).await;
        if result.is_err() {
            sources.close(&task.source);
        }
        result
    }

    async fn copy(
        &self,
        source: &dyn CopySource,
        from: Target,
        destination: &Registry,
        to: Target,
    ) -> Result<AttemptResult> {
        let Self { jobs, task, .. } = self;
        let remote = destination
            .repository(task.destination.repository.clone())
            .for_writing();
        let locations = LedgerLocations::new(jobs, destination.host().to_string());
        let snapshot = jobs.configuration.current();
        let ends = (task.source.registry(), &task.destination);
        let (rule, holder) = (&task.execution.rule, self.holder());
        let writes = Writes::of_task(jobs, &snapshot, rule, ends, (&holder, self.run.budget));
        let replicas = LedgerReplicas::new(jobs, task, self.holder(), &writes);
        let sessions = LedgerSessions { jobs, task };
        let lease = LedgerLease {
            jobs,
            destination: task.destination.clone(),
            holder: self.holder(),
        };
        let copying = copy(Request {
            source,
            from,
            destination: &remote,
            to,
            options: self.options(),
            locations: &locations,
            replicas: &replicas,
            lease: Some(&lease),
            continuations: Some(&sessions),
            budget: self.run.budget,
            progress: Arc::clone(&self.run.progress),
        });
        // A copy that is dropped has written no tag, because a tag that is about to be written is not given up.
        let copied = tokio::select! {
            copied = copying => copied,
            error = replicas.cancellation() => Err(error),
        };
        let settled = copied
            .as_ref()
            .map_or_else(|_| Vec::new(), |report| written(&replicas, report));
        replicas.release_except(&settled).await;
        writes.end().await;
        let report = copied?;
        tracing::debug!(requests_destination = remote.requests(), name = remote.name(), "copied");
        Ok(AttemptResult::Ended(self.outcome(&report), settled))
    }

    fn options(&self) -> Options {
        let task = self.task;
        let policy = &task.policy;
        let expected = task.expected.clone();
        Options {
            existing: policy.existing,
            referrers: policy.referrers,
            kinds: policy.kinds.clone(),
            labels: policy.labels.clone(),
            platforms: policy.platforms.clone(),
            expected: expected.filter(|_| !task.is_attachment && self.is_settling()),
            is_absent: self.attempt == 1 && task.absent_at.is_some_and(|at| is_recent(at, self.jobs.now())),
            is_repeated: self.attempt > 1,
            patience: Some(BLOB_PATIENCE),
        }
    }
}

/// True if a tag that was absent `at` probably still is. A time later than now says nothing.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    !age.is_negative() && age <= ABSENT_FOR
}

/// Every tag that Transship wrote. An equal image is included, because it may have been written by a worker that died before it
/// could record it.
fn written(replicas: &LedgerReplicas<'_>, report: &Report) -> Vec<Replica> {
    let task = replicas.task;
    let own = match (&task.destination.target, task.is_attachment, report.state) {
        (Target::Tag(tag), false, State::Copied | State::Unchanged) => {
            let selection = report.selection.as_ref();
            Some(Replica {
                selected: selection.map(|selection| selection.selected.clone()),
                ..replicas.replica(tag, &report.digest, report.members.clone())
            })
        }
        _ => None,
    };
    // A tag that moved during the copy was written more than once.
    let mut others: Vec<Replica> = Vec::new();
    for (target, digest) in &report.written {
        if let Target::Tag(tag) = target
            && *target != task.destination.target
        {
            let replica = replicas.replica(tag, digest, vec![digest.clone()]);
            others.retain(|other| other.destination != replica.destination);
            others.push(replica);
        }
    }
    own.into_iter().chain(others).collect()
}
