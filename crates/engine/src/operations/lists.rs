//! Lists of executions and tasks, read page by page.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use transship_oci::Repository;

use crate::ledger::{By, Cursor, ExecutionQuery, Filter, History, PAGE_ITEMS_READ_MAX, Page, TaskEntry, TaskQuery};
use crate::{ExecutionRecord, ExecutionState, Result, TaskRecord, TaskState, Trigger};

/// Items of one page.
const PAGE_ITEMS: usize = 100;
/// Open tasks that are read to find out which executions only wait.
const OPEN_TASKS_READ_MAX: usize = 20_000;

/// The first `limit` executions of the list; 0: all. Those that only wait say so.
pub async fn list_executions(
    history: &dyn History,
    query: &ExecutionQuery,
    limit: usize,
) -> Result<Vec<ExecutionRecord>> {
    let mut records = collect(limit, |after, limit| async move {
        history.executions(query, after.as_ref(), limit).await
    })
    .await?;
    tell_waiting(history, query, &mut records).await?;
    tell_skipped(history, &mut records).await?;
    Ok(records)
}

/// The first `limit` executions of the list with a task that reads from or writes to `repository`
/// ([`crate::ledger::Filter::repository`]); 0: all.
pub async fn list_executions_of_repository(
    history: &dyn History,
    query: &ExecutionQuery,
    repository: &str,
    limit: usize,
) -> Result<Vec<ExecutionRecord>> {
    let by = match (&query.rule, query.from) {
        (Some(name), from) => By::Rule {
            name: name.clone(),
            from,
            until: query.until,
        },
        (None, Some(from)) => By::Since(from),
        (None, None) => By::Newest,
    };
    let mut tasks = TaskQuery::new(by);
    tasks.filter.repository = Some(repository.to_owned());
    let (mut seen, mut records) = (HashSet::new(), Vec::new());
    let mut after: Option<Cursor> = None;
    loop {
        let page = history.entries(&tasks, after.as_ref(), PAGE_ITEMS).await?;
        for entry in page.items {
            if limit > 0 && records.len() == limit {
                break;
            }
            if seen.insert(entry.execution.id.clone())
                && let Some(record) = history.execution(&entry.execution.id).await?
                && query.admits(&record)
            {
                records.push(record);
            }
        }
        after = page.next;
        if after.is_none() || limit > 0 && records.len() == limit {
            break;
        }
    }
    tell_waiting(history, query, &mut records).await?;
    tell_skipped(history, &mut records).await?;
    Ok(records)
}

/// One execution; [`None`] if the history has none with this id. If it only waits, it says so.
pub async fn find_execution(history: &dyn History, id: &str) -> Result<Option<ExecutionRecord>> {
    let Some(mut record) = history.execution(id).await? else {
        return Ok(None);
    };
    if record.state == ExecutionState::Running {
        let mut reasons = Reasons::default();
        let query = TaskQuery::new(By::Execution(id.to_owned()));
        for state in [TaskState::Queued, TaskState::Running, TaskState::Waiting] {
            let page = history.tasks(&query.clone().in_state(state), None, 1).await?;
            reasons.add(&page.items);
        }
        reasons.tell(&mut record);
    }
    tell_skipped(history, std::slice::from_mut(&mut record)).await?;
    Ok(Some(record))
}

/// Sets the state of the executions of which every open task waits. Beyond [`OPEN_TASKS_READ_MAX`] open tasks, those that were
/// touched before are not looked at, and their executions count as running.
async fn tell_waiting(history: &dyn History, query: &ExecutionQuery, records: &mut [ExecutionRecord]) -> Result<()> {
    if records.iter().all(|record| record.state != ExecutionState::Running) {
        return Ok(());
    }
    let mut open = TaskQuery::new(By::Open);
    open.filter.rule.clone_from(&query.rule);
    let mut reasons = Reasons::default();
    let (mut after, mut read): (Option<Cursor>, usize) = (None, 0);
    while read < OPEN_TASKS_READ_MAX {
        let page = history.tasks(&open, after.as_ref(), PAGE_ITEMS_READ_MAX).await?;
        read += page.items.len();
        reasons.add(&page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // What was not read may be at work.
    if after.is_none() {
        for record in records {
            reasons.tell(record);
        }
    }
    Ok(())
}

/// Sets the state of runs whose only task, the walk, was skipped. One call for each run that ended with one task.
async fn tell_skipped(history: &dyn History, records: &mut [ExecutionRecord]) -> Result<()> {
    let may_be_skipped = |record: &&mut ExecutionRecord| {
        let is_run = matches!(record.trigger, Trigger::Schedule | Trigger::Manual);
        is_run && record.state == ExecutionState::Succeeded && record.tasks.total == 1
    };
    for record in records.iter_mut().filter(may_be_skipped) {
        let query = TaskQuery::new(By::Execution(record.id.clone()));
        let page = history.tasks(&query, None, 1).await?;
        if let [task] = page.items.as_slice()
            && task.state == TaskState::Skipped
        {
            record.state = ExecutionState::Skipped;
            (record.code, record.message) = (task.code.clone(), task.message.clone());
        }
    }
    Ok(())
}

/// A code and its message.
type Reason = (Option<String>, Option<String>);

/// What the open tasks of executions wait for.
#[derive(Default)]
struct Reasons {
    /// By execution: the code and message of a waiting task; [`None`]: another task does not wait.
    waiting: HashMap<String, Option<Reason>>,
}

impl Reasons {
    fn add(&mut self, open: &[TaskRecord]) {
        for task in open.iter().filter(|task| !task.state.is_terminal()) {
            let reason = (task.state == TaskState::Waiting).then(|| (task.code.clone(), task.message.clone()));
            let known = self
                .waiting
                .entry(task.execution.clone())
                .or_insert_with(|| reason.clone());
            if reason.is_none() {
                *known = None;
            }
        }
    }

    fn tell(&self, record: &mut ExecutionRecord) {
        if record.state == ExecutionState::Running
            && let Some(Some((code, message))) = self.waiting.get(&record.id)
        {
            record.state = ExecutionState::Waiting;
            record.code.clone_from(code);
            record.message.clone_from(message);
        }
    }
}

/// The first `limit` tasks of the list that failed and whose image is still missing, newest first; 0: all. A task that another
/// one repeats is left out, and so is one whose destination a later task of the list's time brought up to date.
pub async fn list_unresolved(history: &dyn History, filter: &Filter, limit: usize) -> Result<Vec<TaskRecord>> {
    let filter = Filter {
        state: Some(TaskState::Failed),
        is_redriven: Some(false),
        ..filter.clone()
    };
    let query = TaskQuery { by: By::Failed, filter };
    let entries = list_entries(history, &query).await?;
    let mut records = list_tasks(history, &query, 0).await?;
    let mut arrived = HashMap::new();
    for place in entries.iter().filter_map(place_of).collect::<HashSet<_>>() {
        let since = entries.iter().filter(|entry| place_of(entry).as_ref() == Some(&place));
        let since = since.map(|entry| entry.created).min();
        for (destination, created) in arrivals(history, place, since).await? {
            let latest = arrived.entry(destination).or_insert(created);
            *latest = created.max(*latest);
        }
    }
    records.retain(|record| {
        let arrived = arrived.get(&record.destination);
        arrived.is_none_or(|arrived| *arrived <= record.created)
    });
    records.sort_by_key(|record| Reverse(record.created));
    records.truncate(if limit == 0 { usize::MAX } else { limit });
    Ok(records)
}

fn place_of(entry: &TaskEntry) -> Option<(String, Repository)> {
    let repository = entry.destination_repository.clone()?;
    Some((entry.destination_registry.clone(), repository))
}

/// The destinations of a repository that tasks brought up to date which were created later than `since`, with the time of each
/// task.
async fn arrivals(
    history: &dyn History,
    (registry, repository): (String, Repository),
    since: Option<Timestamp>,
) -> Result<Vec<(String, Timestamp)>> {
    let mut query = TaskQuery::new(By::Destination { registry, repository });
    query.filter.since = since;
    let mut arrivals = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = history.tasks(&query, after.as_ref(), PAGE_ITEMS_READ_MAX).await?;
        // The list is newest first, so a page without a later task is followed by none.
        let is_end = page.items.is_empty() || page.next.is_none();
        let arrived = page
            .items
            .into_iter()
            .filter(|task| matches!(task.state, TaskState::Succeeded | TaskState::Unchanged));
        arrivals.extend(arrived.map(|task| (task.destination, task.created)));
        after = page.next;
        if is_end {
            return Ok(arrivals);
        }
    }
}

/// The first `limit` tasks of the list; 0: all. The tasks of one execution are listed newest first too.
pub async fn list_tasks(history: &dyn History, query: &TaskQuery, limit: usize) -> Result<Vec<TaskRecord>> {
    let list = |after: Option<Cursor>, limit| async move { history.tasks(query, after.as_ref(), limit).await };
    if !matches!(query.by, By::Execution(_)) {
        return collect(limit, list).await;
    }
    // An adapter may list them in any order.
    let mut records = collect(0, list).await?;
    records.sort_by_key(|record| Reverse(record.created));
    records.truncate(if limit == 0 { usize::MAX } else { limit });
    Ok(records)
}

/// All tasks of the list as they were first recorded or begun.
pub async fn list_entries(history: &dyn History, query: &TaskQuery) -> Result<Vec<TaskEntry>> {
    collect(0, |after, limit| async move {
        history.entries(query, after.as_ref(), limit).await
    })
    .await
}

/// The first `limit` items of a list; 0: all.
async fn collect<T, F>(limit: usize, mut page: impl FnMut(Option<Cursor>, usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<Page<T>>>,
{
    let mut items = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let missing = if limit == 0 { PAGE_ITEMS } else { limit - items.len() };
        let read = page(after.take(), missing.min(PAGE_ITEMS)).await?;
        items.extend(read.items);
        after = read.next;
        if after.is_none() || (limit > 0 && items.len() >= limit) {
            return Ok(items);
        }
    }
}
