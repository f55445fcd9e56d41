//! The job that compares the sites of a failover group, so that what they have is known when one is lost.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use transship_oci::Code;

use super::{JobKind, Next, Run};
use crate::failover::{Refresh, compare_interval};
use crate::jobs::Jobs;
use crate::send::now;
use crate::{Execution, Result, TaskEntry};

/// Compare what was not compared for half of an interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareSites {
    /// The group's name.
    pub failover: String,
}

impl JobKind for CompareSites {
    const NAME: &'static str = "compare_sites";
    const CRASH_ADVICE: &'static str = "the next comparison takes it up";
    // The timer sends the next one.
    const IS_PERIODIC: bool = true;

    fn group(&self) -> &'static str {
        "compare"
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

    async fn run(&self, jobs: &Jobs, run: Run) -> Result<Next> {
        let snapshot = jobs.configuration.current();
        let Some(group) = snapshot.document.failover_group(&self.failover) else {
            return Ok(Next::Done);
        };
        let refresh = Refresh {
            snapshot: &snapshot,
            ledger: &jobs.ledger,
            clock: Arc::clone(&jobs.clock),
            worker: &jobs.worker,
        };
        let began = now(jobs.clock.as_ref());
        let left = run.budget.map_or(Duration::MAX, |budget| budget.left());
        let compared = tokio::time::timeout(left, refresh.run(group, compare_interval(group.rpo) / 2)).await;
        let Ok(compared) = compared else {
            refresh.note_out_of_time(group, began).await?;
            let code = Code::ComparisonFailed.as_str();
            tracing::warn!(
                code,
                group = group.name,
                "the time of the worker ended before the sites were compared"
            );
            return Ok(Next::Done);
        };
        for (leg, comparison) in compared? {
            let (rule, from, to) = (&leg.rule, &leg.from, &leg.to);
            let Some(comparison) = comparison else { continue };
            if let Some(failure) = &comparison.failure {
                let code = Code::ComparisonFailed.as_str();
                tracing::warn!(
                    code,
                    rule,
                    from,
                    to,
                    why = failure.code,
                    "not compared: {}",
                    failure.text
                );
            } else if let Some(whole) = &comparison.whole {
                let (images, replicated, verified) = (whole.images, whole.replicated, whole.verified);
                let (missing, different, extra) = (whole.missing, whole.different, whole.extra);
                tracing::info!(
                    rule,
                    from,
                    to,
                    images,
                    replicated,
                    verified,
                    missing,
                    different,
                    extra,
                    "the sites were compared"
                );
            }
        }
        Ok(Next::Done)
    }
}
