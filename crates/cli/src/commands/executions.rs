//! `transship executions`: lists executions with their trigger and state.

use std::time::Duration;

use clap::Args;
use transship_engine::ExecutionRecord;
use transship_engine::ledger::ExecutionQuery;
use transship_engine::operations::list_executions;

use super::ledger::{Store, shown_time};
use crate::failure::Failure;
use crate::output::Form;
use crate::table::table;
use crate::units;
use transship_oci::Result;

/// Arguments of `transship executions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship executions --data /var/lib/transship --limit 20\n  transship executions --data /var/lib/transship --json | jq '.[] | select(.state != \"succeeded\")'"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: Store,
    /// Maximum number of executions to list, newest first; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let history = arguments.store.history().await?;
    let records = list_executions(history.as_ref(), &ExecutionQuery::default(), arguments.limit).await?;
    form.print(&records, |records| text(records))
}

fn text(records: &[ExecutionRecord]) -> String {
    if records.is_empty() {
        return "no executions yet".to_owned();
    }
    let row = |record: &ExecutionRecord| {
        [
            record.id.clone(),
            record.rule.clone(),
            record.trigger.to_string(),
            shown_time(record.created),
            record
                .duration_ms
                .map_or_else(String::new, |ms| units::duration(Duration::from_millis(ms))),
            record.state.to_string(),
            format!("{:.0} %", record.success_ratio * 100.0),
            record.repositories.to_string(),
            units::bytes(record.bytes),
        ]
    };
    let heads = [
        "id",
        "rule",
        "trigger",
        "created",
        "duration",
        "state",
        "success",
        "repositories",
        "bytes",
    ];
    table(heads, &records.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use transship_engine::{ExecutionState, Trigger};

    use super::*;

    #[test]
    fn executions_are_told_in_both_forms() {
        let record = |duration_ms, state| ExecutionRecord {
            id: "e-1".into(),
            rule: "core".into(),
            trigger: Trigger::Event,
            created: jiff::Timestamp::UNIX_EPOCH,
            duration_ms,
            state,
            success_ratio: 0.5,
            repositories: 2,
            bytes: 2048,
        };
        let records = [
            record(Some(1500), ExecutionState::Partial),
            record(None, ExecutionState::Running),
        ];
        insta::assert_snapshot!(text(&records));
        insta::assert_json_snapshot!(records[0]);
        assert_eq!(text(&[]), "no executions yet");
    }
}
