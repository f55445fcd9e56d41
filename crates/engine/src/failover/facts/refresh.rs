//! Keeps the facts of a group fresh: compares what was not compared for a while, and says when the next comparison is due.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use transship_copy::Clock;
use transship_oci::Result;
use transship_rules::{Failover, Rule};

use super::{CompareLeg, Compared, Slice, age, leg_of, rules_between};
use crate::Snapshot;
use crate::failover::GroupState;
use crate::inspect::ASKED_WAIT_MAX;
use crate::ledger::{Comparison, Ledger, Leg, Unfinished};
use crate::send::now;

/// The shortest time between two comparisons of a group: each asks both sites for every image.
const INTERVAL_MIN: Duration = Duration::from_mins(5);
/// The longest, so that two attempts fit into [`super::FACTS_AGE_MAX`], or one that takes 25 minutes: until it ends, the facts are
/// those of the comparison before.
const INTERVAL_MAX: Duration = Duration::from_mins(25);

/// The interval at which the end of another worker's comparison is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A comparison that got no further for this long has lost its message, and the timer's next one goes on with it.
const LEFT_AFTER: Duration = Duration::from_mins(2);

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

/// True if a rule of the group was not compared for `older_than`, or since the writer changed.
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

/// True if the sites need not be compared again. A comparison that saw everything counts from its beginning, as its facts do.
/// However long it took, the sites have [`INTERVAL_MIN`] until the next one.
fn is_fresh(known: &Comparison, writer: &Writer, older_than: Duration, now: Timestamp) -> bool {
    let whole = known.whole.as_ref().filter(|_| known.failure.is_none());
    let last = whole.map_or(known.tried, |whole| whole.began);
    let is_new = age(last, now) < older_than || age(known.tried, now) < older_than.min(INTERVAL_MIN);
    is_new && writer.since.is_none_or(|since| last >= since)
}

/// Which rules of a group are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Those that were not compared for this long, and those whose comparison was left unfinished.
    OlderThan(Duration),
    /// The same, and those whose comparison is under way: the caller goes on with it.
    GoingOn(Duration),
    /// Those whose last comparison began before this time. A comparison that began before is not gone on with.
    Since(Timestamp),
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
    /// What is compared of each rule in one call.
    pub slice: Slice,
}

impl Refresh<'_> {
    /// Compares a slice of each rule that is due. Returns what became of each.
    pub async fn run(&self, group: &Failover, due: Due) -> Result<Vec<(Leg, Compared)>> {
        let writer = writer_of(self.ledger, group).await?;
        let rules = rules_between(self.snapshot.written(), group, &writer.site);
        self.drop_others(group, &rules).await?;
        let compared = rules.iter().map(|rule| self.leg(rule, &writer, due));
        join_all(compared).await.into_iter().collect()
    }

    /// Compares slice after slice, until every rule that is due is compared or the time of the slice is over. False if it is: what was
    /// compared so far counts for the next one. What another worker compares is waited for only where it must have begun since a
    /// time.
    pub async fn run_all(&self, group: &Failover, due: Due) -> Result<bool> {
        let budget = self.slice.budget;
        let mut slice = self.slice;
        loop {
            let part = Refresh {
                ledger: self.ledger,
                snapshot: self.snapshot,
                clock: Arc::clone(&self.clock),
                worker: self.worker,
                slice,
            };
            let compared = part.run(group, due).await?;
            let waits = compared.iter().filter_map(|(_, compared)| wait_of(compared, due));
            let Some(wait) = waits.min() else { return Ok(true) };
            if budget.is_some_and(|budget| budget.left() <= wait) {
                return Ok(false);
            }
            tokio::time::sleep(wait).await;
            slice.is_rest = true;
        }
    }

    /// Drops the comparisons of rules that are not in force any more, because the writer changed or the document did.
    async fn drop_others(&self, group: &Failover, rules: &[Rule]) -> Result<()> {
        let comparisons = &self.ledger.comparisons;
        for unfinished in comparisons.all_unfinished().await? {
            let leg = &unfinished.leg;
            let is_of_group = group.site(&leg.from).is_some() && group.site(&leg.to).is_some();
            if is_of_group && !rules.iter().any(|rule| leg_of(rule) == *leg) {
                comparisons.drop_unfinished(&unfinished).await?;
            }
        }
        Ok(())
    }

    async fn leg(&self, rule: &Rule, writer: &Writer, due: Due) -> Result<(Leg, Compared)> {
        let leg = leg_of(rule);
        let comparisons = &self.ledger.comparisons;
        let known = comparisons.get(&leg).await?;
        let at = now(self.clock.as_ref());
        let basis = basis_of(&self.snapshot.fingerprint(rule), writer);
        let unfinished = comparisons.unfinished(&leg).await?;
        let unfinished = unfinished.filter(|one| !one.is_paused && one.is_alive(at));
        let (under_way, of_other) = match unfinished {
            Some(one) if one.basis == basis => (Some(one), None),
            one => (None, one),
        };
        let is_ended = |known: &Comparison| match due {
            Due::OlderThan(age) | Due::GoingOn(age) => under_way.is_none() && is_fresh(known, writer, age, at),
            Due::Since(since) => {
                let is_new = |one: &Unfinished| one.began >= since;
                !under_way.as_ref().is_some_and(is_new) && was_compared(known, since)
            }
        };
        if let Some(known) = known.filter(is_ended) {
            return Ok((leg, Compared::Ended(Box::new(known))));
        }
        // The messages of the worker that goes on with it are under way.
        let is_left = |one: &Unfinished| one.idle_for(at) >= LEFT_AFTER;
        if matches!(due, Due::OlderThan(_)) && under_way.as_ref().is_some_and(|one| !is_left(one)) {
            return Ok((leg, Compared::Busy));
        }
        // Another release or document compares. Two that replace each other's comparison would both never end.
        let counts = |one: &Unfinished| {
            let is_asked_for = match due {
                Due::Since(since) => one.began >= since,
                Due::OlderThan(_) | Due::GoingOn(_) => true,
            };
            is_asked_for && writer.since.is_none_or(|since| one.began >= since)
        };
        if of_other.is_some_and(|one| counts(&one) && !is_left(&one)) {
            return Ok((leg, Compared::Busy));
        }
        let compare = CompareLeg {
            rule,
            is_reversed: self.snapshot.written().rule(&rule.name).is_none(),
            basis,
            not_before: match due {
                Due::Since(since) => Some(since),
                Due::OlderThan(_) | Due::GoingOn(_) => None,
            },
            source: self.snapshot.registry(&leg.from)?,
            destination: self.snapshot.registry(&leg.to)?,
            ledger: self.ledger,
            clock: Arc::clone(&self.clock),
            worker: self.worker,
            slice: self.slice,
        };
        let compared = compare.run().await?;
        Ok((leg, compared))
    }
}

/// How long a command waits for the rest of a comparison; [`None`]: it does not.
fn wait_of(compared: &Compared, due: Due) -> Option<Duration> {
    match compared {
        Compared::Ended(_) => None,
        Compared::GoesOn(wait) => Some((*wait).min(ASKED_WAIT_MAX)),
        Compared::Busy => matches!(due, Due::Since(_)).then_some(POLL_INTERVAL),
    }
}

/// True if what is known was found out since then, or could not be.
fn was_compared(known: &Comparison, since: Timestamp) -> bool {
    let is_whole = known.whole.as_ref().is_some_and(|whole| whole.began >= since);
    is_whole || (known.failure.is_some() && known.tried >= since)
}

/// What the comparison of a rule depends on besides the registries.
fn basis_of(fingerprint: &str, writer: &Writer) -> String {
    let since = writer
        .since
        .map_or_else(|| "always".to_owned(), |since| since.to_string());
    format!("{fingerprint} {} {since}", writer.site)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_waits_two_minutes_at_most_for_a_registry() {
        let due = Due::GoingOn(INTERVAL_MIN);
        let wait = |asked| wait_of(&Compared::GoesOn(asked), due);
        assert_eq!(wait(Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(wait(Duration::from_secs(90)), Some(Duration::from_secs(90)));
        assert_eq!(wait(Duration::from_hours(24)), Some(Duration::from_mins(2)));
    }
}
