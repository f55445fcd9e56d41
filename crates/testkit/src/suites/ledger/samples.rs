//! Entries to check with.

use transship_engine::ledger::TaskEntry;
use transship_engine::{Action, Counts, Execution, Outcome, Replica, TaskState, Trigger};
use transship_oci::{Digest, Repository};

use super::super::samples::{at, execution, place};

/// Task `task-{number}` of `execution-1`, created at `number` seconds: `hangzhou/core/app:v{number}` to
/// `zhangjiakou/copy/app:v{number}`.
pub fn entry(number: u32) -> TaskEntry {
    TaskEntry {
        id: format!("task-{number}"),
        execution: execution(1),
        action: Action::Copy,
        created: at(i64::from(number)),
        origin: "hangzhou".to_owned(),
        source_repository: Some(repository("core/app")),
        is_attachment: false,
        source: place("hangzhou", "core/app", number).to_string(),
        destination_registry: "zhangjiakou".to_owned(),
        destination_repository: Some(repository("copy/app")),
        destination: place("zhangjiakou", "copy/app", number).to_string(),
        digest: Some(Digest::sha256(&number.to_be_bytes())),
        redrive_of: None,
        job: format!(r#"{{"kind":"copy","number":{number}}}"#),
    }
}

/// The same task as the only one of `execution-{number}`, which was created with it.
pub fn entry_alone(number: u32) -> TaskEntry {
    TaskEntry {
        execution: execution(number),
        ..entry(number)
    }
}

/// Task `number` of an execution that an operator started, which has many.
pub(super) fn entry_of_many(number: u32) -> TaskEntry {
    TaskEntry {
        execution: Execution {
            id: "many".to_owned(),
            trigger: Trigger::Manual,
            ..execution(1)
        },
        ..entry(number)
    }
}

pub(super) fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

/// An end at `seconds` in `state`.
pub fn ending(state: TaskState, seconds: i64) -> Outcome {
    Outcome {
        state,
        digest: Some(Digest::sha256(b"outcome")),
        code: Some("DEST_KEPT".to_owned()),
        message: Some("the destination holds another image; it's \"kept\"".to_owned()),
        bytes: Counts {
            copied: 1000,
            mounted: 200,
            skipped: 30,
        },
        finished: at(seconds),
    }
}

/// What is written to `zhangjiakou/copy/app:v{number}` from `hangzhou/core/app:v{number}`: the first of `manifests`, which
/// consists of all.
pub fn replica(number: u32, manifests: &[&str]) -> Replica {
    Replica {
        destination: place("zhangjiakou", "copy/app", number),
        source: Some(place("hangzhou", "core/app", number)),
        digest: digest(manifests[0]),
        earlier: Vec::new(),
        manifests: manifests.iter().map(|text| digest(text)).collect(),
        selected: None,
        rule: "core-images".to_owned(),
        written: at(i64::from(number)),
        accepted: at(0),
    }
}

pub(super) fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}
