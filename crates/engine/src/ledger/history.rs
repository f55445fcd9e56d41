//! Executions and tasks: the port, and what lists and filters need of a task.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Digest, Repository};

use super::{Cursor, Page};
use crate::{
    Action, Begin, Execution, ExecutionRecord, ExecutionState, Outcome, Replica, Result, TaskRecord, TaskState, Trigger,
};

/// A task as the history keeps it: what lists and filters need, and the job itself as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEntry {
    /// Deterministic: the same event under the same rule has the same id, however often it is delivered.
    pub id: String,
    /// The execution it belongs to.
    pub execution: Execution,
    /// What it does.
    pub action: Action,
    /// When it was received or planned.
    pub created: Timestamp,
    /// What it reads from: the name of a registry in the document, or of a store (`s3://bucket`).
    pub origin: String,
    /// The repository it reads from, if it reads from a registry.
    pub source_repository: Option<Repository>,
    /// True if the source belongs to an image (a referrer, a digest tag) and goes where that image went.
    pub is_attachment: bool,
    /// The source in full, as lists show it: `registry/repository:tag`.
    pub source: String,
    /// The name of the destination registry in the document.
    pub destination_registry: String,
    /// The destination repository; [`None`] if the task writes to several or if it is not known yet.
    pub destination_repository: Option<Repository>,
    /// The destination in full, as lists show it.
    pub destination: String,
    /// The digest that the event named.
    pub digest: Option<Digest>,
    /// The id of the failed or cancelled task that this one repeats, if an operator redrove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive_of: Option<String>,
    /// The JSON of the job, to be sent again. An entry of the previous release has the JSON of that release's task; one that
    /// is older still is empty and cannot be sent again.
    pub job: String,
}

impl TaskEntry {
    /// True if the task reads from or writes to `repository`: its name, with or without the registry in front.
    fn is_about(&self, repository: &str) -> bool {
        let is = |registry: &str, name: &Repository| {
            let name = name.as_str();
            repository == name
                || repository.strip_suffix(name).and_then(|rest| rest.strip_suffix('/')) == Some(registry)
        };
        let destination = self.destination_repository.as_ref();
        destination.is_some_and(|name| is(&self.destination_registry, name))
            || self
                .source_repository
                .as_ref()
                .is_some_and(|name| is(&self.origin, name))
    }
}

/// The access path of a list of tasks: which tasks are read, and in what order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The tasks of one execution, by its id.
    Execution(String),
    /// The tasks of one rule, created (they or their execution) at or after `from` and before `until`.
    Rule {
        /// The rule's name.
        name: String,
        /// The earliest time; [`None`]: no bound.
        from: Option<Timestamp>,
        /// The end of the interval; [`None`]: no bound.
        until: Option<Timestamp>,
    },
    /// The tasks that write to one repository.
    Destination {
        /// The registry's name in the document.
        registry: String,
        /// The repository.
        repository: Repository,
    },
    /// The tasks that have not ended. The task that was touched last comes first.
    Open,
    /// The tasks that failed. The task that failed last comes first.
    Failed,
    /// All tasks.
    Newest,
    /// The tasks that were created (they or their execution) at this time or later.
    Since(Timestamp),
}

/// Conditions that are applied to the tasks an access path reads. The default admits every task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only tasks in this state.
    pub state: Option<TaskState>,
    /// Only tasks of this rule.
    pub rule: Option<String>,
    /// Only tasks that read from this registry or store.
    pub origin: Option<String>,
    /// Only tasks that write to this registry.
    pub destination_registry: Option<String>,
    /// Only tasks whose last code is this one.
    pub code: Option<String>,
    /// Only tasks that read from or write to this repository: `REPOSITORY`, or `REGISTRY/REPOSITORY`.
    pub repository: Option<String>,
    /// Only tasks that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only tasks that have not ended.
    pub is_open: bool,
    /// Only tasks that were redriven, or only those that were not.
    pub is_redriven: Option<bool>,
}

impl Filter {
    /// True if the task passes. `state` and `code` are those that the list shows; `is_redriven`: another task repeats it.
    pub fn admits(&self, entry: &TaskEntry, state: TaskState, code: Option<&str>, is_redriven: bool) -> bool {
        self.state.is_none_or(|wanted| wanted == state)
            && (!self.is_open || !state.is_terminal())
            && self.rule.as_ref().is_none_or(|rule| *rule == entry.execution.rule)
            && self.origin.as_ref().is_none_or(|origin| *origin == entry.origin)
            && self
                .destination_registry
                .as_ref()
                .is_none_or(|registry| *registry == entry.destination_registry)
            && self.code.as_ref().is_none_or(|wanted| code == Some(wanted))
            && self.since.is_none_or(|since| entry.created >= since)
            && self.is_redriven.is_none_or(|wanted| wanted == is_redriven)
            && self.repository.as_ref().is_none_or(|wanted| entry.is_about(wanted))
    }
}

/// Which tasks to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskQuery {
    /// The access path.
    pub by: By,
    /// Conditions on what it reads.
    pub filter: Filter,
}

impl TaskQuery {
    /// All tasks of an access path.
    pub fn new(by: By) -> Self {
        Self {
            by,
            filter: Filter::default(),
        }
    }

    /// The same, only in one state.
    #[must_use]
    pub fn in_state(mut self, state: TaskState) -> Self {
        self.filter.state = Some(state);
        self
    }
}

/// Which executions to list. The default lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionQuery {
    /// Only those of this rule: an access path of its own.
    pub rule: Option<String>,
    /// Only those created at this time or later.
    pub from: Option<Timestamp>,
    /// Only those created before this time.
    pub until: Option<Timestamp>,
    /// Only those in this state: a filter.
    pub state: Option<ExecutionState>,
    /// Only those with this trigger: a filter.
    pub trigger: Option<Trigger>,
    /// Only those that have not ended: a filter.
    pub is_open: bool,
}

impl ExecutionQuery {
    /// True if the execution passes the filters.
    pub fn admits(&self, record: &ExecutionRecord) -> bool {
        self.state.is_none_or(|state| state == record.state)
            && self.trigger.is_none_or(|trigger| trigger == record.trigger)
            && (!self.is_open || record.duration_ms.is_none())
    }
}

/// The history of executions and tasks.
///
/// Lists are newest first. The tasks of one execution may come in any order, which stays the same. A page holds at most
/// `limit` items, reads at most [`super::PAGE_ITEMS_READ_MAX`] and continues behind the cursor of the page before; `limit` 0
/// counts as 1. `CURSOR_INVALID` for a cursor of another list.
///
/// The totals of an execution are counters. Each task is counted once: as one of the total when it is first recorded or
/// begun, and as ended in the transaction that writes its terminal state.
#[async_trait]
pub trait History: Send + Sync {
    /// Records the tasks as queued, with their executions. A task or execution that is recorded already stays as it is.
    async fn record(&self, tasks: &[TaskEntry]) -> Result<()>;

    /// Begins an attempt: records task and execution if they are not known, counts the attempt, and sets the state to
    /// running. If the task has ended, its state is returned and nothing changes.
    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin>;

    /// Sets the state to waiting until `next`, with the code and the sentence of the reason. Nothing happens to a task that
    /// has ended or was never recorded.
    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()>;

    /// Writes the terminal state, once: false, and the task is not changed, if one is written already or if the task was
    /// never recorded. In the same transaction the end is counted, and `settled` replicas are remembered as
    /// [`super::Replicas::settle`] does for `holder` at [`Outcome::finished`]. The replicas are remembered in any case.
    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, settled: &[Replica], holder: &str) -> Result<bool>;

    /// Remembers that `successor` repeats a task that ended: [`TaskRecord::redriven_by`]. Nothing happens if another task repeats
    /// it already, or if it was never recorded.
    async fn redriven(&self, task: &TaskEntry, successor: &str) -> Result<()>;

    /// A page of tasks.
    async fn tasks(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskRecord>>;

    /// The same page as entries: the tasks as they were first recorded or begun.
    async fn entries(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskEntry>>;

    /// A page of executions.
    async fn executions(
        &self,
        query: &ExecutionQuery,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<ExecutionRecord>>;

    /// One execution, by its counters.
    async fn execution(&self, id: &str) -> Result<Option<ExecutionRecord>>;

    /// Tasks that read from `origin`, have not ended, and were last touched before `before`: recorded (counts as
    /// [`TaskEntry::created`]), begun, or, while waiting, due. Also those touched after `latest`, the latest possible time: they
    /// were touched while a clock was ahead. At most `limit`; the task untouched for longest comes first.
    async fn untouched(
        &self,
        origin: &str,
        before: Timestamp,
        latest: Timestamp,
        limit: usize,
    ) -> Result<Vec<TaskEntry>>;

    /// True if a task that reads from this repository, and is not an attachment, has not ended.
    async fn is_busy(&self, origin: &str, repository: &Repository) -> Result<bool>;

    /// How far the lists, [`History::untouched`] and [`History::is_busy`] may be behind. All else is exact.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}
