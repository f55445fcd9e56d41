//! The items of tasks.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_engine::ledger::TaskEntry;
use transship_engine::{Action, Counts, Execution, TaskRecord, TaskState, Trigger};
use transship_oci::{Digest, Repository};

use super::keys;
use crate::ledger::attributes::{EXPIRY_GRACE, unreadable};
use crate::ledger::table::{Answered, Item};

/// An item as one of our types. An item that lacks an attribute, or holds another type, is refused.
pub(super) fn read<T: serde::de::DeserializeOwned>(item: &Item) -> Answered<T> {
    serde_dynamo::from_item(item.clone()).map_err(|_| unreadable(std::any::type_name::<T>()))
}

/// One of our types as an item.
pub(super) fn written<T: Serialize>(value: &T) -> Answered<Item> {
    serde_dynamo::to_item(value).map_err(|_| unreadable(std::any::type_name::<T>()))
}

/// A task. Times are milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TaskItem {
    pub(super) pk: String,
    pub(super) sk: String,
    /// The job, or the task of the previous release.
    body: String,
    pub(super) state: TaskState,
    pub(super) touched: i64,
    #[serde(default)]
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<Repository>,
    #[serde(default)]
    follows: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    named: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redrive_of: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redriven_by: Option<String>,
    /// [`None`] in an item of the previous release, which has all of this in its body.
    #[serde(flatten)]
    listed: Option<Listed>,
    #[serde(flatten)]
    end: End,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    rule: String,
    trigger: Trigger,
    execution_created: i64,
    action: Action,
    created: i64,
    origin: String,
    source: String,
    destination_registry: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destination_repository: Option<Repository>,
    destination: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list_order: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct End {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished: Option<i64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    copied: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    mounted: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    skipped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl TaskItem {
    /// A task that was just recorded.
    pub(super) fn queued(task: &TaskEntry) -> Self {
        let registry = &task.destination_registry;
        let list = task.destination_repository.as_ref();
        let list = list.map(|repository| keys::destination_list(registry, repository));
        let listed = Listed {
            rule: task.execution.rule.clone(),
            trigger: task.execution.trigger,
            execution_created: task.execution.created.as_millisecond(),
            action: task.action,
            created: task.created.as_millisecond(),
            origin: task.origin.clone(),
            source: task.source.clone(),
            destination_registry: registry.clone(),
            destination_repository: task.destination_repository.clone(),
            destination: task.destination.clone(),
            list_order: list.as_ref().map(|_| keys::order(task.created, &task.id)),
            list,
        };
        Self {
            pk: keys::partition(&task.execution.id),
            sk: format!("{}{}", keys::TASKS, task.id),
            body: task.job.clone(),
            state: TaskState::Queued,
            touched: task.created.as_millisecond(),
            attempts: 0,
            repository: task.source_repository.clone(),
            follows: task.is_attachment,
            named: task.digest.clone(),
            redrive_of: task.redrive_of.clone(),
            redriven_by: None,
            listed: Some(listed),
            end: End::default(),
        }
    }

    /// When it ended, in milliseconds.
    pub(super) fn finished(&self) -> Option<i64> {
        self.end.finished
    }

    pub(super) fn code(&self) -> Option<&str> {
        self.end.code.as_deref()
    }

    pub(super) const fn is_redriven(&self) -> bool {
        self.redriven_by.is_some()
    }

    /// The task as it was first recorded or begun.
    pub(super) fn entry(&self) -> Answered<TaskEntry> {
        let Some(listed) = &self.listed else {
            return self.released();
        };
        let id_of = |text: &str, prefix: &str| text.strip_prefix(prefix).map(str::to_owned);
        let ids = id_of(&self.pk, "E#").zip(id_of(&self.sk, keys::TASKS));
        let (execution, id) = ids.ok_or_else(|| unreadable("key"))?;
        Ok(TaskEntry {
            id,
            execution: Execution {
                id: execution,
                rule: listed.rule.clone(),
                trigger: listed.trigger,
                created: time(listed.execution_created)?,
            },
            action: listed.action,
            created: time(listed.created)?,
            origin: listed.origin.clone(),
            source_repository: self.repository.clone(),
            is_attachment: self.follows,
            source: listed.source.clone(),
            destination_registry: listed.destination_registry.clone(),
            destination_repository: listed.destination_repository.clone(),
            destination: listed.destination.clone(),
            digest: self.named.clone(),
            redrive_of: self.redrive_of.clone(),
            job: self.body.clone(),
        })
    }

    fn released(&self) -> Answered<TaskEntry> {
        TaskEntry::of_stored(&self.body).map_err(|_| unreadable("body"))
    }

    /// What lists show of it.
    pub(super) fn record(&self) -> Answered<TaskRecord> {
        let (entry, end) = (self.entry()?, &self.end);
        let digest = if self.state.is_terminal() {
            end.digest.clone()
        } else {
            entry.digest
        };
        Ok(TaskRecord {
            id: entry.id,
            execution: entry.execution.id,
            rule: entry.execution.rule,
            action: entry.action,
            source: entry.source,
            destination: entry.destination,
            digest,
            state: self.state,
            code: end.code.clone(),
            message: end.message.clone(),
            attempts: self.attempts,
            created: entry.created,
            began: (self.state == TaskState::Running)
                .then(|| time(self.touched))
                .transpose()?,
            next: end.next.map(time).transpose()?,
            finished: end.finished.map(time).transpose()?,
            bytes: self.bytes(),
            redrive_of: self.redrive_of.clone(),
            redriven_by: self.redriven_by.clone(),
        })
    }

    pub(super) fn bytes(&self) -> Counts {
        Counts {
            copied: self.end.copied,
            mounted: self.end.mounted,
            skipped: self.end.skipped,
        }
    }
}

pub(super) fn time(milliseconds: i64) -> Answered<Timestamp> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| unreadable("time"))
}

/// The time to live of what ended at `time`, in seconds.
pub(super) fn expiry(time: Timestamp, retention: Duration) -> i64 {
    let end = time.saturating_add(retention.max(EXPIRY_GRACE));
    end.unwrap_or(Timestamp::MAX).as_second()
}
