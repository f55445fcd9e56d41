//! Executions: recorded once, everything else computed from their tasks.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use transship_engine::{Execution, ExecutionRecord, ExecutionState, Result, Trigger};

use super::attributes::{
    bytes_of, expires, item, key, state_of, task, text, text_of, time, time_of, time_option, unreadable,
};
use super::table::{Answered, Item, Table};

/// The sort key of the execution's own item; its tasks stand behind it.
pub(super) const OWN: &str = "E";

/// The partition of an execution and its tasks.
pub(super) fn partition(id: &str) -> String {
    format!("E#{id}")
}

/// The partition of `months` in which executions of that time are.
pub(super) fn month(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string()
}

/// The item of an execution.
pub(super) fn item_of(execution: &Execution, retention: Duration) -> Item {
    let created = execution.created.as_millisecond();
    item(
        key(partition(&execution.id), OWN),
        [
            ("rule", text(&execution.rule)),
            ("trigger", text(execution.trigger.as_str())),
            ("created", time(execution.created)),
            ("month", text(month(execution.created))),
            ("month_order", text(format!("{created:015}#{}", execution.id))),
            ("expires", expires(execution.created, retention)),
        ],
    )
}

/// Records the execution of a task that was not recorded.
pub(super) async fn add(table: &Table, execution: &Execution, retention: Duration) -> Result<()> {
    table.put_new("ledger begin", item_of(execution, retention)).await
}

/// An execution with its totals, from all items of its partition.
pub(super) fn record(items: &[Item]) -> Answered<ExecutionRecord> {
    let is_own = |item: &&Item| text_of(item, "sk").is_ok_and(|sort| sort == OWN);
    let own = items.iter().find(is_own).ok_or_else(|| unreadable("execution"))?;
    let created = time_of(own, "created")?;
    let mut totals = Totals::default();
    for task in items.iter().filter(|item| !is_own(item)) {
        totals.add(task)?;
    }
    let state = ExecutionState::derive(totals.count, totals.terminal, totals.succeeded);
    let elapsed_ms = totals.last.unwrap_or(created).as_millisecond() - created.as_millisecond();
    Ok(ExecutionRecord {
        id: text_of(own, "pk")?.trim_start_matches("E#").to_owned(),
        rule: text_of(own, "rule")?.to_owned(),
        trigger: Trigger::parse(text_of(own, "trigger")?).ok_or_else(|| unreadable("trigger"))?,
        created,
        duration_ms: (state != ExecutionState::Running).then(|| u64::try_from(elapsed_ms).unwrap_or_default()),
        state,
        success_ratio: if totals.count == 0 {
            1.0
        } else {
            totals.succeeded as f64 / totals.count as f64
        },
        repositories: u64::try_from(totals.repositories.len()).unwrap_or(u64::MAX),
        bytes: totals.bytes,
    })
}

#[derive(Default)]
struct Totals {
    count: u64,
    terminal: u64,
    succeeded: u64,
    bytes: u64,
    last: Option<Timestamp>,
    repositories: HashSet<String>,
}

impl Totals {
    fn add(&mut self, item: &Item) -> Answered<()> {
        let (state, bytes, task) = (state_of(item)?, bytes_of(item)?, task(item)?);
        self.count += 1;
        self.terminal += u64::from(state.is_terminal());
        self.succeeded += u64::from(state.is_success());
        self.bytes += bytes.copied + bytes.mounted;
        self.last = self.last.max(time_option(item, "finished")?);
        if let Some(repository) = task.destination_repository {
            self.repositories
                .insert(format!("{}/{repository}", task.destination_registry));
        }
        Ok(())
    }
}
