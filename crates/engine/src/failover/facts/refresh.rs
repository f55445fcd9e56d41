//! Keeps the facts of a group fresh: compares what was not compared for a while, and says when the next comparison is due.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use transship_copy::Clock;
use transship_oci::{Code, Result};
use transship_rules::{Failover, Rule};

use super::compare::lease_of;
use super::{CompareLeg, age, leg_of, rules_between};
use crate::Snapshot;
use crate::failover::GroupState;
use crate::ledger::{Comparison, Failed, Ledger, Leg};
use crate::send::now;

/// The shortest time between two comparisons of a group: each asks both sites for every image.
const INTERVAL_MIN: Duration = Duration::from_mins(5);
/// The longest, so that two attempts fit into [`super::FACTS_AGE_MAX`].
const INTERVAL_MAX: Duration = Duration::from_mins(25);

/// How often a group is compared: half of its `rpo`, 5 to 25 minutes. If the writer is lost, what was pushed since the last
/// comparison is not known, and that time should be less than the `rpo`.
pub fn compare_interval(rpo: Duration) -> Duration {
    (rpo / 2).clamp(INTERVAL_MIN, INTERVAL_MAX)
}

/// The site that the rules of a group start at now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The site.
    pub site: String,
    /// Since when; [`None`]: always.
    pub since: Option<Timestamp>,
}

/// The site that the rules of `group` start at now.
pub async fn writer_of(ledger: &Ledger, group: &Failover) -> Result<Writer> {
    let known = ledger.failovers.get(&group.name).await?;
    let state = known.map_or_else(|| GroupState::new(group), |known| known.state.of(group));
    Ok(Writer {
        site: state.writer,
        since: state.writer_since,
    })
}

/// True if a rule of the group was not tried to be compared for `older_than`, or since the writer changed.
pub async fn is_due(
    ledger: &Ledger,
    rules: &[Rule],
    (writer, older_than): (&Writer, Duration),
    now: Timestamp,
) -> Result<bool> {
    for rule in rules {
        let known = ledger.comparisons.get(&leg_of(rule)).await?;
        if known.is_none_or(|known| !is_fresh(&known, writer, older_than, now)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if the sites need not be compared again.
fn is_fresh(known: &Comparison, writer: &Writer, older_than: Duration, now: Timestamp) -> bool {
    age(known.tried, now) < older_than && writer.since.is_none_or(|since| known.tried >= since)
}

/// Compares the rules between the sites of a group.
pub struct Refresh<'a> {
    /// The document with its clients.
    pub snapshot: &'a Snapshot,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Identifies this worker among others.
    pub worker: &'a str,
}

impl Refresh<'_> {
    /// Compares each rule that was not compared for `older_than`. Returns what is known of each now; [`None`]: another worker
    /// compares it at this moment.
    pub async fn run(&self, group: &Failover, older_than: Duration) -> Result<Vec<(Leg, Option<Comparison>)>> {
        let writer = writer_of(self.ledger, group).await?;
        let rules = rules_between(self.snapshot.written(), group, &writer.site);
        let compared = rules.iter().map(|rule| self.leg(rule, &writer, older_than));
        join_all(compared).await.into_iter().collect()
    }

    /// Keeps that the time of this worker ended before the rules of the group were compared, which it began to do at `began`.
    pub async fn note_out_of_time(&self, group: &Failover, began: Timestamp) -> Result<()> {
        let writer = writer_of(self.ledger, group).await?;
        for rule in rules_between(self.snapshot.written(), group, &writer.site) {
            let leg = leg_of(&rule);
            // Otherwise the next worker would wait for its end.
            self.ledger.leases.release(&lease_of(&leg), self.worker).await?;
            let known = self.ledger.comparisons.get(&leg).await?;
            if known.is_some_and(|known| known.tried >= began) {
                continue;
            }
            let failure = Failed {
                code: Code::ComparisonFailed.as_str().to_owned(),
                text: "the time of the worker ended before everything was compared: give workers more time (the parameter WorkerTimeout of a stack), or compare with `transship dr check` on a machine".to_owned(),
            };
            let at = now(self.clock.as_ref());
            self.ledger.comparisons.fail(&leg, at, failure, false).await?;
        }
        Ok(())
    }

    async fn leg(&self, rule: &Rule, writer: &Writer, older_than: Duration) -> Result<(Leg, Option<Comparison>)> {
        let leg = leg_of(rule);
        let known = self.ledger.comparisons.get(&leg).await?;
        let at = now(self.clock.as_ref());
        if known
            .as_ref()
            .is_some_and(|known| is_fresh(known, writer, older_than, at))
        {
            return Ok((leg, known));
        }
        let compare = CompareLeg {
            rule,
            is_reversed: self.snapshot.written().rule(&rule.name).is_none(),
            source: self.snapshot.registry(&leg.from)?,
            destination: self.snapshot.registry(&leg.to)?,
            ledger: self.ledger,
            clock: Arc::clone(&self.clock),
            worker: self.worker,
        };
        let compared = compare.run().await?;
        Ok((leg, compared))
    }
}
