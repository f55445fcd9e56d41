//! An operation on a group as lines for people.

use transship_engine::failover::Operation;

use crate::commands::ledger::shown_time;

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
