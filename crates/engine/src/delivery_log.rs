//! What became of the events of a delivery, as log lines and metrics.
//!
//! Here because no other record exists of an event that made no task: a registry that delivers to the wrong name, and a rule
//! that does not match, are found by these lines.

use metrics::counter;
use transship_notifications::{Event, EventAction};
use transship_oci::Code;
use transship_rules::{Evaluation, Verdict};

use crate::plan::Planned;

/// Logs that the event created `tasks` at the registry `source`.
pub(crate) fn accepted(source: &str, event: &Event, tasks: &[Planned]) {
    let Subject {
        repository,
        tag,
        digest,
    } = Subject::of(event);
    let accepted = match event.action {
        EventAction::Push => "accepted a push",
        EventAction::Delete => "accepted a delete",
    };
    for task in tasks.iter().filter(|task| !task.is_recorded_late()) {
        let (execution, rule) = (task.execution().id.as_str(), task.execution().rule.as_str());
        tracing::info!(
            source,
            repository,
            tag,
            digest,
            execution,
            task = task.id(),
            rule,
            "{accepted}"
        );
    }
}

/// Logs and counts a push that no rule takes. A delete, and what comes with an index, is expected to create no task.
pub(crate) fn unmatched(source: &str, event: &Event, is_expected: bool) {
    let Subject {
        repository,
        tag,
        digest,
    } = Subject::of(event);
    if is_expected || event.action == EventAction::Delete {
        tracing::debug!(source, repository, tag, digest, action = ?event.action, "an event needs no task");
        return;
    }
    counter!("PushesUnmatched", "Source" => source.to_owned()).increment(1);
    tracing::info!(
        source,
        repository,
        tag,
        digest,
        "no rule takes a push: `transship explain` says why"
    );
}

/// Logs and counts events that name a host which does not belong to `source`.
pub(crate) fn foreign(source: &str, events: &[Event]) {
    let Some(event) = events.first() else { return };
    let host = event
        .registry_host
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let Subject {
        repository,
        tag,
        digest,
    } = Subject::of(event);
    counter!("DeliveriesRefused", "Code" => Code::HostMismatch.as_str()).increment(1);
    tracing::warn!(
        code = Code::HostMismatch.as_str(),
        source,
        host,
        repository,
        tag,
        digest,
        events = events.len(),
        "a delivery names a host that does not belong to the registry; if it does, add it to the registry's `hosts`"
    );
}

/// Logs why a rule matches an event or not, as `transship explain` prints it.
pub(crate) fn decision(source: &str, event: &Event, found: &Evaluation<'_>) {
    let (rule, repository) = (found.rule.name.as_str(), event.repository.as_str());
    let tag = event.tag.as_ref().map(tracing::field::display);
    match &found.verdict {
        Verdict::Matches(_) => tracing::debug!(rule, source, repository, tag, "the rule matches"),
        Verdict::Follows(_) => tracing::debug!(rule, source, repository, tag, "the content follows its subject"),
        Verdict::No(reason) => {
            let code = reason.code();
            tracing::debug!(rule, source, repository, tag, code, why = %reason, "the rule does not match");
        }
    }
}

/// What an event is about, as text.
struct Subject<'a> {
    repository: &'a str,
    tag: &'a str,
    digest: String,
}

impl<'a> Subject<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            repository: event.repository.as_str(),
            tag: event.tag.as_ref().map(AsRef::as_ref).unwrap_or_default(),
            digest: event.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}
