//! `transship executions`: lists executions with their trigger and state.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use transship_engine::ledger::{ExecutionQuery, Runs, Verifications, VerifySummary};
use transship_engine::operations::{list_executions, list_executions_of_repository};
use transship_engine::{ExecutionRecord, Trigger};

use super::ledger::{Store, shown_time};
use super::selection::Selection;
use crate::failure::Failure;
use crate::output::Form;
use crate::table::{shown, table};
use crate::terminal;
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
    #[command(flatten)]
    selection: Selection,
    /// Maximum number of executions to list, newest first; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let ledger = arguments.store.ledger().await?;
    let history = &ledger.history;
    let Selection {
        rule,
        repository,
        since,
        open,
    } = &arguments.selection;
    let query = ExecutionQuery {
        rule: rule.clone(),
        from: *since,
        is_open: *open,
        ..ExecutionQuery::default()
    };
    let (history, limit) = (history.as_ref(), arguments.limit);
    let mut records = match repository {
        Some(repository) => list_executions_of_repository(history, &query, repository, limit).await?,
        None => list_executions(history, &query, limit).await?,
    };
    tell_runs(&ledger.runs, &mut records).await?;
    let none = if arguments.selection.is_limited() {
        "no executions found"
    } else {
        "no executions yet"
    };
    let shown = with_verifications(&ledger.verifications, records).await?;
    form.print(&shown, |shown| {
        let records: Vec<ExecutionRecord> = shown.iter().map(|shown| shown.record.clone()).collect();
        let lines = shown
            .iter()
            .filter_map(|shown| Some(verified_text(shown.verified.as_ref()?)));
        // The last line has the totals.
        let table = text(&records, none, terminal::width());
        lines.chain([table]).collect::<Vec<_>>().join("\n")
    })
}

/// An execution, and on the newest of each rule the last verification of the rule.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    record: ExecutionRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<VerifySummary>,
}

async fn with_verifications(
    verifications: &Verifications,
    records: Vec<ExecutionRecord>,
) -> Result<Vec<Shown>, Failure> {
    let mut rules = HashSet::new();
    let mut shown = Vec::new();
    for record in records {
        let verified = if rules.insert(record.rule.clone()) {
            verifications.get(&record.rule).await?
        } else {
            None
        };
        shown.push(Shown { record, verified });
    }
    Ok(shown)
}

/// The last verification of a rule, in one line.
fn verified_text(summary: &VerifySummary) -> String {
    let VerifySummary {
        rule,
        equal,
        missing,
        different,
        extra,
        unknown,
        ..
    } = summary;
    let oldest = summary.oldest_unreplicated.map_or_else(String::new, |time| {
        format!("; the oldest that is not there is of {}", shown_time(time))
    });
    format!(
        "{rule} was verified {}: {equal} equal, {missing} missing, {different} different, {extra} extra, {unknown} unknown{oldest}",
        shown_time(summary.checked)
    )
}

/// Adds what each run found so far.
async fn tell_runs(runs: &Runs, records: &mut [ExecutionRecord]) -> Result<(), Failure> {
    let now = Timestamp::now();
    let may_be_run = |record: &&mut ExecutionRecord| matches!(record.trigger, Trigger::Manual | Trigger::Schedule);
    for record in records.iter_mut().filter(may_be_run) {
        record.run = runs.progress(&record.id, now).await?;
    }
    Ok(())
}

/// What a run found, in one line.
pub(super) fn run_text(record: &ExecutionRecord) -> String {
    let Some(run) = &record.run else {
        return format!("{}, {} succeeded", record.state, success(record));
    };
    let mut parts = vec![
        match run.repositories {
            1 => "1 repository".to_owned(),
            many => format!("{many} repositories"),
        },
        units::count(run.tags, "tag"),
        format!("{} equal", run.equal),
        format!("{} to copy", run.enqueued),
    ];
    for (count, what) in [
        (run.kept, "kept"),
        (run.skipped, "skipped"),
        (record.tasks.failed, "failed"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if run.unreadable > 0 {
        let names: Vec<String> = run
            .unread
            .iter()
            .map(|unread| format!("{} ({})", unread.name, unread.code))
            .collect();
        parts.push(format!("not read: {}", names.join(", ")));
    }
    if !run.is_over {
        parts.push("not at its end".to_owned());
    }
    parts.join(", ")
}

/// The records as a table; if that is wider than `width`, as blocks that fit. `none` is the text for no records.
fn text(records: &[ExecutionRecord], none: &str, width: Option<usize>) -> String {
    if records.is_empty() {
        return none.to_owned();
    }
    let table = table_of(records);
    let mut text: String = match width {
        Some(width) if !terminal::fits(&table, width) => records.iter().map(|record| block_of(record, width)).collect(),
        _ => table,
    };
    if records.len() > 1 {
        let _ = writeln!(text, "{}", total_of(records));
    }
    text
}

/// All records in one line: `3 executions: 1 waiting, 2 succeeded, 4 KB`.
fn total_of(records: &[ExecutionRecord]) -> String {
    let mut by_state: BTreeMap<String, usize> = BTreeMap::new();
    for record in records {
        *by_state.entry(record.state.to_string()).or_default() += 1;
    }
    let mut parts: Vec<String> = by_state
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    parts.push(units::bytes(records.iter().map(|record| record.bytes).sum()));
    format!("{} executions: {}", records.len(), parts.join(", "))
}

fn success(record: &ExecutionRecord) -> String {
    format!("{:.0} %", record.success_ratio * 100.0)
}

fn elapsed(record: &ExecutionRecord) -> String {
    let ms = record.duration_ms;
    ms.map_or_else(String::new, |ms| units::duration(Duration::from_millis(ms)))
}

/// What a waiting execution waits for, or what a run found.
fn reason(record: &ExecutionRecord) -> String {
    if record.code.is_none() && record.run.is_some() {
        return run_text(record);
    }
    let code = record.code.as_deref().unwrap_or_default();
    match &record.message {
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    }
}

fn block_of(record: &ExecutionRecord, width: usize) -> String {
    let head = format!(
        "{}  {}  {}  {}",
        record.id,
        record.state,
        success(record),
        shown_time(record.created)
    );
    let repositories = match record.repositories {
        1 => "1 repository".to_owned(),
        many => format!("{many} repositories"),
    };
    let parts = [
        shown(&record.rule),
        record.trigger.to_string(),
        elapsed(record),
        repositories,
        units::bytes(record.bytes),
    ];
    let told: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    terminal::block(&[head, told.join(", "), shown(&reason(record))], width)
}

fn table_of(records: &[ExecutionRecord]) -> String {
    let row = |record: &ExecutionRecord| {
        [
            record.id.clone(),
            record.rule.clone(),
            record.trigger.to_string(),
            shown_time(record.created),
            elapsed(record),
            record.state.to_string(),
            success(record),
            record.repositories.to_string(),
            units::bytes(record.bytes),
            reason(record),
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
        "note",
    ];
    table(heads, &records.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use transship_engine::{ExecutionState, TaskCounts, Trigger};

    use super::*;

    #[test]
    fn executions_are_told_in_both_forms() {
        let record = |duration_ms, state| ExecutionRecord {
            id: "e-1".into(),
            rule: "core".into(),
            trigger: Trigger::Event,
            created: Timestamp::UNIX_EPOCH,
            duration_ms,
            state,
            success_ratio: 0.5,
            repositories: 2,
            bytes: 2048,
            tasks: TaskCounts::of(2, 2, 1, 0),
            run: None,
            code: (state == ExecutionState::Waiting).then(|| "CONNECT_FAILED".into()),
            message: (state == ExecutionState::Waiting).then(|| "no connection".into()),
        };
        let records = [
            record(Some(1500), ExecutionState::Partial),
            record(None, ExecutionState::Running),
            record(None, ExecutionState::Waiting),
        ];
        insta::assert_snapshot!(text(&records, "none", None));
        insta::assert_snapshot!(text(&records, "none", Some(60)));
        insta::assert_json_snapshot!(records[0]);
        assert_eq!(text(&[], "none", None), "none");
    }
}
