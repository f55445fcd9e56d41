//! The timer of failover groups: orders comparisons that are due, and reports what is known of each group.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use transship_copy::Clock;

use crate::failover::{compare_interval, is_due, rules_between, watch, writer_of};
use crate::job::CompareSites;
use crate::ledger::Ledger;
use crate::send::now;
use crate::{Configuration, Outgoing, Result, TaskQueue};

/// The shortest time between two messages that order the same comparison.
const ORDER_TTL: Duration = Duration::from_mins(5);

/// Watches the failover groups of the document.
pub struct WatchSites {
    /// The document in force.
    pub configuration: Configuration,
    /// The ledger.
    pub ledger: Ledger,
    /// The queue.
    pub queue: Arc<dyn TaskQueue>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl WatchSites {
    /// Orders a comparison of each group that is due; the number of orders. Some calls of the ledger for each group, none without
    /// one.
    pub async fn order(&self) -> Result<usize> {
        let snapshot = self.configuration.current();
        let now = self.now();
        let mut orders = Vec::new();
        for group in &snapshot.document.failover {
            let writer = writer_of(&self.ledger, group).await?;
            let rules = rules_between(snapshot.written(), group, &writer.site);
            if !is_due(&self.ledger, &rules, (&writer, compare_interval(group.rpo)), now).await? {
                continue;
            }
            // The order of another worker, or of a moment ago, is still in the queue. Each order is another holder.
            let (name, holder) = (format!("compare-order#{}", group.name), now.as_nanosecond().to_string());
            if self.ledger.leases.take(&name, &holder, now, ORDER_TTL).await? {
                let failover = group.name.clone();
                orders.push(Outgoing::now(CompareSites {
                    failover,
                    goes_on: false,
                }));
            }
        }
        if !orders.is_empty() {
            self.queue.send(&orders).await?;
        }
        Ok(orders.len())
    }

    /// Reports what is known of each group, as metrics and in the log.
    pub async fn report(&self) -> Result<()> {
        let snapshot = self.configuration.current();
        for group in &snapshot.document.failover {
            watch::report(&snapshot, &self.ledger, group, self.now()).await?;
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }
}
