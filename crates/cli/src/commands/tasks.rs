//! `transship tasks`: lists tasks with their state, code and message.

use clap::Args;
use transship_engine::ledger::{By, TaskQuery};
use transship_engine::operations::list_tasks;
use transship_engine::{TaskRecord, TaskState};

use super::ledger::{Store, shown_time};
use crate::failure::Failure;
use crate::output::Form;
use crate::table::table;
use transship_oci::Result;

/// Arguments of `transship tasks`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship tasks --data /var/lib/transship --state failed\n  transship tasks e-3f0a9c1d2b4e5f60718a --data /var/lib/transship --json"
)]
pub(crate) struct Arguments {
    /// Limit to this execution
    execution: Option<String>,
    #[command(flatten)]
    store: Store,
    /// Limit to this state: queued, running, waiting, succeeded, unchanged, kept, skipped, failed or cancelled
    #[arg(long, value_parser = state)]
    state: Option<TaskState>,
    /// Maximum number of tasks to list, newest first; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

fn state(word: &str) -> Result<TaskState, &'static str> {
    TaskState::parse(word).ok_or("not a task state; see --help for the list")
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let mut query = TaskQuery::new(arguments.execution.map_or(By::Newest, By::Execution));
    query.filter.state = arguments.state;
    let history = arguments.store.history().await?;
    let records = list_tasks(history.as_ref(), &query, arguments.limit).await?;
    form.print(&records, |records| text(records))
}

fn text(records: &[TaskRecord]) -> String {
    if records.is_empty() {
        return "no tasks found".to_owned();
    }
    let row = |record: &TaskRecord| {
        [
            record.id.clone(),
            record.rule.clone(),
            record.source.clone(),
            record.destination.clone(),
            record.state.to_string(),
            record.attempts.to_string(),
            shown_time(record.created),
            note(record),
        ]
    };
    let heads = [
        "id",
        "rule",
        "source",
        "destination",
        "state",
        "attempts",
        "created",
        "note",
    ];
    table(heads, &records.iter().map(row).collect::<Vec<_>>())
}

/// The note of a task: its code and message, and the time of its next attempt.
fn note(record: &TaskRecord) -> String {
    let code = record.code.clone().unwrap_or_default();
    let told = match &record.message {
        Some(message) => format!("{code}: {message}"),
        None => code,
    };
    match record.next {
        Some(next) => format!("{told} (next at {})", shown_time(next)),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use transship_engine::{Action, Counts};

    use super::*;

    #[test]
    fn tasks_are_told_in_both_forms() {
        let record = TaskRecord {
            id: "t-1".into(),
            execution: "e-1".into(),
            rule: "core".into(),
            action: Action::Copy,
            source: "a/core/app:v1".into(),
            destination: "b/copy/app:v1".into(),
            digest: None,
            state: TaskState::Waiting,
            code: Some("CONNECT_FAILED".into()),
            message: Some("no connection to b.example".into()),
            attempts: 3,
            created: jiff::Timestamp::UNIX_EPOCH,
            next: Some(jiff::Timestamp::UNIX_EPOCH),
            finished: None,
            bytes: Counts::default(),
        };
        insta::assert_snapshot!(text(std::slice::from_ref(&record)));
        insta::assert_json_snapshot!(record);
    }

    #[test]
    fn only_states_of_the_contract_are_asked_for() {
        assert_eq!(state("kept"), Ok(TaskState::Kept));
        assert!(state("done").is_err());
    }
}
