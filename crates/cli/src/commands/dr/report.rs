//! An operation on a group as lines for people.

use serde::Serialize;
use transship_engine::failover::{GroupState, Operation, Phase};
use transship_oci::Code;

use crate::commands::ledger::shown_time;

/// The authoritative servers that did not answer.
pub(super) fn silent_lines(silent: &[String]) -> impl Iterator<Item = String> {
    let code = Code::DnsServerSilent.as_str();
    silent
        .iter()
        .map(move |server| format!("  note {code}: no answer from {server}"))
}

/// The operation with its times.
pub(super) fn operation_lines(operation: &Operation) -> Vec<String> {
    let state = match (operation.ended, operation.is_aborted) {
        (None, _) => format!("under way, since {}", shown_time(operation.started)),
        (Some(ended), true) => format!("taken back at {}", shown_time(ended)),
        (Some(ended), false) => format!("ended at {}", shown_time(ended)),
    };
    let mut lines = vec![format!(
        "{} to {} by {}: {state}",
        operation.kind, operation.to, operation.by
    )];
    for (name, zone) in &operation.zones {
        let done = zone
            .done
            .map_or_else(|| "not yet".to_owned(), |done| format!("at {}", shown_time(done)));
        lines.push(format!("  zone {name}: {} to {}, {done}", zone.from, zone.to));
        lines.extend(silent_lines(&zone.silent));
    }
    for step in &operation.steps {
        let took = step.ended.map_or_else(
            || "not yet".to_owned(),
            |ended| format!("{} ms", ended.duration_since(step.began).as_millis()),
        );
        lines.push(format!("  {}: {took}", step.phase));
    }
    if let Some(accepted) = &operation.accepted {
        lines.push(format!("  accepted to lose: {} images", accepted.images));
    }
    lines
}

/// The result of an operation.
#[derive(Debug, Serialize)]
pub(super) struct Report<D> {
    group: String,
    /// False: clients were led there already.
    changed: bool,
    epoch: u64,
    writer: String,
    phase: Phase,
    operation: Option<Operation>,
    /// What was known of the sites before a flip; the conflicts of a failback.
    details: Vec<D>,
}

impl<D> Report<D> {
    pub(super) fn new(group: &str, state: GroupState, is_unchanged: bool, details: Vec<D>) -> Self {
        Self {
            group: group.to_owned(),
            changed: !is_unchanged,
            epoch: state.epoch,
            writer: state.writer,
            phase: state.phase,
            operation: state.operation,
            details,
        }
    }
}

/// The result as lines for people.
pub(super) fn text<D>(report: &Report<D>) -> String {
    if !report.changed {
        return format!("{}: nothing to do, the zones lead there already", report.group);
    }
    let Report {
        group,
        phase,
        epoch,
        writer,
        ..
    } = report;
    let mut lines = vec![format!("{group}: {phase}, epoch {epoch}, writer {writer}")];
    lines.extend(report.operation.iter().flat_map(operation_lines));
    lines.join("\n")
}
