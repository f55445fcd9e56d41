//! The sweep: what was missed is found by looking, and becomes tasks. It never deletes.
//!
//! An order becomes one message for each part, so that parts are worked on side by side and one that cannot be swept is no
//! other's trouble: the tasks whose worker vanished, by where they read; the tags of each event rule; and the sources of imports
//! that wait for what never came.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use metrics::gauge;
use transship_copy::Slot;

use crate::import_intake::store_of;
use crate::{Disposition, Outgoing, Replicator, Sweep, SweepStep, Task};
use transship_oci::Result;

/// A task that was not touched for so long has no worker any more: no slot lasts longer.
const VANISHED: Duration = Duration::from_mins(20);
/// Tasks that one message sends again.
const TASKS_MAX: usize = 500;
/// An upload that takes longer was probably broken off.
const OVERDUE: Duration = Duration::from_hours(1);
/// Sources that are counted, and that are told of by name.
const INCOMPLETE_MAX: usize = 1000;
const INCOMPLETE_TOLD: usize = 20;

impl Replicator {
    /// One step of a sweep.
    pub(crate) async fn sweep(&self, sweep: &Sweep, slot: Option<Slot>) -> Result<Disposition> {
        let started = sweep.started.unwrap_or_else(|| self.now());
        match &sweep.step {
            None => self.sweep_begin(started).await,
            Some(SweepStep::Tasks { registry }) => self.sweep_tasks(registry, slot).await,
            Some(SweepStep::Incomplete) => self.sweep_incomplete().await,
            Some(SweepStep::Rule { rule, after }) => self.sweep_rule(rule, after.as_ref(), started, slot).await,
        }
    }

    /// Sends a message for each part.
    async fn sweep_begin(&self, started: Timestamp) -> Result<Disposition> {
        let snapshot = self.configuration.current();
        let document = &snapshot.document;
        let stores: BTreeSet<String> = document.imports.iter().map(|import| store_of(&import.bucket)).collect();
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

    /// Tells of sources that wait for so long that what they wait for will hardly come.
    async fn sweep_incomplete(&self) -> Result<Disposition> {
        let now = self.now();
        let before = now.checked_sub(OVERDUE).unwrap_or(Timestamp::MIN);
        let waiting = self.imports.awaited().waiting(INCOMPLETE_MAX, now).await?;
        let overdue: Vec<_> = waiting.iter().filter(|waiting| waiting.since < before).collect();
        gauge!("SourcesIncomplete").set(overdue.len() as f64);
        for waiting in overdue.iter().take(INCOMPLETE_TOLD) {
            let key = waiting.look.found.as_ref().map(|found| found.key.as_str());
            let (store, since, missing) = (&waiting.look.source.registry, waiting.since, waiting.blobs);
            tracing::warn!(code = "SOURCE_INCOMPLETE", store, key, %since, missing, "a source waits for what is missing: upload it, or upload its index.json again");
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
