//! The job that compares the sites of a failover group, so that what they have is known when one is lost.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use transship_oci::Code;

use super::{JobKind, Next, Outgoing, Run};
use crate::failover::{Compared, Due, Refresh, Slice, compare_interval};
use crate::jobs::Jobs;
use crate::ledger::{Comparison, Leg};
use crate::{Execution, Result, TaskEntry};

/// How soon a message looks again whether the worker that compares still does.
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// How often it looks. Then the timer's next message goes on, if the worker is gone.
const BUSY_TRIES_MAX: u32 = 3;

/// Compare what was not compared for half of an interval, as much as fits into the time of a message. The ledger has how far it got
/// ([`crate::ledger::Unfinished`]), so each of its messages is the same but the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareSites {
    /// The group's name.
    pub failover: String,
    /// It goes on with what an earlier message began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
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
            slice: Slice::within(run.budget),
        };
        let older_than = compare_interval(group.rpo) / 2;
        let due = if self.goes_on {
            Due::GoingOn(older_than)
        } else {
            Due::OlderThan(older_than)
        };
        let (mut wait, mut is_busy) = (None, false);
        for (leg, compared) in refresh.run(group, due).await? {
            match compared {
                Compared::Ended(known) => log(&leg, &known),
                Compared::GoesOn(later) => wait = Some(wait.map_or(later, |wait: Duration| wait.min(later))),
                Compared::Busy => is_busy = true,
            }
        }
        let Some(wait) = wait else {
            // It may have died, and then this is its message.
            let looks_again = is_busy && self.goes_on && run.tries < BUSY_TRIES_MAX;
            return Ok(if looks_again {
                Next::Again(BUSY_WAIT)
            } else {
                Next::Done
            });
        };
        let next = Self {
            goes_on: true,
            ..self.clone()
        };
        Ok(Next::Send(vec![Outgoing::later(next, wait)]))
    }
}

/// Logs what is known of a leg now.
fn log(leg: &Leg, known: &Comparison) {
    let (rule, from, to) = (&leg.rule, &leg.from, &leg.to);
    if let Some(failure) = &known.failure {
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
    } else if let Some(whole) = &known.whole {
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
