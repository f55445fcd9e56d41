//! Sample tasks and executions. Times are whole milliseconds, the finest resolution that an adapter must store.

use jiff::{SignedDuration, Timestamp};
use transship_engine::{CopyTask, Execution, ImageRef, Policy, Source, TaskEntry, Trigger};
use transship_oci::{Digest, Target};
use transship_oci::{Existing, Referrers};

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
pub fn copy_task(number: u32) -> CopyTask {
    CopyTask {
        id: format!("task-{number}"),
        execution: Execution {
            id: "execution-1".to_owned(),
            ..execution(number)
        },
        source: Source::Registry(place("hangzhou", "core/app", number)),
        destination: place("zhangjiakou", "copy/app", number),
        policy: Policy {
            existing: Existing::Follow,
            referrers: Referrers::Include,
            kinds: Vec::new(),
            labels: std::collections::BTreeMap::new(),
            is_by_hand: false,
            platforms: transship_oci::Platforms::default(),
        },
        is_attachment: false,
        expected: Some(Digest::sha256(&number.to_be_bytes())),
        absent_at: None,
        own: None,
    }
}

/// [`copy_task`] as the ledger keeps it.
pub fn task(number: u32) -> TaskEntry {
    copy_task(number).entry()
}

/// `registry/repository:v{number}`.
pub(super) fn place(registry: &str, repository: &str, number: u32) -> ImageRef {
    ImageRef {
        registry: registry.to_owned(),
        repository: repository.parse().unwrap(),
        target: Target::Tag(format!("v{number}").parse().unwrap()),
    }
}
