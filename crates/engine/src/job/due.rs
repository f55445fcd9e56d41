//! The job of a timer: starts what schedules ask for, the first sweeps of new rules, and comparisons of the sites of failover groups.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{JobKind, Next, Run};
use crate::jobs::Jobs;
use crate::operations::{NewRules, StartDue, WatchSites};
use crate::{Execution, Result, TaskEntry};

/// Start a run of each rule whose schedule is due.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Due {}

impl JobKind for Due {
    const NAME: &'static str = "due";
    const CRASH_ADVICE: &'static str = "the next message takes it up";
    // The timer sends the next one.
    const IS_PERIODIC: bool = true;

    fn group(&self) -> &'static str {
        "due"
    }

    fn origin(&self) -> Option<&str> {
        None
    }

    fn task(&self) -> Option<TaskEntry> {
        None
    }

    fn restarted(self, _: String, _: &Execution) -> Self {
        self
    }

    async fn run(&self, jobs: &Jobs, _: Run) -> Result<Next> {
        let due = StartDue {
            configuration: jobs.configuration.clone(),
            schedules: jobs.ledger.schedules.clone(),
            history: Arc::clone(&jobs.ledger.history),
            queue: Arc::clone(&jobs.queue),
            clock: Arc::clone(&jobs.clock),
        };
        due.run().await?;
        let (ledger, clock) = (&jobs.ledger, Arc::clone(&jobs.clock));
        let new_rules = NewRules::new(
            jobs.configuration.clone(),
            ledger.baselines.clone(),
            ledger.first_sweep.clone(),
            Arc::clone(&jobs.queue),
            clock,
        );
        new_rules.order().await?;
        let sites = WatchSites {
            configuration: jobs.configuration.clone(),
            ledger: jobs.ledger.clone(),
            queue: Arc::clone(&jobs.queue),
            clock: Arc::clone(&jobs.clock),
        };
        sites.order().await?;
        sites.report().await?;
        Ok(Next::Done)
    }
}
