//! Keeps the facts of a group fresh: compares what was not compared for a while, and says when the next comparison is due.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use transship_copy::Clock;
use transship_oci::Result;
use transship_rules::{Failover, Rule};

use super::{CompareLeg, age, leg_of, rules_between};
use crate::Snapshot;
use crate::ledger::{Comparison, Ledger, Leg};
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

/// The site that the rules of `group` start at now.
pub async fn writer_of(ledger: &Ledger, group: &Failover) -> Result<String> {
    let known = ledger.failovers.get(&group.name).await?;
    Ok(known.map_or_else(|| group.writer.clone(), |known| known.state.of(group).writer))
}

/// True if a rule of the group was not tried to be compared for `older_than`.
pub async fn is_due(ledger: &Ledger, rules: &[Rule], older_than: Duration, now: Timestamp) -> Result<bool> {
    for rule in rules {
        let known = ledger.comparisons.get(&leg_of(rule)).await?;
        if known.is_none_or(|known| age(known.tried, now) >= older_than) {
            return Ok(true);
        }
    }
    Ok(false)
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
        let rules = rules_between(self.snapshot.written(), group, &writer);
        let compared = rules.iter().map(|rule| self.leg(rule, older_than));
        join_all(compared).await.into_iter().collect()
    }

    async fn leg(&self, rule: &Rule, older_than: Duration) -> Result<(Leg, Option<Comparison>)> {
        let leg = leg_of(rule);
        let known = self.ledger.comparisons.get(&leg).await?;
        let is_fresh = |known: &Comparison| age(known.tried, now(self.clock.as_ref())) < older_than;
        if known.as_ref().is_some_and(is_fresh) {
            return Ok((leg, known));
        }
        let compare = CompareLeg {
            rule,
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
