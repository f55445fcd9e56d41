//! The end of a task: written once, counted, with its replicas, in one transaction.
//!
//! Calls: one. More only if a condition does not hold: the task had ended, tasks end out of order, another worker took a lease,
//! or the previous release recorded the execution.

use transship_engine::ledger::TaskEntry;
use transship_engine::{Outcome, Replica, TaskState};
use transship_oci::Result;

use super::items::expiry;
use super::keys::{self, counter_key, task_key};
use super::tasks::{Counting, IS_OPEN, Tasks, open_values, sentence};
use crate::ledger::attributes::{number, text, time};
use crate::ledger::claims::{self, Settling};
use crate::ledger::expression::Change;
use crate::ledger::transaction::Transaction;

/// The most writes of a transaction. Source: `TransactWriteItems`.
const TRANSACTION_WRITES_MAX: usize = 100;

impl Tasks<'_> {
    /// Ends a task that has not ended, counts that, and settles its replicas; false if the task had ended, or was never
    /// recorded.
    pub(super) async fn finish(
        &self,
        task: &TaskEntry,
        outcome: &Outcome,
        settled: &[Replica],
        holder: &str,
    ) -> Result<bool> {
        let (operation, now) = ("finish", outcome.finished);
        let mut replicas: Vec<&Replica> = claims::latest(settled).collect();
        // More than a transaction takes are settled before it: to be remembered they need no task.
        let together = replicas.split_off(replicas.len().saturating_sub(TRANSACTION_WRITES_MAX - 2));
        claims::settle(self.table, operation, &replicas, holder, now).await?;
        let end = self.end(outcome);
        let mut counting = Counting::Whole;
        let mut settling = vec![Settling::Whole; together.len()];
        loop {
            let mut writes = vec![self.table.change_of_transaction(operation, task_key(task), &end)?];
            if counting != Counting::Not {
                let change = self.count(outcome, counting);
                writes.push(
                    self.table
                        .change_of_transaction(operation, counter_key(task), &change)?,
                );
            }
            let before = writes.len();
            let mut written = Vec::new();
            for (position, replica) in together.iter().enumerate() {
                if let Some(change) = settling[position].change(replica, holder, now) {
                    let key = claims::key_of(&replica.destination);
                    writes.push(self.table.change_of_transaction(operation, key, &change)?);
                    written.push(position);
                }
            }
            let Transaction::Refused(reasons) = self.table.transact(operation, writes).await? else {
                return Ok(true);
            };
            if reasons.first() == Some(&true) {
                claims::settle(self.table, operation, &together, holder, now).await?;
                return Ok(false);
            }
            if counting != Counting::Not && reasons.get(1) == Some(&true) {
                counting = counting.next();
            }
            for (position, refused) in written.into_iter().zip(reasons.iter().skip(before)) {
                if *refused {
                    settling[position] = settling[position].next();
                }
            }
        }
    }

    fn end(&self, outcome: &Outcome) -> Change {
        let change = Change::default()
            .set("state", text(outcome.state.as_str()))
            .set("finished", time(outcome.finished))
            .set("copied", number(outcome.bytes.copied))
            .set("mounted", number(outcome.bytes.mounted))
            .set("skipped", number(outcome.bytes.skipped))
            .set_or_remove("digest", outcome.digest.as_ref().map(|digest| text(digest.to_string())))
            .set_or_remove("code", outcome.code.as_ref().map(text))
            .set_or_remove("message", outcome.message.as_deref().map(sentence))
            .set("expires", number(expiry(outcome.finished, self.retention)))
            .remove("next")
            .only_if(IS_OPEN);
        let change = if outcome.state == TaskState::Failed {
            change
                .set("unfinished_of", text(keys::FAILED))
                .set("touched", time(outcome.finished))
        } else {
            change.remove("unfinished_of")
        };
        open_values(change)
    }

    /// The change of a counter at the end of a task.
    fn count(&self, outcome: &Outcome, counting: Counting) -> Change {
        let bytes = outcome.bytes.copied + outcome.bytes.mounted;
        let change = Change::default()
            .add(&format!("ended_{}", outcome.state), number(1))
            .add("bytes", number(bytes));
        // Only an execution's own item has a total. Another counter is there from the first end on.
        let is_counted = "(attribute_exists(#total) OR attribute_not_exists(#rule))";
        if counting != Counting::Whole {
            return change.only_if(is_counted);
        }
        change
            .set("last", time(outcome.finished))
            .set("expires", number(expiry(outcome.finished, self.retention)))
            .only_if(&format!(
                "{is_counted} AND (attribute_not_exists(#last) OR #last <= :last)"
            ))
    }
}
