//! `transship tasks`: lists tasks with their state, code and message.

use clap::Args;
use transship_engine::ledger::{By, Filter, TaskQuery};
use transship_engine::operations::{list_tasks, list_unresolved};
use transship_engine::{TaskRecord, TaskState};

use super::ledger::{Store, shown_time};
use super::selection::Selection;
use crate::failure::Failure;
use crate::output::Form;
use crate::table::{shown, table};
use crate::terminal;
use transship_oci::Result;

/// Arguments of `transship tasks`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship tasks --data /var/lib/transship --state failed\n  transship tasks --data /var/lib/transship --open --rule core\n  transship tasks e-3f0a9c1d2b4e5f60718a --data /var/lib/transship --json"
)]
pub(crate) struct Arguments {
    /// Limit to this execution
    execution: Option<String>,
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    selection: Selection,
    /// Limit to this state: queued, running, waiting, succeeded, unchanged, kept, skipped, failed or cancelled; failed lists only
    /// what is still missing
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
    let history = arguments.store.history().await?;
    let history = history.as_ref();
    let query = query(&arguments);
    let records = if query.by == By::Failed {
        list_unresolved(history, &query.filter, arguments.limit).await?
    } else {
        list_tasks(history, &query, arguments.limit).await?
    };
    form.print(&records, |records| text(records, terminal::width()))
}

/// The list that the arguments select, by the access path that reads the fewest tasks.
fn query(arguments: &Arguments) -> TaskQuery {
    let Arguments {
        selection,
        state,
        execution,
        ..
    } = arguments;
    let is_open = selection.open || state.is_some_and(|state| !state.is_terminal());
    let by = match (execution, &selection.rule, selection.since) {
        (Some(id), ..) => By::Execution(id.clone()),
        _ if is_open => By::Open,
        _ if *state == Some(TaskState::Failed) => By::Failed,
        (None, Some(name), from) => By::Rule {
            name: name.clone(),
            from,
            until: None,
        },
        (None, None, Some(from)) => By::Since(from),
        (None, None, None) => By::Newest,
    };
    let is_missing = *state == Some(TaskState::Failed);
    TaskQuery {
        by,
        filter: Filter {
            state: *state,
            rule: selection.rule.clone(),
            repository: selection.repository.clone(),
            since: selection.since,
            is_open: selection.open,
            is_redriven: is_missing.then_some(false),
            ..Filter::default()
        },
    }
}

/// The records as a table; if that is wider than `width`, as blocks that fit.
fn text(records: &[TaskRecord], width: Option<usize>) -> String {
    if records.is_empty() {
        return "no tasks found".to_owned();
    }
    let table = table_of(records);
    match width {
        Some(width) if !terminal::fits(&table, width) => records.iter().map(|record| block_of(record, width)).collect(),
        _ => table,
    }
}

fn block_of(record: &TaskRecord, width: usize) -> String {
    let head = format!(
        "{}  {}  {}  {}",
        record.id,
        record.state,
        shown_time(record.created),
        shown(&record.rule)
    );
    let way = format!("{} -> {}", shown(&record.source), shown(&record.destination));
    let lines = [
        head,
        terminal::short_digests(&way),
        terminal::short_digests(&shown(&note(record))),
    ];
    terminal::block(&lines, width)
}

fn table_of(records: &[TaskRecord]) -> String {
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

/// The note of a task: its code and message, and when its attempt began, or the next one is due.
fn note(record: &TaskRecord) -> String {
    let code = record.code.clone().unwrap_or_default();
    let told = match &record.message {
        Some(message) => format!("{code}: {message}"),
        None => code,
    };
    match (record.began, record.next, &record.redriven_by) {
        (Some(began), ..) => format!("{told} (attempt began at {})", shown_time(began))
            .trim_start()
            .to_owned(),
        (_, Some(next), _) => format!("{told} (next at {})", shown_time(next)),
        (_, _, Some(successor)) => format!("{told} (redriven as {successor})"),
        _ => told,
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
            began: None,
            next: Some(jiff::Timestamp::UNIX_EPOCH),
            finished: None,
            bytes: Counts::default(),
            redrive_of: None,
            redriven_by: None,
        };
        insta::assert_snapshot!(text(std::slice::from_ref(&record), None));
        insta::assert_snapshot!(text(std::slice::from_ref(&record), Some(60)));
        assert!(terminal::fits(&text(std::slice::from_ref(&record), Some(60)), 60));
        insta::assert_json_snapshot!(record);
    }

    #[test]
    fn only_states_of_the_contract_are_asked_for() {
        assert_eq!(state("kept"), Ok(TaskState::Kept));
        assert!(state("done").is_err());
    }
}
