//! The sweep of one rule: the repositories of its source, their tags, and what of them is missing at the destination.
//!
//! What must hold: a message looks at a bounded number of tags within its slot and sends the rest on with its cursor; the
//! cursor moves only past tags whose tasks are in the queue. One repository that cannot be read is passed over. One sweep of
//! a rule runs at a time, and it makes no more tasks than workers do: it waits for its own backlog.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use metrics::counter;
use transship_oci::{Backoff, Code, Error, Result};
use transship_registry::Registry;
use transship_rules::Rule;

use super::baseline::{self, Baseline, BaselineCounts, Start};
use super::visitor::{SweepComparer, SweepCounts, SweepVisitor};
use crate::job::{Cursor, Run, Source, Sweep, SweepStep};
use crate::jobs::{Jobs, Obstacle, low_quota};
use crate::ledger::{self, By, TaskQuery};
use crate::plan::id;
use crate::retry_policy::Wait;
use crate::walk::{End, Ends, Narrow, Patience, STEP_TAGS_MAX, Walk};
use crate::{Execution, ImageRef, Job, Next, Outgoing, TaskEntry, Trigger};

/// Unfinished tasks of a rule beyond which its sweep waits.
const BACKLOG_TASKS_MAX: usize = 1000;
/// For how long.
const BACKLOG_WAIT: Duration = Duration::from_mins(5);
/// A sweep that stops without a word leaves its rule to the next one after so long: twice the longest wait.
const LEASE_TTL: Duration = Duration::from_mins(30);
/// The wait for a document that is as new as what is known of the rule.
const UNCLEAR_WAIT: Duration = Duration::from_mins(1);
/// The longest wait between two messages: what every queue can hold a message back.
const WAIT_MAX: Duration = Duration::from_mins(15);
/// How often the sweep waits at one place for errors to pass. Then it goes on past it.
const STUCK_STEPS_MAX: u32 = 5;
/// The waits for an error to pass.
const PATIENCE: Patience = Patience {
    waits_max: STUCK_STEPS_MAX,
    backoff: Backoff::doubling(Duration::from_secs(30), WAIT_MAX),
};
/// Maximum age of a sweep. An older one ends, and the next one starts from the beginning.
const RUN_AGE_MAX: Duration = Duration::from_hours(24);

/// The sweep of one rule, within one message.
pub(crate) struct SweepRule<'a> {
    pub(super) jobs: &'a Jobs,
    name: &'a str,
    pub(super) started: Timestamp,
    run: &'a Run,
}

/// The rest of a walk: from where, after how many failures there, and after which wait; [`None`]: there is no rest.
struct Rest {
    cursor: Cursor,
    stuck: u32,
    wait: Option<Duration>,
}

impl<'a> SweepRule<'a> {
    pub(crate) const fn new(jobs: &'a Jobs, name: &'a str, started: Timestamp, run: &'a Run) -> Self {
        Self {
            jobs,
            name,
            started,
            run,
        }
    }

    /// Compares tags of the rule, `after` what was compared before.
    #[tracing::instrument(skip_all, fields(rule = self.name))]
    pub(crate) async fn run(&self, after: Option<&Cursor>) -> Result<Next> {
        let jobs = self.jobs;
        let snapshot = jobs.configuration.current();
        let Some(rule) = snapshot.document.rule(self.name).filter(|rule| rule.is_on_event()) else {
            tracing::info!("the rule was removed, so its sweep ends");
            return Ok(Next::Done);
        };
        let (source, destination) = match (
            snapshot.registry(&rule.source.registry),
            snapshot.registry(&rule.destination.registry),
        ) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(code = error.code(), %error, "the rule cannot be swept");
                return Ok(Next::Done);
            }
        };
        let (lease, holder) = (format!("sweep {}", self.name), self.started.to_string());
        if !jobs.ledger.leases.take(&lease, &holder, jobs.now(), LEASE_TTL).await? {
            tracing::info!(
                code = Code::SweepRunning.as_str(),
                "an earlier sweep of the rule is still running"
            );
            return Ok(Next::Done);
        }
        let rest = self.walk(rule, (source.clone(), destination.clone()), after).await?;
        let wait = rest.wait.filter(|_| !self.is_over(&rest));
        let Some(wait) = wait else {
            jobs.ledger.leases.release(&lease, &holder).await?;
            return Ok(Next::Done);
        };
        // A walk that has not begun yet may begin where an earlier one ended.
        let has_begun = after.is_some() || rest.cursor != Cursor::default();
        let next = Sweep {
            started: Some(self.started),
            step: Some(SweepStep::Rule {
                rule: self.name.to_owned(),
                after: Some(rest.cursor).filter(|_| has_begun),
            }),
        };
        let (wait, host) = jobs.wait_for(wait.min(WAIT_MAX), &[&source, &destination]).await;
        let next = Outgoing::later(next, wait).with_tries(rest.stuck);
        Ok(Next::Send(vec![next.waiting_for(host)]))
    }

    async fn walk(
        &self,
        rule: &Rule,
        (source, destination): (Registry, Registry),
        after: Option<&Cursor>,
    ) -> Result<Rest> {
        let cursor = after.cloned().unwrap_or_default();
        let (jobs, stuck) = (self.jobs, self.run.tries);
        let later = |cursor, wait| {
            Ok(Rest {
                cursor,
                stuck,
                wait: Some(wait),
            })
        };
        let execution = Execution {
            id: id("e", &[&rule.name, "sweep", &self.started.to_string()]),
            rule: rule.name.clone(),
            trigger: Trigger::Sweep,
            created: self.started,
        };
        match jobs.obstacle_of(&execution.id, &[&source, &destination]).await {
            Some(Obstacle::Cancelled) => {
                tracing::info!(
                    code = Code::ExecutionCancelled.as_str(),
                    execution = execution.id,
                    "an operator cancelled the sweep of the rule"
                );
                let wait = None;
                return Ok(Rest { cursor, stuck, wait });
            }
            Some(Obstacle::Paused(pause)) => return later(cursor, pause.left),
            None => {}
        }
        if let Some(error) = low_quota(&execution, &source) {
            tracing::info!(code = error.code(), %error, "the sweep of the rule will continue later");
            return later(cursor, jobs.retry_policy.delay(1, self.name, Wait::of(&error)));
        }
        let under_way = self.under_way(rule).await?;
        if under_way.len() >= BACKLOG_TASKS_MAX {
            return later(cursor, BACKLOG_WAIT);
        }
        let snapshot = jobs.configuration.current();
        let (baseline, start) = Baseline::load(jobs, &snapshot, rule, self.started, after).await?;
        let cursor = match start {
            Start::AsSent => cursor,
            Start::At(cursor) => cursor,
            Start::Unclear => {
                tracing::info!(
                    code = Code::RuleUnclear.as_str(),
                    "the rule is known otherwise, so its sweep waits for a document that is as new"
                );
                return later(cursor, UNCLEAR_WAIT);
            }
        };
        let begun = cursor.clone();
        let mut walk = Walk {
            rule,
            source: source.clone(),
            expected: Vec::new(),
            narrow: Narrow::default(),
            patience: PATIENCE,
            cursor,
            stuck,
            looks_left: STEP_TAGS_MAX,
        };
        let ends = Ends {
            jobs,
            rule,
            source: source.clone(),
            destination: destination.clone(),
            execution,
            occurrence: format!("sweep {}", self.started),
            misses: None,
            is_attended: false,
        };
        let comparer = SweepComparer { ends: &ends, under_way };
        let mut visitor = SweepVisitor {
            ends: &ends,
            rule_version: snapshot.fingerprint(rule),
            baseline,
            counts: SweepCounts::default(),
        };
        let ended = match self.run.budget {
            Some(budget) => tokio::time::timeout(budget.left(), walk.run(&comparer, &mut visitor)).await,
            None => Ok(walk.run(&comparer, &mut visitor).await),
        };
        for registry in [&source, &destination] {
            jobs.share_pause(registry).await;
        }
        let looked = STEP_TAGS_MAX - walk.looks_left;
        let counts = visitor.counts;
        let SweepCounts {
            made,
            adopted,
            unexplained,
            failed,
            ..
        } = counts;
        let BaselineCounts {
            recorded: existed,
            left,
            ..
        } = visitor.baseline.counts;
        let before_rule = existed + left;
        tracing::info!(
            looked,
            missed = made,
            before_rule,
            adopted,
            unexplained,
            failed,
            "compared tags"
        );
        counter!("KeptUnexplained").increment(unexplained as u64);
        let is_lost = self.report_lost_ledger(counts).await?;
        baseline::report(visitor.baseline.counts);
        let is_whole = matches!(ended, Ok(Ok(End::Whole)));
        self.watch(rule, &visitor.rule_version, counts, is_whole).await;
        let wait = match ended {
            Ok(Ok(End::Whole)) => None,
            Ok(Ok(End::Enough)) => Some(Duration::ZERO),
            Ok(Err(error)) => stop(&mut walk, &error),
            Err(_) => {
                if walk.cursor == begun {
                    walk.stuck += 1;
                }
                Some(Duration::ZERO)
            }
        };
        let how = match wait {
            _ if is_whole => baseline::Ended::Whole,
            Some(_) => baseline::Ended::At(&walk.cursor),
            None => baseline::Ended::Aborted,
        };
        visitor.baseline.save(how, is_lost).await?;
        Ok(Rest {
            cursor: walk.cursor,
            stuck: walk.stuck,
            wait,
        })
    }

    /// Reports once that the destination was filled and the ledger empty when its first sweep began. True if this message showed it.
    async fn report_lost_ledger(&self, counts: SweepCounts) -> Result<bool> {
        let first_sweep = &self.jobs.ledger.first_sweep;
        let unknown = counts.adopted + counts.unexplained;
        if unknown <= counts.recorded || !first_sweep.is_first(self.started).await? {
            return Ok(false);
        }
        if first_sweep.report(self.jobs.now()).await? {
            counter!("LedgerLost").increment(1);
            tracing::error!(
                code = Code::LedgerLost.as_str(),
                adopted = counts.adopted,
                unexplained = counts.unexplained,
                "the ledger was empty beside a destination that has images: equal tags were adopted; tags that differ are not copied until their rule is run"
            );
        }
        Ok(true)
    }

    /// The ends of the unfinished copies of the rule, until there are [`BACKLOG_TASKS_MAX`]. Those of other rules are passed
    /// over, however many they are.
    async fn under_way(&self, rule: &Rule) -> Result<HashSet<(ImageRef, ImageRef)>> {
        let mut query = TaskQuery::new(By::Open);
        query.filter.rule = Some(rule.name.clone());
        query.filter.origin = Some(rule.source.registry.clone());
        let mut under_way = HashSet::new();
        let mut after: Option<ledger::Cursor> = None;
        loop {
            let history = &self.jobs.ledger.history;
            let page = history.entries(&query, after.as_ref(), BACKLOG_TASKS_MAX).await?;
            under_way.extend(page.items.iter().filter_map(ends_of));
            after = page.next;
            if after.is_none() || under_way.len() >= BACKLOG_TASKS_MAX {
                return Ok(under_way);
            }
        }
    }

    /// True if a sweep that is not at its end does not go on either.
    fn is_over(&self, rest: &Rest) -> bool {
        let age = Duration::try_from(self.jobs.now().duration_since(self.started)).unwrap_or_default();
        let is_over = age > RUN_AGE_MAX || rest.stuck > 2 * STUCK_STEPS_MAX;
        if is_over {
            tracing::error!(
                code = Code::SweepAborted.as_str(),
                repository = rest.cursor.repository.as_ref().map(ToString::to_string),
                ?age,
                "the sweep ends before it compared every tag; the next one starts again"
            );
        }
        is_over
    }
}

/// How long the sweep waits for this error to pass; [`None`]: it ends.
fn stop(walk: &mut Walk<'_>, error: &Error) -> Option<Duration> {
    let wait = walk.stop(error);
    if let Some(wait) = wait {
        tracing::warn!(code = error.code(), %error, ?wait, "the sweep of the rule will continue later");
    } else {
        tracing::error!(code = error.code(), %error, "the rule cannot be swept");
    }
    wait
}

/// Source and destination of a copy between registries.
fn ends_of(entry: &TaskEntry) -> Option<(ImageRef, ImageRef)> {
    match entry.envelope().ok()?.job {
        Job::Copy(task) => match task.source {
            Source::Registry(source) => Some((source, task.destination)),
            Source::Stored { .. } => None,
        },
        _ => None,
    }
}
