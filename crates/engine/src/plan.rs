//! Plan: creates the task and execution for a push or delete that matches a rule, with deterministic ids.
//!
//! Deliveries and sweeps create tasks only here, so that a task does the same regardless of its trigger.

use jiff::Timestamp;
use transship_notifications::{Event, EventAction};
use transship_oci::media_type::{DOCKER_LIST, DOCKER_MANIFEST};
use transship_oci::{Algorithm, Hasher, Target};
use transship_rules::{Deletes, Destination, Reason, Rule, Verdict};

use crate::job::{CopyTask, DeleteTask, Ids, Policy, Source};
use crate::{Execution, ImageRef, Outgoing, RecentPushes, TaskEntry, Trigger};

/// The task of `rule` that copies `source` to `destination`. `occurrence` distinguishes it from every other task with the same
/// ends.
pub(crate) fn task_of(
    rule: &Rule,
    source: ImageRef,
    destination: ImageRef,
    execution: &Execution,
    occurrence: &str,
) -> CopyTask {
    CopyTask {
        id: id(
            "t",
            &[&rule.name, &source.to_string(), &destination.to_string(), occurrence],
        ),
        execution: execution.clone(),
        source: Source::Registry(source),
        destination,
        policy: Policy {
            existing: rule.existing,
            referrers: rule.referrers,
            kinds: rule.kinds.clone(),
            labels: rule.source.labels.clone(),
            is_by_hand: false,
            platforms: rule.platforms.clone(),
        },
        is_attachment: false,
        expected: None,
        absent_at: None,
        own: None,
    }
}

/// A task that one rule makes of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Planned {
    Copy(Box<CopyTask>),
    Delete(Box<DeleteTask>),
}

impl Planned {
    pub(crate) const fn id(&self) -> &String {
        match self {
            Self::Copy(task) => &task.id,
            Self::Delete(task) => &task.id,
        }
    }

    pub(crate) const fn execution(&self) -> &Execution {
        match self {
            Self::Copy(task) => &task.execution,
            Self::Delete(task) => &task.execution,
        }
    }

    /// True for a task that is not recorded before a worker knows more.
    pub(crate) const fn is_recorded_late(&self) -> bool {
        match self {
            Self::Copy(task) => task.is_recorded_late(),
            Self::Delete(task) => task.is_by_digest(),
        }
    }

    pub(crate) fn entry(&self) -> TaskEntry {
        match self {
            Self::Copy(task) => task.entry(),
            Self::Delete(task) => task.entry(),
        }
    }

    pub(crate) fn message(&self) -> Outgoing {
        match self {
            Self::Copy(task) => Outgoing::now((**task).clone()),
            Self::Delete(task) => Outgoing::now(DeleteTask::clone(task)),
        }
    }
}

/// The task one rule makes of one event of the registry named `source`, if any. `recent` are the pushes of which the event may
/// be one more report.
pub(crate) fn plan(
    source: &str,
    event: &Event,
    rule: &Rule,
    verdict: Verdict,
    recent: Option<&RecentPushes>,
    received: Timestamp,
) -> Option<Planned> {
    match event.action {
        EventAction::Push => {
            plan_copy(source, event, rule, verdict, recent, received).map(|task| Planned::Copy(Box::new(task)))
        }
        EventAction::Delete => {
            plan_delete(source, event, rule, verdict, recent, received).map(|task| Planned::Delete(Box::new(task)))
        }
    }
}

/// The delete that a rule makes of a delete event. A delete by digest does not say whether an image or a referrer was deleted, so
/// it does not matter whether the rule excludes referrers.
fn plan_delete(
    source: &str,
    event: &Event,
    rule: &Rule,
    verdict: Verdict,
    recent: Option<&RecentPushes>,
    received: Timestamp,
) -> Option<DeleteTask> {
    let repository = event.repository.valid()?;
    let to = match verdict {
        Verdict::Matches(to) | Verdict::Follows(to) => to,
        Verdict::No(Reason::ReferrersExcluded) if event.tag.is_none() => rule.untagged_destination(repository)?,
        Verdict::No(_) => return None,
    };
    let deleted = match (&event.tag, &event.digest) {
        (Some(tag), _) => Target::Tag(tag.clone()),
        (None, Some(digest)) => Target::Digest(digest.clone()),
        (None, None) => return None,
    };
    let destination = destination_of(to, &deleted);
    let source = ImageRef {
        registry: source.to_owned(),
        repository: repository.clone(),
        target: deleted,
    };
    let ends = [source.to_string(), destination.to_string()];
    if let Some(recent) = recent {
        recent.forget(&id("p", &[&rule.name, &ends[0], &ends[1]]));
    }
    if rule.deletes == Deletes::Ignore {
        return None;
    }
    // A push and a delete of one time are two events.
    let occurrence = format!("delete {}", occurrence(event, received));
    Some(DeleteTask {
        id: id("t", &[&rule.name, &ends[0], &ends[1], &occurrence]),
        execution: Execution {
            id: id("e", &[&rule.name, &ends[0], &occurrence]),
            rule: rule.name.clone(),
            trigger: Trigger::Event,
            created: received,
        },
        source,
        destination,
        digest: event.digest.clone(),
    })
}

/// The copy that a rule makes of a push.
fn plan_copy(
    source: &str,
    event: &Event,
    rule: &Rule,
    verdict: Verdict,
    recent: Option<&RecentPushes>,
    received: Timestamp,
) -> Option<CopyTask> {
    if is_nobodys_referrer(event) {
        return None;
    }
    let (to, is_attachment) = match verdict {
        Verdict::Matches(destination) => (destination, false),
        Verdict::Follows(destination) => (destination, true),
        Verdict::No(_) => return None,
    };
    let from = match (&event.tag, &event.digest) {
        (Some(tag), _) => Target::Tag(tag.clone()),
        (None, Some(digest)) => Target::Digest(digest.clone()),
        (None, None) => return None,
    };
    let destination = destination_of(to, &from);
    let source = ImageRef {
        registry: source.to_owned(),
        repository: event.repository.valid()?.clone(),
        target: from,
    };
    let with = |occurrence: &str| {
        let execution = Execution {
            id: id("e", &[&rule.name, &source.to_string(), occurrence]),
            rule: rule.name.clone(),
            trigger: Trigger::Event,
            created: received,
        };
        task_of(rule, source.clone(), destination.clone(), &execution, occurrence)
    };
    let own = occurrence(event, received);
    let first = recent.map_or_else(
        || own.clone(),
        |recent| {
            let key = id("p", &[&rule.name, &source.to_string(), &destination.to_string()]);
            recent.occurrence_of(key, event.digest.as_ref(), own.clone(), received)
        },
    );
    let task = with(&first);
    let own = (own != first).then(|| {
        let own = with(&own);
        Ids {
            task: own.id,
            execution: own.execution.id,
        }
    });
    Some(CopyTask {
        is_attachment,
        expected: event.digest.clone(),
        own,
        ..task
    })
}

/// The destination of `from` under the rule.
pub(crate) fn destination_of(destination: Destination, from: &Target) -> ImageRef {
    ImageRef {
        registry: destination.registry,
        repository: destination.repository,
        target: destination.tag.map_or_else(|| from.clone(), Target::Tag),
    }
}

/// True for an untagged Docker manifest: schema 2 has no `subject`, so it is a child, and comes with its list.
pub(crate) fn is_nobodys_referrer(event: &Event) -> bool {
    event.tag.is_none() && matches!(event.media_type.as_deref(), Some(DOCKER_MANIFEST | DOCKER_LIST))
}

/// The key that identifies this event and is the same each time it is delivered: its id, otherwise its content and time. A tag
/// that moves from A to B and back to A causes three events, which must stay three tasks. Without an id and a time, the time of
/// receipt is used, and a repeated delivery costs one comparison.
fn occurrence(event: &Event, received: Timestamp) -> String {
    match (&event.event_id, event.time) {
        (Some(id), _) => format!("id {id}"),
        (None, Some(time)) => format!(
            "at {time} {}",
            event.digest.as_ref().map(ToString::to_string).unwrap_or_default()
        ),
        (None, None) => format!("received {received}"),
    }
}

/// A prefix and 20 hexadecimal digits of the parts' hash: 80 bits.
pub(crate) fn id(prefix: &str, parts: &[&str]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    format!("{prefix}-{}", &hasher.finish().hex()[..20])
}

/// The first 64 bits of the same hash, the same in every process and release.
pub(crate) fn hash_of(parts: &[&str]) -> u64 {
    let id = id("v", parts);
    let hex = id.get(2..18);
    hex.and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or_default()
}
