//! A run: the existing images of a rule are compared, and what differs is copied.
//!
//! What must hold: a walk goes on from what the ledger has, so a worker that dies costs at most the tags since then; one worker at a
//! time walks; the tasks of a run are the same however often a part of it is repeated; and what could not be read is a failed
//! task of its own, which can be redriven, so that the run never counts as complete.

mod visitor;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use transship_oci::{Backoff, Code, Error, Result};
use transship_registry::Registry;
use transship_rules::Rule;

use self::visitor::RunVisitor;
use crate::configuration::Standing;
use crate::job::{Cursor, Run, RunRule};
use crate::jobs::{Jobs, Obstacle, low_quota};
use crate::ledger::{RunBeginning, RunWalk};
use crate::retry_policy::Wait;
use crate::walk::{End, Ends, Misses, Narrow, Patience, STEP_TAGS_MAX, Walk, options};
use crate::{Begin, Next, Outcome, Outgoing, TaskEntry, TaskState, Trigger};

/// A place that cannot be read is tried this often in all. The registry client has already repeated its requests each time.
const PATIENCE: Patience = Patience {
    waits_max: 2,
    backoff: Backoff::doubling(Duration::from_secs(2), Duration::from_secs(30)),
};
/// The longest wait between two messages: what every queue can hold a message back.
const WAIT_MAX: Duration = Duration::from_mins(15);
/// The right to walk of a worker without a time slot, which it extends whenever it saves how far it got.
const LEASE_TTL: Duration = Duration::from_mins(5);
/// A rule that was swept so recently is swept again: at least once a day.
const SWEPT_WITHIN: SignedDuration = SignedDuration::from_hours(25);
/// How soon a message looks again whether the worker that has the right to walk still has it.
const BUSY_WAIT: Duration = Duration::from_secs(30);

/// One delivery of a [`RunRule`].
pub(crate) struct RunPart<'a> {
    jobs: &'a Jobs,
    job: &'a RunRule,
    entry: TaskEntry,
    run: Run,
}

/// The right to walk a run.
pub(super) struct WalkLease {
    name: String,
    holder: String,
    length: Duration,
}

impl WalkLease {
    /// Takes or extends it; false if another worker has it.
    pub(super) async fn take(&self, jobs: &Jobs) -> Result<bool> {
        let now = jobs.now();
        jobs.ledger
            .leases
            .take(&self.name, &self.holder, now, self.length)
            .await
    }
}

/// What follows a part of a walk.
enum After {
    /// It reached its end.
    Over,
    /// An operator cancelled the run.
    Cancelled,
    /// It goes on after this long, and if it waits for an error to pass, after which.
    Later(Duration, Option<Error>),
}

impl<'a> RunPart<'a> {
    pub(crate) fn new(jobs: &'a Jobs, job: &'a RunRule, run: Run) -> Self {
        let entry = job.entry();
        Self { jobs, job, entry, run }
    }

    /// Walks a part of the rule.
    #[tracing::instrument(skip_all, fields(execution = self.job.execution.id, rule = self.job.execution.rule))]
    pub(crate) async fn run(self) -> Result<Next> {
        let Self { jobs, job, entry, .. } = &self;
        let attempt = match jobs.ledger.history.begin(entry, jobs.now()).await? {
            Begin::Attempt(attempt) => attempt,
            Begin::Finished(state) => {
                tracing::debug!(%state, "received a message whose run has already ended");
                return Ok(Next::Done);
            }
        };
        let lease = WalkLease {
            name: format!("run {}", job.id),
            holder: format!("{} {attempt}", jobs.worker),
            length: self.run.budget.map_or(LEASE_TTL, |slot| slot.left() + slot.grace()),
        };
        if !lease.take(jobs).await? {
            return Ok(Next::Again(BUSY_WAIT));
        }
        let next = self.step(&lease).await;
        jobs.ledger.leases.release(&lease.name, &lease.holder).await?;
        next
    }

    async fn step(&self, lease: &WalkLease) -> Result<Next> {
        let Self { jobs, job, .. } = self;
        let snapshot = jobs.configuration.current();
        let known = jobs.ledger.runs.walk(&job.execution.id, &job.id, jobs.now()).await?;
        let is_new = known.is_none();
        let mut walked = known.unwrap_or_default();
        if walked.message_began.take().is_some_and(|began| began != walked.cursor) {
            // A worker died after it got further. A queue takes a message that ends its workers for what ended them, so this one,
            // which did not, is replaced.
            self.save(&walked).await?;
            return Ok(Next::Send(vec![Outgoing::now((*job).clone())]));
        }
        match snapshot.standing_of_rule(&job.execution) {
            Standing::Enabled => {}
            Standing::Ended(Code::RuleDisabled) if is_new && job.execution.trigger == Trigger::Manual => {
                tracing::warn!(
                    code = Code::RuleDisabled.as_str(),
                    "the rule is disabled and runs because an operator asked for it"
                );
                walked.is_disabled = true;
            }
            Standing::Ended(Code::RuleDisabled) if walked.is_disabled => {}
            Standing::Ended(Code::RuleRemoved) if is_new => {
                let code = Code::UnknownRule;
                return self.end(&jobs.failed(code.as_str(), code.meaning().to_owned())).await;
            }
            Standing::Ended(code) => {
                let message = Some(code.meaning().to_owned());
                let outcome = jobs.outcome(TaskState::Cancelled, None, Some(code.as_str()), message);
                return self.end(&outcome).await;
            }
            Standing::Unclear => {
                let tries = self.run.tries.saturating_add(1);
                return Ok(Next::Again(jobs.retry_policy.delay(tries, &job.id, Wait::ForDocument)));
            }
        }
        if let Some(other) = self.active_other().await? {
            let message = format!("the run {other} of the rule is still active");
            let code = Some(Code::RunActive.as_str());
            let outcome = jobs.outcome(TaskState::Skipped, None, code, Some(message));
            return self.end(&outcome).await;
        }
        let Some(rule) = snapshot.document.rule(&job.execution.rule) else {
            return Ok(Next::Again(BUSY_WAIT));
        };
        let (source, destination) = match (
            snapshot.registry(&rule.source.registry),
            snapshot.registry(&rule.destination.registry),
        ) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(error), _) | (_, Err(error)) => {
                return self.end(&jobs.failed(error.code(), error.to_string())).await;
            }
        };
        let rule_version = snapshot.fingerprint(rule);
        if is_new {
            walked.is_attended = self.is_attended(rule, &rule_version).await?;
        }
        // The command that started the run also sees that it has begun, and that its rule is known.
        walked.message_began = Some(walked.cursor.clone());
        self.save(&walked).await?;
        let after = self.walk(rule, (&source, &destination), &mut walked, lease).await?;
        let wait = match after {
            After::Over => {
                if walked.progress.is_whole() && job.narrow == Narrow::default() {
                    // Everything that existed before the rule has been offered to the destination.
                    let (baselines, name) = (&jobs.ledger.baselines, rule.name.as_str());
                    baselines.settle(name, &rule.selection, jobs.now()).await?;
                    if !walked.is_attended {
                        let runs = &jobs.ledger.runs;
                        runs.note_attachments(name, &rule_version, jobs.now()).await?;
                    }
                }
                return self.end(&self.outcome(&walked)).await;
            }
            After::Cancelled => return self.end(&jobs.cancelled()).await,
            After::Later(wait, None) => wait,
            After::Later(wait, Some(error)) => {
                let next = jobs.now().checked_add(wait).unwrap_or(Timestamp::MAX);
                let (history, message) = (&jobs.ledger.history, error.to_string());
                history.wait(&self.entry, error.code(), &message, next).await?;
                wait
            }
        };
        let (wait, host) = jobs.wait_for(wait.min(WAIT_MAX), &[&source, &destination]).await;
        let next = Outgoing::later((*job).clone(), wait);
        Ok(Next::Send(vec![next.waiting_for(host)]))
    }

    /// True if what is attached to images that were copied or compared before is found without this run: an earlier run asked for
    /// all of it, each sweep of the rule asks again, and the last verification missed nothing.
    async fn is_attended(&self, rule: &Rule, rule_version: &str) -> Result<bool> {
        let (ledger, now) = (&self.jobs.ledger, self.jobs.now());
        if !rule.is_on_event() || !ledger.runs.knows_attachments(&rule.name, rule_version, now).await? {
            return Ok(false);
        }
        let swept = ledger.silences.of(&rule.name, rule_version, now).await?;
        let is_recent = |started: Timestamp| now.duration_since(started) <= SWEPT_WITHIN;
        let is_whole = swept.whole.is_some_and(is_recent) && swept.partial <= swept.whole;
        if !is_whole {
            return Ok(false);
        }
        let verified = ledger.verifications.get(&rule.name).await?;
        Ok(verified.is_none_or(|verified| verified.attachments_missing == 0))
    }

    /// Walks until there is no more, until the slot is over, or until something must be waited for.
    async fn walk(
        &self,
        rule: &Rule,
        (source, destination): (&Registry, &Registry),
        walked: &mut RunWalk,
        lease: &WalkLease,
    ) -> Result<After> {
        let Self { jobs, job, .. } = self;
        let obstacle = jobs.obstacle_of(&job.execution.id, &[source, destination]).await;
        if obstacle == Some(Obstacle::Cancelled) {
            return Ok(After::Cancelled);
        }
        if let Some(Obstacle::Paused(pause)) = obstacle {
            let error = Error::of(Code::RateLimited, transship_oci::Verb::Registry.on(&pause.host));
            return Ok(After::Later(
                pause.left,
                Some(error.because(format!("asked to wait until {}", pause.until))),
            ));
        }
        if let Some(error) = low_quota(&job.execution, source) {
            let policy = &jobs.retry_policy;
            return Ok(After::Later(policy.delay(1, &job.id, Wait::of(&error)), Some(error)));
        }
        let is_from_beginning = walked.cursor == Cursor::default() && job.narrow == Narrow::default();
        let known = if is_from_beginning {
            // Without it, the run takes longer.
            let known = jobs.ledger.runs.beginning(&rule.name, jobs.now()).await;
            known.unwrap_or_default()
        } else {
            RunBeginning::default()
        };
        let found = &walked.progress;
        // The first run of a rule seeds its destination.
        let is_seeding = is_from_beginning && known.tags == 0 || found.tags > 0 && found.enqueued * 3 >= found.tags;
        for registry in [source, destination] {
            registry.expect_requests(known.tags);
        }
        let mut walk = Walk {
            rule,
            source: source.clone(),
            expected: known.repositories.clone(),
            narrow: job.narrow.clone(),
            patience: PATIENCE,
            cursor: walked.cursor.clone(),
            stuck: walked.stuck,
            looks_left: STEP_TAGS_MAX,
        };
        let ends = Ends {
            jobs,
            rule,
            source: source.clone(),
            destination: destination.clone(),
            execution: job.execution.clone(),
            occurrence: format!("run {}", job.execution.id),
            misses: options(rule).lets_all_pass().then(|| Misses::new(is_seeding)),
            is_attended: walked.is_attended,
        };
        let mut visitor = RunVisitor {
            ends: &ends,
            job,
            lease,
            walked: walked.clone(),
            beginning: RunBeginning::default(),
            unread: Vec::new(),
            moves: 0,
        };
        let begun = walk.cursor.clone();
        let ended = match self.run.budget {
            Some(budget) => tokio::time::timeout(budget.left(), walk.run(&ends, &mut visitor)).await,
            None => Ok(walk.run(&ends, &mut visitor).await),
        };
        for registry in [source, destination] {
            jobs.share_pause(registry).await;
        }
        let has_walked = matches!(ended, Ok(Ok(_)));
        let after = match ended {
            Ok(Ok(End::Whole)) => After::Over,
            Ok(Ok(End::Enough)) => After::Later(Duration::ZERO, None),
            Ok(Err(error)) if error.is(Code::ExecutionCancelled) => After::Cancelled,
            // What lasts is not waited for: the walk cannot go on, and what comes after is not known.
            Ok(Err(error)) => match walk.stop(&error).filter(|_| walk.stuck <= PATIENCE.waits_max) {
                Some(wait) => {
                    tracing::warn!(code = error.code(), %error, ?wait, "the run will continue later");
                    After::Later(wait, Some(error))
                }
                None if is_of_ledger(&error) => return Err(error),
                None => {
                    visitor.add_unread(None, None, &error);
                    After::Over
                }
            },
            Err(_) => {
                if visitor.walked.cursor == begun {
                    walk.stuck += 1;
                }
                After::Later(Duration::ZERO, None)
            }
        };
        // A slot that ended in the middle of a stride has not moved past it.
        visitor.walked.stuck = walk.stuck;
        visitor.walked.message_began = None;
        visitor.walked.progress.is_over = matches!(after, After::Over);
        visitor.save().await?;
        let is_known = visitor.beginning == known;
        if is_from_beginning && has_walked && !is_known {
            let runs = &jobs.ledger.runs;
            if let Err(error) = runs.note_beginning(&rule.name, &visitor.beginning, jobs.now()).await {
                tracing::debug!(code = error.code(), "the next run does not know what to expect");
            }
        }
        let progress = &visitor.walked.progress;
        tracing::info!(
            repositories = progress.repositories,
            tags = progress.tags,
            equal = progress.equal,
            enqueued = progress.enqueued,
            unreadable = progress.unreadable,
            "compared tags"
        );
        *walked = visitor.walked;
        Ok(after)
    }

    /// The execution of another run of the rule that is active; [`None`]: this one is, now at the latest. A walk that was redriven
    /// becomes the active run.
    async fn active_other(&self) -> Result<Option<String>> {
        let Self { jobs, job, .. } = self;
        let runs = &jobs.ledger.runs;
        loop {
            let last = runs.last(&job.execution.rule).await?;
            if let Some(last) = &last {
                let other = &last.job.execution.id;
                if *other == job.execution.id {
                    return Ok(None);
                }
                let record = jobs.ledger.history.execution(other).await?;
                if record.is_some_and(|record| record.duration_ms.is_none()) {
                    return Ok(Some(other.clone()));
                }
            }
            if runs.start(job, last.map(|last| last.version)).await? {
                return Ok(None);
            }
        }
    }

    async fn save(&self, walked: &RunWalk) -> Result<()> {
        let Self { jobs, job, .. } = self;
        let runs = &jobs.ledger.runs;
        runs.save(&job.execution.id, &job.id, walked, jobs.now()).await
    }

    fn outcome(&self, walked: &RunWalk) -> Outcome {
        let progress = &walked.progress;
        let (code, message) = if progress.unreadable == 0 {
            (None, None)
        } else {
            let names: Vec<String> = progress
                .unread
                .iter()
                .take(5)
                .map(|unread| format!("{} ({})", unread.name, unread.code))
                .collect();
            let more = progress.unreadable.saturating_sub(names.len() as u64);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let message = format!("could not be read: {}{more}", names.join(", "));
            (Some(Code::RunIncomplete.as_str()), Some(message))
        };
        self.jobs.outcome(TaskState::Succeeded, None, code, message)
    }

    async fn end(&self, outcome: &Outcome) -> Result<Next> {
        self.jobs.end(&self.entry, outcome, &[], "").await?;
        Ok(Next::Done)
    }
}

/// True for an error of the ledger or the queue, about which nothing can be decided.
fn is_of_ledger(error: &Error) -> bool {
    matches!(
        error.kind(),
        Code::LedgerUnavailable | Code::QueueUnavailable | Code::MessageInvalid
    )
}
