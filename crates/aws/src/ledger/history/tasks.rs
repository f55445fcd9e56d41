//! Tasks: recorded and counted, begun, waiting.
//!
//! Calls: record one for each 97 tasks of an execution (one more if a part of them was known), begin one (two if the task was
//! not recorded), wait one.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use jiff::Timestamp;
use transship_engine::ledger::TaskEntry;
use transship_engine::{Begin, TaskState};
use transship_oci::Result;

use super::items::{TaskItem, expiry, written};
use super::keys::{self, execution_key, origin_key, task_key};
use super::origins::Origins;
use crate::ledger::attributes::{count_of, number, state_of, text, time, unreadable};
use crate::ledger::expression::Change;
use crate::ledger::table::{Item, Table, Written};
use crate::ledger::transaction::Transaction;

/// The most bytes of tasks in one; it takes 4 MB in all. Source: `TransactWriteItems`.
const TRANSACTION_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Tasks of one transaction, which takes 100 writes: it also writes the execution and a few origins.
const TRANSACTION_TASKS_MAX: usize = 97;
/// Maximum length of a message in bytes. Longer ones are cut, because an item may have at most 400 KB.
const MESSAGE_CHARS_MAX: usize = 2000;
/// Distinct destination repositories that are counted for one execution: 130 KB of the 400 that an item holds. Further ones
/// are not counted.
const REPOSITORIES_MAX: i128 = 10_000;

pub(super) const IS_OPEN: &str = "#state IN (:queued, :running, :waiting)";

/// How an execution is counted. Each step is tried if the condition of the one before did not hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    Whole,
    /// Without the set of repositories, which is full; or, at an end, without the time of the last end, which is later.
    Partly,
    /// Not at all: the previous release recorded the execution, whose totals are computed from its tasks.
    Not,
}

impl Counting {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Whole => Self::Partly,
            Self::Partly | Self::Not => Self::Not,
        }
    }
}

/// Where tasks are written, and for how long they are kept.
#[derive(Clone, Copy)]
pub(super) struct Tasks<'a> {
    pub(super) table: &'a Table,
    pub(super) retention: Duration,
    pub(super) origins: &'a Origins,
}

impl Tasks<'_> {
    /// Records tasks with their executions, each unless it is known.
    pub(super) async fn record(&self, tasks: &[TaskEntry]) -> Result<()> {
        let operation = "record";
        for chunk in chunks(tasks) {
            let put = |task: &TaskEntry| {
                let item = self.item(operation, task)?;
                self.table.new_of_transaction(operation, item)
            };
            self.add(operation, chunk, put).await?;
        }
        Ok(())
    }

    /// Writes the tasks of one execution and counts them. A task that is known keeps its transaction from being written: the
    /// rest is written without it.
    async fn add(
        &self,
        operation: &str,
        mut tasks: Vec<&TaskEntry>,
        write: impl Fn(&TaskEntry) -> Result<TransactWriteItem>,
    ) -> Result<()> {
        let mut counting = Counting::Whole;
        while let Some(first) = tasks.first() {
            let mut writes = Vec::new();
            if counting != Counting::Not {
                let (key, change) = (execution_key(&first.execution), self.execution(&tasks, counting));
                writes.push(self.table.change_of_transaction(operation, key, &change)?);
            }
            let origins = self.origins.unknown(&tasks);
            for origin in &origins {
                writes.push(self.table.put_of_transaction(operation, origin_key(origin), None)?);
            }
            let before = writes.len();
            for task in &tasks {
                writes.push(write(task)?);
            }
            match self.table.transact(operation, writes).await? {
                Transaction::Done => {
                    self.origins.add(origins);
                    return Ok(());
                }
                Transaction::Refused(reasons) => {
                    let mut known = reasons.iter().skip(before);
                    tasks.retain(|_| known.next() != Some(&true));
                    if counting != Counting::Not && reasons.first() == Some(&true) {
                        counting = counting.next();
                    }
                }
            }
        }
        Ok(())
    }

    /// The item of a task that is recorded.
    fn item(&self, operation: &str, task: &TaskEntry) -> Result<Item> {
        let item = written(&TaskItem::queued(task)).map_err(|error| self.table.unreadable(error, operation))?;
        let attributes = [
            ("unfinished_of".to_owned(), text(&task.origin)),
            // It is counted, so that no worker needs to.
            ("recorded".to_owned(), AttributeValue::Bool(true)),
        ];
        Ok(item.into_iter().chain(attributes).collect())
    }

    /// The change of the execution's own item that counts `tasks` as recorded.
    fn execution(&self, tasks: &[&TaskEntry], counting: Counting) -> Change {
        let Some(execution) = tasks.first().map(|task| &task.execution) else {
            return Change::default();
        };
        let order = keys::order(execution.created, &execution.id);
        let mut change = Change::default()
            .keep("rule", text(&execution.rule))
            .keep("trigger", text(execution.trigger.as_str()))
            .keep("created", time(execution.created))
            .keep("month", text(keys::month(execution.created)))
            .keep("month_order", text(&order))
            .keep("list", text(keys::rule_list(&execution.rule)))
            .keep("list_order", text(&order))
            .set(
                "expires",
                number(expiry(Timestamp::now(), keys::recorded_expiry(self.retention))),
            )
            .add("total", number(i128::try_from(tasks.len()).unwrap_or(i128::MAX)));
        let mut condition = "(attribute_not_exists(#pk) OR attribute_exists(#total))".to_owned();
        let marks: HashSet<String> = tasks
            .iter()
            .filter_map(|task| {
                let repository = task.destination_repository.as_ref()?;
                Some(keys::repository_mark(&task.destination_registry, repository))
            })
            .collect();
        if counting == Counting::Whole && !marks.is_empty() {
            change = change
                .add("repositories", AttributeValue::Ss(marks.into_iter().collect()))
                .value("repositories_max", number(REPOSITORIES_MAX));
            condition += " AND (attribute_not_exists(#repositories) OR size(#repositories) < :repositories_max)";
        }
        change.only_if(&condition)
    }

    /// Counts an attempt, unless the task ended.
    pub(super) async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        let operation = "begin";
        let change = Change::default()
            .set("state", text(TaskState::Running.as_str()))
            .set("touched", time(now))
            .remove("next")
            .add("attempts", number(1));
        let set_here = ["pk", "sk", "state", "touched", "attempts", "recorded"];
        let change = self
            .item(operation, task)?
            .into_iter()
            .filter(|(name, _)| !set_here.contains(&name.as_str()))
            .fold(change, |change, (name, value)| change.keep(&name, value));
        let change = open_values(change)
            .value("running", text(TaskState::Running.as_str()))
            .only_if(&format!("attribute_not_exists(#pk) OR {IS_OPEN}"));
        match self.table.update(operation, task_key(task), change).await? {
            Written::Done(item) => {
                if !item.contains_key("recorded") {
                    self.add_begun(task).await?;
                }
                let attempt = count_of(&item, "attempts");
                Ok(Begin::Attempt(
                    attempt.map_err(|error| self.table.unreadable(error, operation))?,
                ))
            }
            Written::Refused(item) => state_of(&item)
                .and_then(|state| {
                    if state.is_terminal() {
                        Ok(Begin::Finished(state))
                    } else {
                        Err(unreadable("state"))
                    }
                })
                .map_err(|error| self.table.unreadable(error, operation)),
        }
    }

    /// Counts a task that began without being recorded: once, however often it begins.
    async fn add_begun(&self, task: &TaskEntry) -> Result<()> {
        let operation = "begin";
        let change = Change::default()
            .set("recorded", AttributeValue::Bool(true))
            .only_if("attribute_not_exists(#recorded)");
        let write = |task: &TaskEntry| self.table.change_of_transaction(operation, task_key(task), &change);
        self.add(operation, vec![task], write).await
    }

    /// Sets a task that has not ended to waiting.
    pub(super) async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        let change = Change::default()
            .set("state", text(TaskState::Waiting.as_str()))
            .set("code", text(code))
            .set("message", sentence(message))
            .set("next", time(next))
            .set("touched", time(next))
            .only_if(IS_OPEN);
        let change = open_values(change);
        self.table.update("wait", task_key(task), change).await?;
        Ok(())
    }

    /// Remembers the task that repeats an ended one, unless there is one.
    pub(super) async fn redriven(&self, task: &TaskEntry, successor: &str) -> Result<()> {
        let change = Change::default()
            .set("redriven_by", text(successor))
            .only_if("attribute_exists(#finished) AND attribute_not_exists(#redriven_by)");
        self.table.update("redriven", task_key(task), change).await?;
        Ok(())
    }
}

/// The tasks of each execution, each once, within what a transaction takes.
fn chunks(tasks: &[TaskEntry]) -> Vec<Vec<&TaskEntry>> {
    let mut chunks: Vec<Vec<&TaskEntry>> = Vec::new();
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for task in tasks {
        if !seen.insert((&task.execution.id, &task.id)) {
            continue;
        }
        bytes += task.job.len();
        let last = chunks.last_mut().filter(|chunk| {
            chunk.len() < TRANSACTION_TASKS_MAX
                && bytes <= TRANSACTION_BYTES_MAX
                && chunk
                    .first()
                    .is_some_and(|first| first.execution.id == task.execution.id)
        });
        if let Some(chunk) = last {
            chunk.push(task);
        } else {
            bytes = task.job.len();
            chunks.push(vec![task]);
        }
    }
    chunks
}

/// The values of [`IS_OPEN`].
pub(super) fn open_values(change: Change) -> Change {
    [TaskState::Queued, TaskState::Running, TaskState::Waiting]
        .into_iter()
        .fold(change, |change, state| {
            change.value(state.as_str(), text(state.as_str()))
        })
}

pub(super) fn sentence(message: &str) -> AttributeValue {
    text(message.chars().take(MESSAGE_CHARS_MAX).collect::<String>())
}
