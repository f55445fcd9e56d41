//! Reads the messages of version 1, which the previous release sends during a rolling deployment and left in its ledger.
//!
//! Remove this file one release after version 2.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Error, Value, from_value};
use std::collections::BTreeMap;
use transship_layout::{Discovery, SourceRef};
use transship_oci::{Digest, Kind, Platforms, Repository, Target};
use transship_oci::{Existing, Referrers};

use super::{CopyTask, Envelope, Job, ListPrefix, Policy, Scan, Source, Sweep};
use crate::import::Import;
use crate::{Execution, ImageRef, StoreName, Trigger};

/// A task. With `found` it reads a store, whose name is in the place of a registry's; with `look` it is a scan.
#[derive(Deserialize)]
struct Task {
    id: String,
    execution: String,
    rule: String,
    trigger: Trigger,
    source: Place,
    destination: ImageRef,
    existing: Existing,
    referrers: Referrers,
    #[serde(default)]
    kinds: Vec<Kind>,
    #[serde(default)]
    follows: bool,
    hint: Option<Digest>,
    created: Timestamp,
    #[serde(default)]
    hops: u32,
    not_before: Option<Timestamp>,
    found: Option<SourceRef>,
    look: Option<Look>,
}

/// Names a registry's image, or an image in a store.
#[derive(Deserialize)]
struct Place {
    registry: String,
    repository: Repository,
    target: Target,
}

#[derive(Deserialize)]
struct Look {
    import: Import,
    #[serde(default)]
    done: usize,
    #[serde(default)]
    is_single: bool,
    #[serde(default)]
    is_upload: bool,
    #[serde(default)]
    is_recorded: bool,
}

#[derive(Deserialize)]
struct Search {
    import: Import,
    store: StoreName,
    execution: Execution,
    at: Discovery,
    #[serde(default)]
    stuck: u32,
}

/// Reads the JSON of a message whose version is 1.
pub(super) fn read(mut value: Value) -> Result<Envelope, Error> {
    if let Some(sweep) = value.get_mut("sweep") {
        let sweep = sweep.take();
        let stuck = sweep.pointer("/step/rule/after/stuck").and_then(Value::as_u64);
        let tries = stuck.and_then(|stuck| u32::try_from(stuck).ok()).unwrap_or_default();
        return Ok(envelope(from_value::<Sweep>(sweep)?, tries, None));
    }
    if let Some(search) = value.get_mut("search") {
        let search: Search = from_value(search.take())?;
        let list = ListPrefix {
            id: ListPrefix::id_of(&search.execution, &search.store, search.at.prefix()),
            execution: search.execution,
            import: search.import,
            store: search.store,
            at: search.at,
        };
        return Ok(envelope(list, search.stuck, None));
    }
    let task: Task = from_value(value)?;
    let (tries, not_before) = (task.hops, task.not_before);
    Ok(envelope(job(task)?, tries, not_before))
}

fn envelope(job: impl Into<Job>, tries: u32, not_before: Option<Timestamp>) -> Envelope {
    Envelope {
        tries,
        not_before,
        waits_since: None,
        ..Envelope::new(job)
    }
}

fn job(task: Task) -> Result<Job, Error> {
    let execution = Execution {
        id: task.execution,
        rule: task.rule,
        trigger: task.trigger,
        created: task.created,
    };
    let store = || task.source.registry.parse().map_err(serde::de::Error::custom);
    let source = match (task.found, task.look) {
        (Some(found), Some(look)) => {
            let mut scan = Scan {
                id: task.id,
                execution,
                store: store()?,
                source: found,
                only: look.is_single.then_some(task.source.target),
                import: look.import,
                is_upload: look.is_upload,
                done: look.done,
            };
            if !look.is_recorded {
                scan.id = Scan::id_of(&scan.execution, &scan.key());
            }
            return Ok(scan.into());
        }
        (Some(found), None) => Source::Stored {
            store: store()?,
            found,
            target: task.source.target,
        },
        (None, _) => Source::Registry(ImageRef {
            registry: task.source.registry,
            repository: task.source.repository,
            target: task.source.target,
        }),
    };
    Ok(CopyTask {
        id: task.id,
        execution,
        source,
        destination: task.destination,
        policy: Policy {
            existing: task.existing,
            referrers: task.referrers,
            kinds: task.kinds,
            labels: BTreeMap::new(),
            is_by_hand: false,
            platforms: Platforms::default(),
        },
        is_attachment: task.follows,
        expected: task.hint,
        absent_at: None,
        own: None,
    }
    .into())
}
