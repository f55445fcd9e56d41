//! The totals of an execution: what is counted, and how it is shown.

use std::collections::HashSet;

use serde::Deserialize;
use transship_engine::{ExecutionRecord, ExecutionState, TaskCounts, TaskState, Trigger};

use super::items::{TaskItem, read, time};
use super::keys::{self, OWN};
use crate::ledger::table::{Answered, Item};

/// An execution's own item.
#[derive(Debug, Deserialize)]
pub(super) struct ExecutionItem {
    pk: String,
    rule: String,
    pub(super) trigger: Trigger,
    created: i64,
    /// [`None`]: the previous release recorded it, and nothing is counted.
    pub(super) total: Option<u64>,
    #[serde(default)]
    repositories: HashSet<String>,
}

/// What is counted in an execution's own item, or in one of several.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Counters {
    #[serde(default)]
    ended_succeeded: u64,
    #[serde(default)]
    ended_unchanged: u64,
    #[serde(default)]
    ended_kept: u64,
    #[serde(default)]
    ended_skipped: u64,
    #[serde(default)]
    ended_failed: u64,
    #[serde(default)]
    ended_cancelled: u64,
    #[serde(default)]
    bytes: u64,
    last: Option<i64>,
}

/// The totals of an execution.
#[derive(Debug, Default)]
struct Totals {
    total: u64,
    terminal: u64,
    succeeded: u64,
    cancelled: u64,
    bytes: u64,
    last: Option<i64>,
    repositories: usize,
}

impl ExecutionItem {
    /// The record of an execution, from its own item and its counters (`items`), or, for one of the previous release, from
    /// its tasks.
    pub(super) fn record(&self, items: &[Item]) -> Answered<ExecutionRecord> {
        let totals = match self.total {
            Some(total) => self.counted(total, items)?,
            None => Self::computed(items)?,
        };
        let created = time(self.created)?;
        let state = ExecutionState::derive(totals.total, totals.terminal, totals.succeeded, totals.cancelled);
        let elapsed_ms = totals.last.unwrap_or(self.created) - self.created;
        Ok(ExecutionRecord {
            id: self.pk.strip_prefix("E#").unwrap_or_default().to_owned(),
            rule: self.rule.clone(),
            trigger: self.trigger,
            created,
            duration_ms: (state != ExecutionState::Running).then(|| u64::try_from(elapsed_ms).unwrap_or_default()),
            state,
            success_ratio: if totals.total == 0 {
                1.0
            } else {
                totals.succeeded as f64 / totals.total as f64
            },
            repositories: u64::try_from(totals.repositories).unwrap_or(u64::MAX),
            bytes: totals.bytes,
            tasks: TaskCounts::of(totals.total, totals.terminal, totals.succeeded, totals.cancelled),
            run: None,
            code: None,
            message: None,
        })
    }

    fn counted(&self, total: u64, items: &[Item]) -> Answered<Totals> {
        let mut totals = Totals {
            total,
            repositories: self.repositories.len(),
            ..Totals::default()
        };
        for item in items {
            let counters: Counters = read(item)?;
            let succeeded =
                counters.ended_succeeded + counters.ended_unchanged + counters.ended_kept + counters.ended_skipped;
            totals.succeeded += succeeded;
            totals.cancelled += counters.ended_cancelled;
            totals.terminal += succeeded + counters.ended_failed + counters.ended_cancelled;
            totals.bytes += counters.bytes;
            totals.last = totals.last.max(counters.last);
        }
        Ok(totals)
    }

    fn computed(items: &[Item]) -> Answered<Totals> {
        let mut totals = Totals::default();
        let mut repositories = HashSet::new();
        for item in items {
            let is_task = |key: &String| key.starts_with(keys::TASKS);
            if !item.get("sk").and_then(|key| key.as_s().ok()).is_some_and(is_task) {
                continue;
            }
            let task: TaskItem = read(item)?;
            totals.total += 1;
            totals.terminal += u64::from(task.state.is_terminal());
            totals.succeeded += u64::from(task.state.is_success());
            totals.cancelled += u64::from(task.state == TaskState::Cancelled);
            let bytes = task.bytes();
            totals.bytes += bytes.copied + bytes.mounted;
            totals.last = totals.last.max(task.finished());
            let entry = task.entry()?;
            repositories.insert((entry.destination_registry, entry.destination_repository));
        }
        totals.repositories = repositories.len();
        Ok(totals)
    }
}

/// True for an execution's own item.
pub(super) fn is_own(item: &Item) -> bool {
    item.get("sk")
        .and_then(|key| key.as_s().ok())
        .is_some_and(|key| key == OWN)
}
