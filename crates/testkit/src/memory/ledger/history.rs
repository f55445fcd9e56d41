//! Executions and tasks in memory. Totals are computed from the tasks, so the suites compare counters with them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::ledger::{
    By, Cursor, ExecutionQuery, History, ImageRef, PAGE_ITEMS_READ_MAX, Page, TaskEntry, TaskQuery,
};
use transship_engine::{
    Begin, Counts, Execution, ExecutionRecord, ExecutionState, Outcome, Replica, TaskCounts, TaskRecord, TaskState,
};
use transship_oci::{Code, Error, Repository, Result, Verb};

use super::MemoryLedger;
use super::replicas::Held;

/// What is remembered of executions, tasks and replicas.
#[derive(Debug, Default)]
pub(super) struct State {
    executions: Vec<Execution>,
    tasks: Vec<Row>,
    pub(super) replicas: HashMap<ImageRef, Held>,
}

#[derive(Debug)]
struct Row {
    /// Counts up with each task.
    number: usize,
    entry: TaskEntry,
    touched: Timestamp,
    record: TaskRecord,
}

impl MemoryLedger {
    pub(super) fn history(&self) -> MutexGuard<'_, State> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, entry: &TaskEntry) {
        if !self.executions.iter().any(|known| known.id == entry.execution.id) {
            self.executions.push(entry.execution.clone());
        }
        if self.tasks.iter().all(|row| !row.is_of(entry)) {
            self.tasks.push(Row {
                number: self.tasks.len(),
                entry: entry.clone(),
                touched: entry.created,
                record: queued(entry),
            });
        }
    }

    fn open_row(&mut self, entry: &TaskEntry) -> Option<&mut Row> {
        let row = self.tasks.iter_mut().find(|row| row.is_of(entry));
        row.filter(|row| !row.record.state.is_terminal())
    }

    fn execution_record(&self, execution: &Execution) -> ExecutionRecord {
        let of = |row: &&Row| row.entry.execution.id == execution.id;
        let rows: Vec<&Row> = self.tasks.iter().filter(of).collect();
        let count = |test: fn(TaskState) -> bool| rows.iter().filter(|row| test(row.record.state)).count() as u64;
        let (total, succeeded) = (rows.len() as u64, count(TaskState::is_success));
        let (terminal, cancelled) = (
            count(TaskState::is_terminal),
            count(|state| state == TaskState::Cancelled),
        );
        let state = ExecutionState::derive(total, terminal, succeeded, cancelled);
        let last = rows.iter().filter_map(|row| row.record.finished).max();
        let elapsed = last.unwrap_or(execution.created).duration_since(execution.created);
        let repositories: BTreeSet<_> = rows
            .iter()
            .filter_map(|row| {
                Some((
                    &row.entry.destination_registry,
                    row.entry.destination_repository.as_ref()?,
                ))
            })
            .collect();
        ExecutionRecord {
            id: execution.id.clone(),
            rule: execution.rule.clone(),
            trigger: execution.trigger,
            created: execution.created,
            duration_ms: (state != ExecutionState::Running)
                .then(|| u64::try_from(elapsed.as_millis()).unwrap_or_default()),
            state,
            success_ratio: if total == 0 {
                1.0
            } else {
                succeeded as f64 / total as f64
            },
            repositories: repositories.len() as u64,
            bytes: rows
                .iter()
                .map(|row| row.record.bytes.copied + row.record.bytes.mounted)
                .sum(),
            tasks: TaskCounts::of(total, terminal, succeeded, cancelled),
            run: None,
            code: None,
            message: None,
        }
    }

    /// The rows of the access path, in its order.
    fn by(&self, by: &By) -> Vec<(Position, &Row)> {
        let is_meant = |row: &&Row| match by {
            By::Newest => true,
            By::Since(from) => row.entry.created >= *from,
            By::Execution(id) => row.entry.execution.id == *id,
            By::Rule { name, from, until } => {
                let created = row.entry.created;
                row.entry.execution.rule == *name
                    && from.is_none_or(|from| created >= from)
                    && until.is_none_or(|until| created < until)
            }
            By::Destination { registry, repository } => {
                row.entry.destination_registry == *registry
                    && row.entry.destination_repository.as_ref() == Some(repository)
            }
            By::Open => !row.record.state.is_terminal(),
            By::Failed => row.record.state == TaskState::Failed,
        };
        let time = |row: &Row| match by {
            By::Open => row.touched,
            By::Failed => row.record.finished.unwrap_or(row.touched),
            _ => row.entry.created,
        };
        let rows = self.tasks.iter().filter(is_meant);
        let mut rows: Vec<_> = rows
            .map(|row| ((time(row).as_millisecond(), row.number), row))
            .collect();
        rows.sort_by_key(|(position, _)| Reverse(*position));
        rows
    }

    fn page<T>(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize, read: fn(&Row) -> T) -> Result<Page<T>> {
        let rows = self.by(&query.by);
        let admits = |row: &&Row| {
            let record = &row.record;
            query.filter.admits(
                &row.entry,
                record.state,
                record.code.as_deref(),
                record.redriven_by.is_some(),
            )
        };
        paged(rows, after, limit, admits, read)
    }
}

/// Milliseconds, then the number of the row.
type Position = (i64, usize);

fn paged<T, R>(
    rows: Vec<(Position, R)>,
    after: Option<&Cursor>,
    limit: usize,
    admits: impl Fn(&R) -> bool,
    read: impl Fn(R) -> T,
) -> Result<Page<T>> {
    let after = after.map(position).transpose()?;
    let mut items = Vec::new();
    let mut last = None;
    let rows = rows.into_iter().filter(|(at, _)| after.is_none_or(|after| *at < after));
    for (number, (at, row)) in rows.enumerate() {
        if items.len() == limit.max(1) || number == PAGE_ITEMS_READ_MAX {
            return Ok(Page { items, next: last });
        }
        last = Some(Cursor(format!("{} {}", at.0, at.1)));
        if admits(&row) {
            items.push(read(row));
        }
    }
    Ok(Page::last(items))
}

fn position(cursor: &Cursor) -> Result<Position> {
    let read = cursor.0.split_once(' ');
    read.and_then(|(time, number)| Some((time.parse().ok()?, number.parse().ok()?)))
        .ok_or_else(|| Error::of(Code::CursorInvalid, Verb::Ledger.on("list")))
}

impl Row {
    fn listed(&self) -> TaskRecord {
        let began = (self.record.state == TaskState::Running).then_some(self.touched);
        TaskRecord {
            began,
            ..self.record.clone()
        }
    }

    fn is_of(&self, entry: &TaskEntry) -> bool {
        self.entry.id == entry.id && self.entry.execution.id == entry.execution.id
    }
}

fn queued(entry: &TaskEntry) -> TaskRecord {
    TaskRecord {
        id: entry.id.clone(),
        execution: entry.execution.id.clone(),
        rule: entry.execution.rule.clone(),
        action: entry.action,
        source: entry.source.clone(),
        destination: entry.destination.clone(),
        digest: entry.digest.clone(),
        state: TaskState::Queued,
        code: None,
        message: None,
        attempts: 0,
        created: entry.created,
        began: None,
        next: None,
        finished: None,
        bytes: Counts::default(),
        redrive_of: entry.redrive_of.clone(),
        redriven_by: None,
    }
}

#[async_trait]
impl History for MemoryLedger {
    async fn record(&self, tasks: &[TaskEntry]) -> Result<()> {
        let mut state = self.history();
        for task in tasks {
            state.add(task);
        }
        Ok(())
    }

    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        let mut state = self.history();
        state.add(task);
        let Some(row) = state.open_row(task) else {
            let row = state.tasks.iter().find(|row| row.is_of(task));
            return Ok(Begin::Finished(row.map_or(TaskState::Queued, |row| row.record.state)));
        };
        row.touched = now;
        row.record.state = TaskState::Running;
        row.record.attempts += 1;
        row.record.next = None;
        Ok(Begin::Attempt(row.record.attempts))
    }

    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        if let Some(row) = self.history().open_row(task) {
            row.touched = next;
            row.record.state = TaskState::Waiting;
            row.record.code = Some(code.to_owned());
            row.record.message = Some(message.to_owned());
            row.record.next = Some(next);
        }
        Ok(())
    }

    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, settled: &[Replica], holder: &str) -> Result<bool> {
        let mut state = self.history();
        state.settle(settled, holder, outcome.finished);
        let Some(Row { record, .. }) = state.open_row(task) else {
            return Ok(false);
        };
        record.state = outcome.state;
        record.digest.clone_from(&outcome.digest);
        record.code.clone_from(&outcome.code);
        record.message.clone_from(&outcome.message);
        record.bytes = outcome.bytes;
        record.finished = Some(outcome.finished);
        record.next = None;
        Ok(true)
    }

    async fn redriven(&self, task: &TaskEntry, successor: &str) -> Result<()> {
        let mut state = self.history();
        if let Some(row) = state
            .tasks
            .iter_mut()
            .find(|row| row.is_of(task) && row.record.state.is_terminal())
        {
            row.record.redriven_by.get_or_insert_with(|| successor.to_owned());
        }
        Ok(())
    }

    async fn tasks(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskRecord>> {
        self.history().page(query, after, limit, Row::listed)
    }

    async fn entries(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskEntry>> {
        self.history().page(query, after, limit, |row| row.entry.clone())
    }

    async fn executions(
        &self,
        query: &ExecutionQuery,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<ExecutionRecord>> {
        let state = self.history();
        let is_meant = |execution: &Execution| {
            query.rule.as_ref().is_none_or(|rule| *rule == execution.rule)
                && query.from.is_none_or(|from| execution.created >= from)
                && query.until.is_none_or(|until| execution.created < until)
        };
        let numbered = state.executions.iter().enumerate();
        let mut rows: Vec<_> = numbered
            .filter(|(_, execution)| is_meant(execution))
            .map(|(number, execution)| {
                (
                    (execution.created.as_millisecond(), number),
                    state.execution_record(execution),
                )
            })
            .collect();
        rows.sort_by_key(|(position, _)| Reverse(*position));
        paged(rows, after, limit, |record| query.admits(record), |record| record)
    }

    async fn execution(&self, id: &str) -> Result<Option<ExecutionRecord>> {
        let state = self.history();
        let found = state.executions.iter().find(|execution| execution.id == id);
        Ok(found.map(|execution| state.execution_record(execution)))
    }

    async fn untouched(
        &self,
        origin: &str,
        before: Timestamp,
        latest: Timestamp,
        limit: usize,
    ) -> Result<Vec<TaskEntry>> {
        let is_untouched = |touched| touched < before || touched > latest;
        let state = self.history();
        let mut rows: Vec<_> = state
            .tasks
            .iter()
            .filter(|row| !row.record.state.is_terminal() && is_untouched(row.touched) && row.entry.origin == origin)
            .collect();
        rows.sort_by_key(|row| (row.touched > latest, row.touched));
        Ok(rows.into_iter().take(limit).map(|row| row.entry.clone()).collect())
    }

    async fn is_busy(&self, origin: &str, repository: &Repository) -> Result<bool> {
        Ok(self.history().tasks.iter().any(|row| {
            !row.entry.is_attachment
                && !row.record.state.is_terminal()
                && row.entry.origin == origin
                && row.entry.source_repository.as_ref() == Some(repository)
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_history_suite_passes() {
        crate::suites::history(async || Arc::new(MemoryLedger::default())).await;
    }
}
