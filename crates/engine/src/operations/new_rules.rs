//! New rules: sweeps a rule as soon as a document has it, or selects more with it, so that its baseline is not older than necessary.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use transship_copy::Clock;

use crate::ledger::{Baselines, FirstSweep, Progress};
use crate::send::now;
use crate::{Configuration, Outgoing, Result, Snapshot, Sweep, SweepStep, TaskQueue};

/// Orders the first sweep of each new rule.
pub struct NewRules {
    configuration: Configuration,
    baselines: Baselines,
    first_sweep: FirstSweep,
    queue: Arc<dyn TaskQueue>,
    clock: Arc<dyn Clock>,
    /// The version of the document that was checked last.
    checked: Mutex<Option<Arc<Snapshot>>>,
}

impl NewRules {
    /// Of the document in force.
    pub const fn new(
        configuration: Configuration,
        baselines: Baselines,
        first_sweep: FirstSweep,
        queue: Arc<dyn TaskQueue>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            configuration,
            baselines,
            first_sweep,
            queue,
            clock,
            checked: Mutex::new(None),
        }
    }

    /// Orders a sweep of each event rule that the ledger does not know as it is. Nothing if nothing sweeps here. No call if the
    /// document is the one that was checked before.
    pub async fn order(&self) -> Result<usize> {
        let snapshot = self.configuration.current();
        let is_checked = |checked: &Arc<Snapshot>| Arc::ptr_eq(checked, &snapshot);
        if self.checked().as_ref().is_some_and(is_checked) || snapshot.is_fallback() {
            return Ok(0);
        }
        if !self.first_sweep.notes_rules().await? {
            return Ok(0);
        }
        let mut known = HashMap::new();
        let mut after = None;
        loop {
            let page = self.baselines.rules(after.as_ref()).await?;
            let states = page.items.into_iter();
            known.extend(states.filter(|(_, state)| !matches!(state.progress, Progress::Forgotten(_))));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let started = Some(now(self.clock.as_ref()));
        let is_new = |rule: &&transship_rules::Rule| {
            let state = known.get(&rule.name);
            rule.is_on_event() && !rule.backfill && state.is_none_or(|state| state.selection != rule.selection)
        };
        let steps = snapshot.document.rules.iter().filter(is_new).map(|rule| {
            Outgoing::now(Sweep {
                started,
                step: Some(SweepStep::Rule {
                    rule: rule.name.clone(),
                    after: None,
                }),
            })
        });
        let steps: Vec<Outgoing> = steps.collect();
        if !steps.is_empty() {
            self.queue.send(&steps).await?;
            tracing::info!(
                rules = steps.len(),
                "new or changed rules are swept, to record what existed before them"
            );
        }
        *self.checked() = Some(Arc::clone(&snapshot));
        Ok(steps.len())
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, Option<Arc<Snapshot>>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
