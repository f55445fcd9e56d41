//! Due: starts a run of each rule whose schedule has a time that has passed.
//!
//! What must hold: each due time starts one run with any number of workers and restarts; times that were missed while
//! nothing worked start one run together. The execution is named after its due time, and the time is noted after the run was sent:
//! a worker that ends in between, or another one that looks at the same moment, sends the same run again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use transship_copy::Clock;
use transship_rules::Rule;

use crate::job::RunRule;
use crate::ledger::{History, LastDue, Schedules};
use crate::plan::id;
use crate::send::now;
use crate::walk::Narrow;
use crate::{Configuration, Execution, Outgoing, Result, Snapshot, TaskQueue, Trigger};

/// A document that was the newest so recently decides which schedules a rule has.
const DOCUMENT_AGE_MAX: Duration = Duration::from_mins(5);

/// Starts what is due.
pub struct StartDue {
    /// The document in force.
    pub configuration: Configuration,
    /// The last due times.
    pub schedules: Schedules,
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// The queue.
    pub queue: Arc<dyn TaskQueue>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl StartDue {
    /// Starts a run of each rule that is due; the ids of their executions. One call of the ledger if none is.
    pub async fn run(&self) -> Result<Vec<String>> {
        let snapshot = self.configuration.current();
        let known = self.schedules.all().await?;
        let mut started = Vec::new();
        for rule in &snapshot.document.rules {
            if rule.schedules().next().is_some() {
                started.extend(self.start(&snapshot, rule, known.get(&rule.name)).await?);
            }
        }
        let now = now(self.clock.as_ref());
        for (name, last) in &known {
            let rule = snapshot.document.rule(name);
            let has_schedule = rule.is_some_and(|rule| rule.schedules().next().is_some());
            // Times that pass while a rule is disabled are not missed.
            if !has_schedule && !last.schedules.is_empty() && is_recent(&snapshot, now) {
                self.schedules.note(name, Some(last), "", now).await?;
            }
        }
        Ok(started)
    }

    async fn start(&self, snapshot: &Snapshot, rule: &Rule, last: Option<&LastDue>) -> Result<Option<String>> {
        let now = now(self.clock.as_ref());
        let written: Vec<String> = rule.schedules().map(ToString::to_string).collect();
        let written = written.join(", ");
        let Some(known) = last.filter(|last| last.schedules == written) else {
            // Another worker may have a newer document, with the schedules that are known.
            if last.is_none() || is_recent(snapshot, now) {
                self.schedules.note(&rule.name, last, &written, now).await?;
            }
            return Ok(None);
        };
        let due = rule
            .schedules()
            .filter_map(|schedule| schedule.last_due(known.due, now))
            .max();
        let Some(due) = due else {
            return Ok(None);
        };
        let execution = Execution {
            id: id("e", &[&rule.name, "schedule", &due.to_string()]),
            rule: rule.name.clone(),
            trigger: Trigger::Schedule,
            created: now,
        };
        let ends = (rule.source.registry.as_str(), rule.destination.registry.as_str());
        let job = RunRule::new(execution, ends, Narrow::default());
        self.history.record(&[job.entry()]).await?;
        self.queue.send(&[Outgoing::now(job.clone())]).await?;
        if !self.schedules.note(&rule.name, Some(known), &written, due).await? {
            return Ok(None);
        }
        tracing::info!(rule = rule.name, execution = job.execution.id, %due, "the schedule of the rule started a run");
        Ok(Some(job.execution.id))
    }
}

fn is_recent(snapshot: &Snapshot, now: Timestamp) -> bool {
    let recent = now.checked_sub(DOCUMENT_AGE_MAX).unwrap_or(Timestamp::MIN);
    snapshot.covers(&Execution {
        id: String::new(),
        rule: String::new(),
        trigger: Trigger::Schedule,
        created: recent,
    })
}
