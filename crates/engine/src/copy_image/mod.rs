//! Copy one image: one attempt, and what happens with its message afterwards.
//!
//! The tag is resolved now and may differ from the event. A temporary error puts the task back with a delay, and a permanent
//! one ends it at once; both are recorded with their code before the message is removed.

mod after_end;
mod attachment;
mod attempt;
mod latest;
mod lease;
mod ledger_adapters;
mod outcome;
mod task_source;
mod unsigned;

use std::sync::{Mutex, PoisonError};

use attachment::Subject;
use jiff::Timestamp;
use lease::AttemptLease;
use outcome::AttemptResult;

use crate::job::{CopyTask, Run, Source};
use crate::jobs::{Jobs, Pause};
use crate::ledger::Failure;
use crate::retry_policy::{DELAY_MIN, REFERRER_TIMEOUT, Wait, tries_of};
use crate::{Begin, Next, Outcome, Result, TaskEntry, TaskState};
use transship_copy::Manifests as _;
use transship_oci::{Code, Digest, Error};
use transship_registry::Registry;

/// One delivery of a [`CopyTask`].
pub(crate) struct CopyImage<'a> {
    jobs: &'a Jobs,
    task: &'a CopyTask,
    entry: TaskEntry,
    run: Run,
    /// The number of the attempt, from 1; 0 before it is begun.
    attempt: u32,
    /// What an untagged manifest belongs to, if that was found out before the attempt.
    known_subject: Option<Subject>,
    /// What the source tag named when this attempt read it.
    resolved: Mutex<Option<Digest>>,
}

impl<'a> CopyImage<'a> {
    pub(crate) fn new(jobs: &'a Jobs, task: &'a CopyTask, run: Run) -> Self {
        Self {
            jobs,
            task,
            entry: task.entry(),
            run,
            attempt: 0,
            known_subject: None,
            resolved: Mutex::default(),
        }
    }

    /// One attempt.
    #[tracing::instrument(skip_all, fields(execution = self.task.execution.id, task = self.task.id, rule = self.task.execution.rule))]
    pub(crate) async fn run(mut self) -> Result<Next> {
        if self.task.is_recorded_late()
            && let Some(Subject::None(code @ Code::NotAReferrer, message)) = self.look_at_subject().await
        {
            tracing::debug!(code = code.as_str(), source = self.entry.source, "{message}");
            let outcome = self.skipped(code, message);
            self.jobs.end_if_recorded(&self.entry, &outcome).await?;
            return Ok(Next::Done);
        }
        self.attempt = match self.jobs.ledger.history.begin(&self.entry, self.jobs.now()).await? {
            Begin::Finished(state) => return self.after_end(state).await,
            Begin::Attempt(attempt) => attempt,
        };
        let lease = AttemptLease::of(&self);
        if let Some(lease) = &lease
            && !lease.take(self.jobs).await?
        {
            tracing::info!(
                code = Code::TaskBusy.as_str(),
                "another worker has the task, so this message waits"
            );
            return Ok(Next::Again(lease.length.max(DELAY_MIN)));
        }
        let result = match self.attempt().await {
            Ok(result) => result,
            Err(error) if self.was_deleted(&error).await => {
                let code = Code::SourceDeleted;
                AttemptResult::Ended(self.skipped(code, code.meaning()), Vec::new())
            }
            Err(error) if self.is_only_listed(&error).await => {
                let why = "the source lists the tag and does not have it";
                AttemptResult::Ended(self.skipped(Code::SourceNotFound, why), Vec::new())
            }
            Err(error) if error.is(Code::FailoverFenced) => {
                AttemptResult::Ended(self.skipped(Code::FailoverFenced, error.message()), Vec::new())
            }
            Err(error) => self.classify(&error),
        };
        if let Some(lease) = &lease {
            lease.release(self.jobs).await;
        }
        self.conclude(result).await
    }

    async fn conclude(&self, result: AttemptResult) -> Result<Next> {
        let Self { jobs, task, entry, .. } = self;
        let (code, message, wait, is_paused) = match result {
            AttemptResult::Ended(outcome, replicas) => {
                self.remember_failure(&outcome).await;
                jobs.end(entry, &outcome, &replicas, &self.holder()).await?;
                return Ok(Next::Done);
            }
            AttemptResult::Later { code, message, wait } => (code, message, wait, false),
            AttemptResult::Paused(Pause { host, until, left }) => {
                let message = format!("{host} asked to wait until {until}; `transship resume {host}` ends the wait");
                let code = Code::RateLimited.as_str().to_owned();
                (code, message, Wait::Asked(left.max(DELAY_MIN)), true)
            }
        };
        let attempts = self.attempt;
        let is_exhausted = match wait {
            // These are waited for without end.
            Wait::ForDocument | Wait::ForSwitch | Wait::ForBlob | Wait::ForQuota => false,
            Wait::ForReferrer => task.execution.age(jobs.now()) >= REFERRER_TIMEOUT,
            _ => jobs.retry_policy.is_exhausted(&task.execution, jobs.now(), attempts),
        };
        // A look at a pause is not a try.
        if !is_paused && is_exhausted {
            self.leave_baseline().await;
            jobs.end(entry, &jobs.failed(&code, message), &[], "").await?;
            return Ok(Next::Done);
        }
        let delay = jobs.retry_policy.delay(self.tries(), &task.id, wait);
        let (delay, host) = match wait {
            Wait::Asked(_) => {
                let registries = self.registries();
                jobs.wait_for(delay, &registries.iter().collect::<Vec<_>>()).await
            }
            Wait::AtOnce
            | Wait::Growing
            | Wait::ForReferrer
            | Wait::ForSubject
            | Wait::ForDocument
            | Wait::ForSwitch
            | Wait::ForBlob
            | Wait::ForQuota => (delay, None),
        };
        let next = jobs.now().checked_add(delay).unwrap_or(Timestamp::MAX);
        let (source, destination) = (&entry.source, &entry.destination);
        tracing::warn!(
            code,
            why = message,
            attempt = attempts,
            ?delay,
            source,
            destination,
            "the task will be retried"
        );
        jobs.ledger.history.wait(entry, &code, &message, next).await?;
        Ok(match host {
            Some(host) => Next::AgainWhenResumed(host, delay),
            None => Next::Again(delay),
        })
    }

    /// True if the source tag is missing, and a delete of it was propagated. A ledger that does not answer has no such delete.
    async fn was_deleted(&self, error: &Error) -> bool {
        let Source::Registry(image) = &self.task.source else {
            return false;
        };
        let deleted = &self.jobs.ledger.deleted;
        (self.is_not_there_yet(error) || error.is(Code::SourceGone))
            && deleted.has(image, self.jobs.now()).await.unwrap_or_default()
    }

    /// True if the tag was listed at the source when the task was made, and is not there. One look that does not find it is not enough.
    async fn is_only_listed(&self, error: &Error) -> bool {
        let Source::Registry(image) = &self.task.source else {
            return false;
        };
        if !self.task.is_listed_only() || !self.is_not_there_yet(error) {
            return false;
        }
        let snapshot = self.jobs.configuration.current();
        let Ok(source) = snapshot.registry(&image.registry) else {
            return false;
        };
        let found = source
            .repository(image.repository.clone())
            .manifest_head(&image.target)
            .await;
        matches!(found, Ok(None))
    }

    /// Remembers a permanent failure, so that no sweep tries it again. If that fails, one does.
    async fn remember_failure(&self, outcome: &Outcome) {
        let Self { jobs, task, .. } = self;
        if outcome.state != TaskState::Failed {
            return;
        }
        // The events of some registries name no digest.
        let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (Some(digest), Source::Registry(_)) = (task.expected.clone().or(resolved), &task.source) else {
            return self.leave_baseline().await;
        };
        let snapshot = jobs.configuration.current();
        let rule = snapshot.document.rule(&task.execution.rule);
        let failure = Failure {
            digest,
            rule_version: rule.map(|rule| snapshot.fingerprint(rule)),
            at_ms: outcome.finished.as_millisecond(),
        };
        let failures = &jobs.ledger.failures;
        if let Err(error) = failures.add(&task.execution.rule, &task.destination, &failure).await {
            tracing::warn!(code = error.code(), %error, "a failure could not be remembered, so the next sweep tries the task again");
        }
    }

    /// The image was announced by an event or ordered, so it is not part of what existed before the rule, although its copy failed.
    async fn leave_baseline(&self) {
        let Self { jobs, task, .. } = self;
        let Some((source, tag)) = task
            .source
            .registry()
            .and_then(|source| Some((source, source.target.tag()?)))
        else {
            return;
        };
        let baselines = &jobs.ledger.baselines;
        let released = baselines.release(&task.execution.rule, &source.repository, tag).await;
        if let Err(error) = released {
            tracing::warn!(code = error.code(), %error, "the tag stays in the baseline of its rule, so no sweep tries it again");
        }
    }

    /// The registries of the task that the document in force has.
    fn registries(&self) -> Vec<Registry> {
        let snapshot = self.jobs.configuration.current();
        let source = self.task.source.registry().map(|image| &image.registry);
        let names = source.into_iter().chain([&self.task.destination.registry]);
        names.filter_map(|name| snapshot.registry(name).ok()).collect()
    }

    fn skipped(&self, code: Code, message: &str) -> Outcome {
        self.jobs
            .outcome(TaskState::Skipped, None, Some(code.as_str()), Some(message.into()))
    }

    /// The holder of this attempt's leases.
    fn holder(&self) -> String {
        format!("{} {} {}", self.jobs.worker, self.task.id, self.attempt)
    }

    /// See [`tries_of`]. Before the attempt is begun its number is not known, and the message's own tries count alone.
    fn tries(&self) -> u32 {
        let of_message = self.run.tries.saturating_add(1);
        match self.attempt {
            0 => of_message,
            attempt => tries_of(attempt, self.run.tries, self.run.budget),
        }
    }

    /// True if the event is so recent that the source tag may still have its previous value.
    fn is_settling(&self) -> bool {
        self.task.execution.is_settling(self.jobs.now(), self.tries())
    }
}
