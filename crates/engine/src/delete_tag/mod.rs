//! Delete a tag at a destination: one attempt, and what happens with its message afterwards.
//!
//! An event only says that something was deleted; the registries decide ([`confirm`]). A delete that cannot be confirmed, and one
//! beyond the limit of its rule, waits without a message until an operator redrives it. The sweep finds such a task about once a
//! day and sends it again, and it is checked again, so it never expires. What must hold: nothing is deleted by digest, nothing
//! while a fallback takes the place of the document, and nothing that our own record does not name.

mod confirm;
mod derive;

use std::time::Duration;

use jiff::Timestamp;
use transship_oci::{Code, Error, Verb};
use transship_registry::Registry;
use transship_rules::{Deletes, Pushed, Rule, Verdict};

use crate::configuration::{Snapshot, Standing};
use crate::job::{DeleteTask, Run};
use crate::jobs::{Jobs, Obstacle, Pause};
use crate::plan::{destination_of, task_of};
use crate::retry_policy::{DELAY_MIN, Wait, tries_of};
use crate::send::send_then_record;
use crate::{Begin, CopyTask, Next, Outcome, Result, TaskEntry, TaskState};

/// When a task that waits for an operator is checked again: within the longest wait that a sweep takes for possible.
const OPERATOR_INTERVAL: Duration = Duration::from_hours(24);

/// One delivery of a [`DeleteTask`].
pub(crate) struct DeleteTag<'a> {
    jobs: &'a Jobs,
    task: &'a DeleteTask,
    entry: TaskEntry,
    run: Run,
    /// The number of the attempt, from 1; 0 before it is begun.
    attempt: u32,
}

/// How an attempt ended.
enum End {
    /// The task has ended.
    Over(Outcome),
    /// The task is to be tried again.
    Later { code: String, message: String, wait: Wait },
    /// Nothing was tried, because a host is paused.
    Paused(Pause),
    /// The task waits for an operator.
    ForOperator(Code, String),
}

impl<'a> DeleteTag<'a> {
    pub(crate) fn new(jobs: &'a Jobs, task: &'a DeleteTask, run: Run) -> Self {
        Self {
            jobs,
            task,
            entry: task.entry(),
            run,
            attempt: 0,
        }
    }

    /// One attempt.
    #[tracing::instrument(skip_all, fields(execution = self.task.execution.id, task = self.task.id, rule = self.task.execution.rule))]
    pub(crate) async fn run(mut self) -> Result<Next> {
        if self.task.is_by_digest() {
            return self.derive().await;
        }
        self.attempt = match self.jobs.ledger.history.begin(&self.entry, self.jobs.now()).await? {
            Begin::Finished(state) => {
                tracing::debug!(%state, "received a message whose delete has already ended");
                return Ok(Next::Done);
            }
            Begin::Attempt(attempt) => attempt,
        };
        let end = match self.attempt().await {
            Ok(end) => end,
            Err(error) => self.classify(&error),
        };
        self.conclude(end).await
    }

    async fn attempt(&self) -> Result<End> {
        let Self { jobs, task, .. } = self;
        let mut snapshot = jobs.configuration.current();
        if snapshot.standing_of_rule(&task.execution) == Standing::Ended(Code::FailoverFenced) {
            jobs.configuration.read_writers(jobs.now()).await?;
            snapshot = jobs.configuration.current();
        }
        if snapshot.is_fallback() {
            return Ok(later(Code::RuleUnclear, Wait::ForDocument));
        }
        match snapshot.standing_of_rule(&task.execution) {
            Standing::Enabled => {}
            Standing::Ended(Code::FailoverFenced) if snapshot.is_coming(&task.execution.rule) => {
                return Err(Error::of(Code::FailoverUnderWay, Verb::Copy.on(&task.execution.rule)));
            }
            Standing::Ended(code @ Code::FailoverFenced) => {
                return Ok(self.over(TaskState::Skipped, code, code.meaning()));
            }
            Standing::Ended(code) => return Ok(self.over(TaskState::Cancelled, code, code.meaning())),
            Standing::Unclear => return Ok(later(Code::RuleUnclear, Wait::ForDocument)),
        }
        let Some(rule) = snapshot.document.rule(&task.execution.rule) else {
            return Ok(later(Code::RuleUnclear, Wait::ForDocument));
        };
        let Deletes::Propagate { at_most } = rule.deletes else {
            let code = Code::DeletesIgnored;
            return Ok(self.over(TaskState::Skipped, code, code.meaning()));
        };
        if let Err(why) = self.expect_in_rule(rule) {
            return Ok(self.over(TaskState::Skipped, Code::DeletesIgnored, &why));
        }
        let source = match self.registry(&snapshot, &task.source.registry) {
            Ok(source) => source,
            Err(end) => return Ok(end),
        };
        let destination = match self.registry(&snapshot, &task.destination.registry) {
            Ok(destination) => destination,
            Err(end) => return Ok(end),
        };
        match jobs.obstacle_of(&task.execution.id, &[&source, &destination]).await {
            Some(Obstacle::Cancelled) => return Ok(End::Over(jobs.cancelled())),
            Some(Obstacle::Paused(pause)) => return Ok(End::Paused(pause)),
            None => {}
        }
        let end = self.delete(&source, &destination, at_most).await;
        for registry in [&source, &destination] {
            jobs.share_pause(registry).await;
        }
        let (end, returned) = end?;
        if returned {
            self.copy_again(rule).await?;
        }
        Ok(end)
    }

    /// The registry called `name`.
    fn registry(&self, snapshot: &Snapshot, name: &str) -> std::result::Result<Registry, End> {
        let is_newer_possible =
            !snapshot.document.registries.contains_key(name) && !snapshot.covers(&self.task.execution);
        snapshot.registry(name).map_err(|error| {
            if is_newer_possible {
                later(Code::RuleUnclear, Wait::ForDocument)
            } else {
                End::Over(self.jobs.failed(error.code(), error.to_string()))
            }
        })
    }

    /// An error is the reason why the rule does not copy the source tag to this destination any more.
    fn expect_in_rule(&self, rule: &Rule) -> std::result::Result<(), String> {
        let Some(tag) = self.task.source.target.tag() else {
            return Err("it is not a tag".to_owned());
        };
        let pushed = Pushed {
            repository: &self.task.source.repository,
            tag: Some(tag),
            kind: None,
        };
        match rule.evaluate(&self.task.source.registry, &pushed) {
            Verdict::Matches(to) | Verdict::Follows(to)
                if destination_of(to.clone(), &self.task.source.target) == self.task.destination =>
            {
                Ok(())
            }
            Verdict::Matches(_) | Verdict::Follows(_) => {
                Err("the rule copies the tag to another destination".to_owned())
            }
            Verdict::No(reason) => Err(format!("the rule does not copy the tag: {reason}")),
        }
    }

    /// Sends a copy of the tag, which came back to the source while it was deleted.
    async fn copy_again(&self, rule: &Rule) -> Result<()> {
        let Self { jobs, task, .. } = self;
        let occurrence = format!("returned {}", task.id);
        let is_attachment = task
            .source
            .target
            .tag()
            .is_some_and(|tag| transship_oci::DigestTag::of(tag).is_some());
        let copy = CopyTask {
            is_attachment,
            ..task_of(
                rule,
                task.source.clone(),
                task.destination.clone(),
                &task.execution,
                &occurrence,
            )
        };
        tracing::info!(
            source = self.entry.source,
            copy = copy.id,
            "the source tag came back while it was deleted, so it is copied again"
        );
        let (queue, history) = (jobs.queue.as_ref(), jobs.ledger.history.as_ref());
        send_then_record(queue, history, &[copy], None).await
    }

    fn classify(&self, error: &Error) -> End {
        let (code, message) = (error.code(), error.to_string());
        if error.is(Code::FailoverFenced) {
            return self.over(TaskState::Skipped, Code::FailoverFenced, error.message());
        }
        if error.persistence().is_permanent() {
            return End::Over(self.jobs.failed(code, message));
        }
        End::Later {
            code: code.to_owned(),
            message,
            wait: Wait::of(error),
        }
    }

    async fn conclude(&self, end: End) -> Result<Next> {
        let Self { jobs, task, entry, .. } = self;
        let history = &jobs.ledger.history;
        let (code, message, wait, is_paused) = match end {
            End::Over(outcome) => {
                jobs.end(entry, &outcome, &[], &self.holder()).await?;
                return Ok(Next::Done);
            }
            End::ForOperator(code, message) => {
                let next = jobs.now().checked_add(OPERATOR_INTERVAL).unwrap_or(Timestamp::MAX);
                tracing::warn!(
                    code = code.as_str(),
                    why = message,
                    source = entry.source,
                    destination = entry.destination,
                    "a delete waits for an operator"
                );
                history.wait(entry, code.as_str(), &message, next).await?;
                return Ok(Next::Done);
            }
            End::Later { code, message, wait } => (code, message, wait, false),
            End::Paused(Pause { host, until, left }) => {
                let message = format!("{host} asked to wait until {until}; `transship resume {host}` ends the wait");
                let code = Code::RateLimited.as_str().to_owned();
                (code, message, Wait::Asked(left.max(DELAY_MIN)), true)
            }
        };
        let is_exhausted = jobs
            .retry_policy
            .is_exhausted(&task.execution, jobs.now(), self.attempt);
        if !is_paused && is_exhausted && !matches!(wait, Wait::ForDocument | Wait::ForSwitch) {
            jobs.end(entry, &jobs.failed(&code, message), &[], "").await?;
            return Ok(Next::Done);
        }
        let tries = tries_of(self.attempt, self.run.tries, self.run.budget);
        let delay = jobs.retry_policy.delay(tries, &task.id, wait);
        let next = jobs.now().checked_add(delay).unwrap_or(Timestamp::MAX);
        tracing::warn!(
            code,
            why = message,
            attempt = self.attempt,
            ?delay,
            source = entry.source,
            destination = entry.destination,
            "the delete will be retried"
        );
        history.wait(entry, &code, &message, next).await?;
        Ok(Next::Again(delay))
    }

    fn over(&self, state: TaskState, code: Code, message: &str) -> End {
        let message = Some(message.to_owned());
        End::Over(self.jobs.outcome(state, None, Some(code.as_str()), message))
    }

    /// The holder of this attempt's lease.
    fn holder(&self) -> String {
        format!("{} {} {}", self.jobs.worker, self.task.id, self.attempt)
    }
}

fn later(code: Code, wait: Wait) -> End {
    End::Later {
        code: code.as_str().to_owned(),
        message: code.meaning().to_owned(),
        wait,
    }
}
