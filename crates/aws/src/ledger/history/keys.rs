//! The keys of executions and tasks, and how long they are kept.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use transship_engine::ledger::TaskEntry;
use transship_engine::{Execution, Trigger};
use transship_oci::{Digest, Repository};

use crate::ledger::attributes::key;
use crate::ledger::table::Item;

/// The sort key of an execution's own item. Its counters and tasks come behind it.
pub(super) const OWN: &str = "E";
/// Behind an execution's own item and its counters, before its tasks.
pub(super) const TASKS: &str = "T#";
/// The partition of all origins.
pub(super) const ORIGINS: &str = "O";
/// The partition of `unfinished` that holds failed tasks. No registry has this name.
pub(super) const FAILED: &str = "F#";

/// The partition of an execution and its tasks.
pub(super) fn partition(execution: &str) -> String {
    format!("E#{execution}")
}

pub(super) fn execution_key(execution: &Execution) -> Item {
    key(partition(&execution.id), OWN)
}

pub(super) fn task_key(task: &TaskEntry) -> Item {
    key(partition(&task.execution.id), format!("{TASKS}{}", task.id))
}

pub(super) fn origin_key(origin: &str) -> Item {
    key(ORIGINS, origin)
}

/// The item that counts the end of the task. An event has few tasks, which are counted in its own item; another trigger may
/// have very many, which are counted in 16.
pub(super) fn counter_key(task: &TaskEntry) -> Item {
    if task.execution.trigger == Trigger::Event {
        return execution_key(&task.execution);
    }
    let hash = Digest::sha256(task.id.as_bytes());
    key(
        partition(&task.execution.id),
        format!("S#{}", hash.hex().get(..1).unwrap_or_default()),
    )
}

/// The partition of `months` with the executions of that time.
pub(super) fn month(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string()
}

/// The order in `months` and `lists`: by time, then by name.
pub(super) fn order(time: Timestamp, name: &str) -> String {
    format!("{:015}#{name}", time.as_millisecond().max(0))
}

/// The partition of `lists` with the executions of a rule.
pub(super) fn rule_list(rule: &str) -> String {
    format!("R#{rule}")
}

/// The partition of `lists` with the tasks that write to a repository.
pub(super) fn destination_list(registry: &str, repository: &Repository) -> String {
    format!("D#{registry}/{repository}")
}

/// The form of a destination repository in the set of an execution: 48 bits of its hash.
pub(super) fn repository_mark(registry: &str, repository: &Repository) -> String {
    let hash = Digest::sha256(format!("{registry}/{repository}").as_bytes());
    hash.hex().get(..12).unwrap_or_default().to_owned()
}

/// An execution with many tasks does not learn of its end, so it is kept for so long after its last task was recorded.
pub(super) fn recorded_expiry(retention: Duration) -> Duration {
    retention + Duration::from_hours(30 * 24)
}
