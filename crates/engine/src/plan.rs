//! Plan: what a rule says of a push becomes a task, with an execution around it and ids that are always the same.
//!
//! Deliveries and sweeps make tasks here and nowhere else, so that a task does the same whoever asked for it.

use jiff::Timestamp;
use transship_notifications::{Event, EventAction};
use transship_oci::media_type::{DOCKER_LIST, DOCKER_MANIFEST};
use transship_oci::{Algorithm, Digest, Hasher, Target};
use transship_rules::{Destination, Rule, Verdict};

use crate::task::TASK_VERSION;
use crate::{Action, Execution, Place, Task, Trigger};

/// What a rule brings from where to where.
pub(crate) struct Voyage<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) source: Place,
    pub(crate) destination: Place,
    /// See [`Task::follows`].
    pub(crate) follows: bool,
    /// See [`Task::hint`].
    pub(crate) hint: Option<Digest>,
}

impl Voyage<'_> {
    /// The task of this voyage in `execution`. `occurrence` tells it from every other voyage of the same way.
    pub(crate) fn task(self, execution: &Execution, occurrence: &str) -> Task {
        let Voyage {
            rule,
            source,
            destination,
            follows,
            hint,
        } = self;
        Task {
            version: TASK_VERSION,
            id: id(
                "t",
                &[&rule.name, &source.to_string(), &destination.to_string(), occurrence],
            ),
            execution: execution.id.clone(),
            rule: rule.name.clone(),
            trigger: execution.trigger,
            action: Action::Copy,
            source,
            destination,
            existing: rule.existing,
            referrers: rule.referrers,
            kinds: rule.kinds.clone(),
            follows,
            hint,
            created: execution.created,
            hops: 0,
            not_before: None,
            found: None,
            look: None,
        }
    }
}

/// The task one rule makes of one event of the registry named `source`, if any.
pub(crate) fn plan(
    source: &str,
    event: &Event,
    rule: &Rule,
    verdict: Verdict,
    received: Timestamp,
) -> Option<(Execution, Task)> {
    // Deletes are not propagated in this version: the document refuses a rule that asks for it.
    if event.action == EventAction::Delete || is_nobodys_referrer(event) {
        return None;
    }
    let (to, follows) = match verdict {
        Verdict::Matches(destination) => (destination, false),
        Verdict::Follows(destination) => (destination, true),
        Verdict::No(_) => return None,
    };
    let from = match (&event.tag, &event.digest) {
        (Some(tag), _) => Target::Tag(tag.clone()),
        (None, Some(digest)) => Target::Digest(digest.clone()),
        (None, None) => return None,
    };
    let destination = place(to, &from);
    let source = Place {
        registry: source.to_owned(),
        repository: event.repository.clone(),
        target: from,
    };
    let occurrence = occurrence(event, received);
    let execution = Execution {
        id: id("e", &[&rule.name, &source.to_string(), &occurrence]),
        rule: rule.name.clone(),
        trigger: Trigger::Event,
        created: received,
    };
    let voyage = Voyage {
        rule,
        source,
        destination,
        follows,
        hint: event.digest.clone(),
    };
    let task = voyage.task(&execution, &occurrence);
    Some((execution, task))
}

/// Where the rule puts what `from` means at the source.
pub(crate) fn place(destination: Destination, from: &Target) -> Place {
    Place {
        registry: destination.registry,
        repository: destination.repository,
        target: destination.tag.map_or_else(|| from.clone(), Target::Tag),
    }
}

/// True for an untagged Docker manifest: schema 2 has no `subject`, so it is a child, and comes with its list.
fn is_nobodys_referrer(event: &Event) -> bool {
    event.tag.is_none() && matches!(event.media_type.as_deref(), Some(DOCKER_MANIFEST | DOCKER_LIST))
}

/// What tells this event from every other, and is the same each time it is delivered: its id, else its content and time.
/// A tag that goes from A to B and back to A makes three events, which must not become two. Without either the time of
/// receipt stands in, and a repeated delivery costs a look.
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
