//! The sweep: what was missed is found by comparing, and becomes tasks. It never deletes.
//!
//! An order becomes one message for each part, so that parts are worked on side by side and one that cannot be swept does not
//! affect the others: the tasks whose worker is gone, by where they read; the tags of each event rule; and the sources of
//! imports that wait for content that never came.

mod baseline;
mod rule;
mod silence;
mod visitor;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{gauge, histogram};

use self::rule::SweepRule;
use crate::job::{Job, Run, Sweep, SweepStep, WAIT_MAX};
use crate::jobs::Jobs;
use crate::ledger::{Progress, RuleState};
use crate::{Envelope, Execution, Next, Outgoing, Result, StoreName, TaskEntry, Trigger};
use transship_oci::Code;

/// A task that was not touched for this long has no worker any more: no slot lasts longer.
const WORKER_LOST_AFTER: Duration = Duration::from_mins(20);
/// Tasks that one message sends again.
const REPUBLISHED_TASKS_MAX: usize = 500;
/// An upload that takes longer was probably broken off.
const UPLOAD_OVERDUE_AFTER: Duration = Duration::from_hours(1);
/// Incomplete sources that are counted, and that are logged by name.
const INCOMPLETE_MAX: usize = 1000;
const INCOMPLETE_LOGGED_MAX: usize = 20;
/// Incomplete sources that one sweep scans again, the longest waiting first.
const RESCANNED_SOURCES_MAX: usize = 100;

/// One delivery of a [`Sweep`].
pub(crate) struct SweepPart<'a> {
    jobs: &'a Jobs,
    sweep: &'a Sweep,
    run: Run,
}

impl<'a> SweepPart<'a> {
    pub(crate) const fn new(jobs: &'a Jobs, sweep: &'a Sweep, run: Run) -> Self {
        Self { jobs, sweep, run }
    }

    /// Sweeps one part, or begins a sweep.
    pub(crate) async fn run(self) -> Result<Next> {
        let started = self.sweep.started.unwrap_or_else(|| self.jobs.now());
        match &self.sweep.step {
            None => {
                self.note_rules(started).await?;
                self.jobs.ledger.first_sweep.begin(started).await?;
                Ok(self.begin(started))
            }
            Some(SweepStep::Tasks { registry }) => self.resend_tasks(registry).await,
            Some(SweepStep::Incomplete) => self.report_incomplete().await,
            Some(SweepStep::Rule { rule, after }) => {
                SweepRule::new(self.jobs, rule, started, &self.run)
                    .run(after.as_ref())
                    .await
            }
        }
    }

    /// Forgets the rules that the document does not have any more. In a ledger of an earlier release, whose sweeps copied
    /// everything, its rules have no baseline.
    async fn note_rules(&self, started: Timestamp) -> Result<()> {
        let snapshot = self.jobs.configuration.current();
        let ledger = &self.jobs.ledger;
        if !ledger.first_sweep.notes_rules().await? {
            if ledger.first_sweep.has_begun().await? {
                for rule in snapshot.document.rules.iter().filter(|rule| rule.is_on_event()) {
                    let state = RuleState::complete(started, rule.selection.clone());
                    ledger.baselines.begin(&rule.name, state).await?;
                }
            }
            // Before the first sweep is noted: a message that is received again finds both or none.
            return ledger.first_sweep.note_rules(started).await;
        }
        let mut after = None;
        loop {
            let page = ledger.baselines.rules(after.as_ref()).await?;
            for (rule, state) in page.items {
                let execution = Execution {
                    id: String::new(),
                    rule: rule.clone(),
                    trigger: Trigger::Sweep,
                    created: state.seen,
                };
                let is_known = !matches!(state.progress, Progress::Forgotten(_));
                if is_known && snapshot.document.rule(&rule).is_none() && snapshot.covers(&execution) {
                    tracing::info!(
                        rule,
                        "the document does not have the rule any more, so its baseline is forgotten"
                    );
                    ledger.baselines.forget(&rule, started).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// A message for each part.
    fn begin(&self, started: Timestamp) -> Next {
        let snapshot = self.jobs.configuration.current();
        let document = &snapshot.document;
        let stores: BTreeSet<String> = document
            .imports
            .iter()
            .map(|import| StoreName::bucket(&import.bucket).to_string())
            .collect();
        let registries = document.registries.keys().cloned().chain(stores);
        let tasks = registries.map(|registry| SweepStep::Tasks { registry });
        let rules = document
            .rules
            .iter()
            .filter(|rule| rule.is_on_event())
            .map(|rule| SweepStep::Rule {
                rule: rule.name.clone(),
                after: None,
            });
        let steps: Vec<Outgoing> = tasks
            .chain(rules)
            .chain([SweepStep::Incomplete])
            .map(|step| {
                Outgoing::now(Sweep {
                    started: Some(started),
                    step: Some(step),
                })
            })
            .collect();
        tracing::info!(%started, parts = steps.len(), "started a sweep");
        Next::Send(steps)
    }

    /// Sends the tasks again that read from `registry` and that no worker has. If a task still has a message it is delivered
    /// twice, which is harmless.
    async fn resend_tasks(&self, registry: &str) -> Result<Next> {
        let jobs = self.jobs;
        // Without slots a copy may take hours, and the queue never loses a message: only a task that is older than any retry
        // is lost.
        let silence = if self.run.budget.is_some() {
            WORKER_LOST_AFTER
        } else {
            jobs.retry_policy.age
        };
        let now = jobs.now();
        let before = now.checked_sub(silence).unwrap_or(Timestamp::MIN);
        let latest = now.checked_add(WAIT_MAX).unwrap_or(Timestamp::MAX);
        let lost = jobs
            .ledger
            .history
            .untouched(registry, before, latest, REPUBLISHED_TASKS_MAX)
            .await?;
        let (lost, messages): (Vec<TaskEntry>, Vec<Outgoing>) = lost.into_iter().filter_map(resent).unzip();
        if lost.is_empty() {
            return Ok(Next::Done);
        }
        jobs.queue.send(&messages).await?;
        tracing::warn!(
            code = Code::TaskOverdue.as_str(),
            registry,
            tasks = lost.len(),
            "sent tasks again that no worker processes"
        );
        for entry in &lost {
            let age = now.duration_since(entry.execution.created).as_millis_f64();
            histogram!("OldestUnfinishedTask", "Rule" => entry.execution.rule.clone()).record(age.max(0.0));
            let message = format!("no worker has updated the task since before {before}, so it was sent again");
            jobs.ledger
                .history
                .wait(entry, "TASK_OVERDUE", &message, quiet_until(entry, now))
                .await?;
        }
        Ok(Next::Done)
    }

    /// Logs sources that have waited so long that what they wait for will hardly come, and scans them again: the object may have
    /// come without an event, and a wait ends some day.
    async fn report_incomplete(&self) -> Result<Next> {
        let now = self.jobs.now();
        let before = now.checked_sub(UPLOAD_OVERDUE_AFTER).unwrap_or(Timestamp::MIN);
        let waiting = self.jobs.sources.pending().waiting(INCOMPLETE_MAX, now).await?;
        let overdue: Vec<_> = waiting.iter().filter(|waiting| waiting.since < before).collect();
        gauge!("SourcesIncomplete").set(overdue.len() as f64);
        let scans = overdue
            .iter()
            .take(RESCANNED_SOURCES_MAX)
            .map(|waiting| Envelope::parse(&waiting.job));
        let scans: Vec<Outgoing> = scans.flatten().map(|scan| Outgoing::now(scan.job)).collect();
        if !scans.is_empty() {
            self.jobs.queue.send(&scans).await?;
        }
        for waiting in overdue.iter().take(INCOMPLETE_LOGGED_MAX) {
            let Ok(Envelope {
                job: Job::Scan(scan), ..
            }) = Envelope::parse(&waiting.job)
            else {
                continue;
            };
            let (store, key) = (scan.store.as_str(), scan.source.key.as_str());
            let (since, missing) = (waiting.since, waiting.blobs);
            tracing::warn!(code = Code::SourceIncomplete.as_str(), store, key, %since, missing, "a source waits for missing content: upload it, or upload its index.json again");
        }
        Ok(Next::Done)
    }
}

/// The message of a task, to be sent again; [`None`], logged, if another release recorded the task.
fn resent(entry: TaskEntry) -> Option<(TaskEntry, Outgoing)> {
    let read = entry.envelope();
    let read = read.inspect_err(|error| {
        tracing::error!(code = error.code(), %error, task = entry.id, "a task cannot be sent again");
    });
    let envelope = read.ok()?;
    let delay = Duration::ZERO;
    Some((entry, Outgoing { envelope, delay }))
}

/// Until when a task that was sent again is left alone: for half its age, so that one that only waits in a long queue gets
/// few messages more, and not longer than the longest wait.
fn quiet_until(entry: &TaskEntry, now: Timestamp) -> Timestamp {
    let quiet = (entry.execution.age(now) / 2).min(WAIT_MAX);
    now.checked_add(quiet).unwrap_or(Timestamp::MAX)
}
