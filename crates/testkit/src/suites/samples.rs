//! Sample tasks and executions. Times are whole milliseconds, the finest resolution that an adapter must store.

use jiff::{SignedDuration, Timestamp};
use transship_engine::{Action, Execution, Place, TASK_VERSION, Task, Trigger};
use transship_oci::{Digest, Existing, Referrers, Target};

/// The time `seconds` after the start of all checks.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_767_225_600_123).unwrap() + SignedDuration::from_secs(seconds)
}

/// Execution `execution-{number}`, created at `number` seconds.
pub fn execution(number: u32) -> Execution {
    Execution {
        id: format!("execution-{number}"),
        rule: "core-images".to_owned(),
        trigger: Trigger::Event,
        created: at(i64::from(number)),
    }
}

/// Task `task-{number}` of `execution-1`, created at `number` seconds: `hangzhou/core/app:v{number}` to
/// `zhangjiakou/copy/app:v{number}`.
pub fn task(number: u32) -> Task {
    Task {
        version: TASK_VERSION,
        id: format!("task-{number}"),
        execution: "execution-1".to_owned(),
        rule: "core-images".to_owned(),
        trigger: Trigger::Event,
        action: Action::Copy,
        source: place("hangzhou", "core/app", number),
        destination: place("zhangjiakou", "copy/app", number),
        existing: Existing::Follow,
        referrers: Referrers::Include,
        kinds: Vec::new(),
        follows: false,
        hint: Some(Digest::sha256(&number.to_be_bytes())),
        created: at(i64::from(number)),
        hops: 0,
        not_before: None,
        found: None,
        look: None,
    }
}

/// `registry/repository:v{number}`.
pub(super) fn place(registry: &str, repository: &str, number: u32) -> Place {
    Place {
        registry: registry.to_owned(),
        repository: repository.parse().unwrap(),
        target: Target::Tag(format!("v{number}").parse().unwrap()),
    }
}
