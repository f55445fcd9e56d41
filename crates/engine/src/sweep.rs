//! The sweep: what was missed is found by looking, and becomes tasks. It never deletes.
//!
//! An order becomes one message for each part, so that parts are worked on side by side and one that cannot be swept is no
//! other's trouble: the tasks whose worker vanished, by source registry, and the tags of each event rule.

use std::time::Duration;

use jiff::Timestamp;
use transship_copy::Slot;

use crate::{Disposition, Outgoing, Replicator, Result, Sweep, SweepStep, Task};

/// A task that was not touched for so long has no worker any more: no slot lasts longer.
const VANISHED: Duration = Duration::from_mins(20);
/// Tasks that one message sends again.
const TASKS_MAX: usize = 500;

impl Replicator {
    /// One step of a sweep.
    pub(crate) async fn sweep(&self, sweep: &Sweep, slot: Option<Slot>) -> Result<Disposition> {
        let started = sweep.started.unwrap_or_else(|| self.now());
        match &sweep.step {
            None => self.sweep_begin(started).await,
            Some(SweepStep::Tasks { registry }) => self.sweep_tasks(registry, slot).await,
            Some(SweepStep::Rule { rule, after }) => self.sweep_rule(rule, after.as_ref(), started, slot).await,
        }
    }

    /// Sends a message for each part.
    async fn sweep_begin(&self, started: Timestamp) -> Result<Disposition> {
        let snapshot = self.configuration.current();
        let document = &snapshot.document;
        let registries = document
            .registries
            .keys()
            .map(|name| SweepStep::Tasks { registry: name.clone() });
        let rules = document
            .rules
            .iter()
            .filter(|rule| rule.enabled && rule.on_event)
            .map(|rule| SweepStep::Rule {
                rule: rule.name.clone(),
                after: None,
            });
        let steps: Vec<Outgoing> = registries
            .chain(rules)
            .map(|step| {
                Outgoing::sweep(Sweep {
                    started: Some(started),
                    step: Some(step),
                })
            })
            .collect();
        self.queue.send(&steps).await?;
        tracing::info!(%started, parts = steps.len(), "a sweep begins");
        Ok(Disposition::Done)
    }

    /// Sends the tasks again that read from `registry` and that nobody works on. One that has a message still comes twice,
    /// which its begin or its end finds out.
    async fn sweep_tasks(&self, registry: &str, slot: Option<Slot>) -> Result<Disposition> {
        // Without slots a copy may take hours, and the queue never forgets a message: only what is beyond all patience is lost.
        let silence = if slot.is_some() { VANISHED } else { self.patience.age };
        let now = self.now();
        let before = now.checked_sub(silence).unwrap_or(Timestamp::MIN);
        let lost = self.ledger.unfinished(registry, before, TASKS_MAX).await?;
        if lost.is_empty() {
            return Ok(Disposition::Done);
        }
        let messages: Vec<Outgoing> = lost.iter().cloned().map(Outgoing::now).collect();
        self.queue.send(&messages).await?;
        tracing::warn!(
            code = "TASK_OVERDUE",
            registry,
            tasks = lost.len(),
            "tasks that nobody works on are sent again"
        );
        for task in &lost {
            let message = format!("nothing was heard of it since before {before}: it was sent again");
            self.ledger
                .wait(task, "TASK_OVERDUE", &message, quiet_until(task, now))
                .await?;
        }
        Ok(Disposition::Done)
    }
}

/// Until when a task that was sent again is left alone: for half its age, so that one that only waits for its turn in a long
/// queue gets few messages more.
fn quiet_until(task: &Task, now: Timestamp) -> Timestamp {
    let age = Duration::try_from(now.duration_since(task.created)).unwrap_or_default();
    now.checked_add(age / 2).unwrap_or(Timestamp::MAX)
}
