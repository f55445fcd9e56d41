//! Runs of rules: which one is active, and how far each got.
//!
//! The active run of a rule is a record, so that of two runs that start at the same time one joins the other. How far a run got is
//! a hint: a run that lost it begins again and compares what it compared before.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Repository, Result, Verb};

use super::{Freshness, Hint, Hints, Key, Records};
use crate::job::{Cursor, RunRule};

/// How long the progress of a run is kept: as long as its tasks are listed.
const PROGRESS_TTL: Duration = Duration::from_hours(90 * 24);
/// After so long a run asks for everything that is attached again.
const ATTACHMENTS_TTL: Duration = Duration::from_hours(30 * 24);
/// Walks of one execution whose progress is added up.
const WALKS_MAX: usize = 100;

/// The record of the run of a rule that was started last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// Its first message.
    pub job: RunRule,
    /// The version of the record.
    pub version: u64,
}

/// How far one walk of a run got.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunWalk {
    /// What comes next.
    pub cursor: Cursor,
    /// How often the walk could not go on from there.
    #[serde(default)]
    pub stuck: u32,
    /// The rule was disabled when the walk began, and runs all the same because an operator asked for it.
    #[serde(default)]
    pub is_disabled: bool,
    /// What is attached to equal images that the ledger knows is not asked for.
    #[serde(default)]
    pub is_attended: bool,
    /// Where the message that walks now began; [`None`]: the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_began: Option<Cursor>,
    /// What was found so far.
    pub progress: RunProgress,
}

/// What a run found so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunProgress {
    /// Repositories that were walked.
    pub repositories: u64,
    /// Tags of the rule that were compared.
    pub tags: u64,
    /// Tags that are equal on both sides.
    pub equal: u64,
    /// Tags that differ, for which there is a task.
    pub enqueued: u64,
    /// Tags whose destination keeps another image.
    pub kept: u64,
    /// Tags that the rule does not copy after all, or that the source does not have any more.
    pub skipped: u64,
    /// What could not be read: tags, repositories, or the list of repositories.
    pub unreadable: u64,
    /// The first of what could not be read, by name and code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
    /// The walk reached its end.
    pub is_over: bool,
}

/// What the first message of a run came to: what the next run of the rule will probably come to first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunBeginning {
    /// Its first repositories at the source, at most [`EXPECTED_MAX`].
    pub repositories: Vec<Repository>,
    /// The number of tags that it compared.
    pub tags: usize,
}

/// Repositories that a run expects.
const EXPECTED_MAX: usize = 64;

impl RunBeginning {
    /// One more repository was come to.
    pub(crate) fn add(&mut self, repository: &Repository) {
        if self.repositories.len() < EXPECTED_MAX {
            self.repositories.push(repository.clone());
        }
    }
}

/// Something that a run could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// `registry`, `registry/repository` or `registry/repository:tag`.
    pub name: String,
    /// The code of the error.
    pub code: String,
}

/// Names of what could not be read that are kept.
pub const UNREAD_NAMED_MAX: usize = 20;

impl RunProgress {
    /// True if everything was read.
    pub const fn is_whole(&self) -> bool {
        self.is_over && self.unreadable == 0
    }

    fn add(&mut self, other: Self) {
        self.repositories += other.repositories;
        self.tags += other.tags;
        self.equal += other.equal;
        self.enqueued += other.enqueued;
        self.kept += other.kept;
        self.skipped += other.skipped;
        self.unreadable += other.unreadable;
        self.unread.extend(other.unread);
        self.unread.truncate(UNREAD_NAMED_MAX);
        self.is_over &= other.is_over;
    }
}

/// The runs of all rules.
#[derive(Clone)]
pub struct Runs {
    records: Arc<dyn Records>,
    hints: Arc<dyn Hints>,
}

impl Runs {
    /// Runs kept in `records` and `hints`.
    pub const fn new(records: Arc<dyn Records>, hints: Arc<dyn Hints>) -> Self {
        Self { records, hints }
    }

    /// The run of `rule` that was started last. One call.
    pub async fn last(&self, rule: &str) -> Result<Option<LastRun>> {
        let Some(record) = self.records.get(&last_key(rule)).await? else {
            return Ok(None);
        };
        let job = serde_json::from_str(&record.value).map_err(|error| unreadable(&error, "runs_last"))?;
        let version = record.version;
        Ok(Some(LastRun { job, version }))
    }

    /// Makes `job` the run of its rule that was started last, in place of the one with version `expected`; false if another one
    /// was faster. One call.
    pub async fn start(&self, job: &RunRule, expected: Option<u64>) -> Result<bool> {
        let value = serde_json::to_string(job).map_err(|error| unreadable(&error, "runs_start"))?;
        let written = self
            .records
            .put_if(&last_key(&job.execution.rule), expected, &value)
            .await?;
        Ok(written.is_some())
    }

    /// How far the walk `task` of `execution` got; [`None`]: it has not begun. One call.
    pub async fn walk(&self, execution: &str, task: &str, now: Timestamp) -> Result<Option<RunWalk>> {
        let key = walk_key(execution, task);
        let found = self
            .hints
            .get(std::slice::from_ref(&key), now, Freshness::Exact)
            .await?;
        Ok(found.get(&key).and_then(|value| serde_json::from_str(value).ok()))
    }

    /// Remembers how far the walk got. One call.
    pub async fn save(&self, execution: &str, task: &str, walk: &RunWalk, now: Timestamp) -> Result<()> {
        let value = serde_json::to_string(walk).map_err(|error| unreadable(&error, "runs_save"))?;
        let hint = Hint {
            key: walk_key(execution, task),
            value,
            expires: now.saturating_add(PROGRESS_TTL).unwrap_or(Timestamp::MAX),
        };
        self.hints.put(&[hint]).await
    }

    /// Notes that a run of the whole rule asked for everything that is attached to its images, as the rule is in `rule_version`.
    /// One call.
    pub async fn note_attachments(&self, rule: &str, rule_version: &str, now: Timestamp) -> Result<()> {
        let hint = Hint {
            key: attachments_key(rule),
            value: rule_version.to_owned(),
            expires: now.saturating_add(ATTACHMENTS_TTL).unwrap_or(Timestamp::MAX),
        };
        self.hints.put(&[hint]).await
    }

    /// True if a run asked for everything that is attached to the images of the rule in this version. One call.
    pub async fn knows_attachments(&self, rule: &str, rule_version: &str, now: Timestamp) -> Result<bool> {
        let key = attachments_key(rule);
        let found = self
            .hints
            .get(std::slice::from_ref(&key), now, Freshness::Exact)
            .await?;
        Ok(found.get(&key).is_some_and(|known| known == rule_version))
    }

    /// What a run of `rule` will probably come to first, as the last one did; empty if nothing is known. One call.
    pub async fn beginning(&self, rule: &str, now: Timestamp) -> Result<RunBeginning> {
        let key = beginning_key(rule);
        let found = self
            .hints
            .get(std::slice::from_ref(&key), now, Freshness::MayLag)
            .await?;
        let known = found.get(&key).and_then(|value| serde_json::from_str(value).ok());
        Ok(known.unwrap_or_default())
    }

    /// Remembers what a run of `rule` came to first. One call.
    pub async fn note_beginning(&self, rule: &str, beginning: &RunBeginning, now: Timestamp) -> Result<()> {
        let hint = Hint {
            key: beginning_key(rule),
            value: serde_json::to_string(beginning).map_err(|error| unreadable(&error, "runs_note_beginning"))?,
            expires: now.saturating_add(PROGRESS_TTL).unwrap_or(Timestamp::MAX),
        };
        self.hints.put(&[hint]).await
    }

    /// What the run `execution` found so far; [`None`] if it is not a run, or has not begun. One call.
    pub async fn progress(&self, execution: &str, now: Timestamp) -> Result<Option<RunProgress>> {
        let walks = self.hints.children(&family(execution), WALKS_MAX, now).await?;
        let walks = walks
            .iter()
            .filter_map(|(_, value)| serde_json::from_str::<RunWalk>(value).ok());
        Ok(walks.map(|walk| walk.progress).reduce(|mut all, one| {
            all.add(one);
            all
        }))
    }
}

fn last_key(rule: &str) -> Key {
    Key::new("run", rule)
}

fn attachments_key(rule: &str) -> Key {
    Key::new("attachments", rule)
}

fn beginning_key(rule: &str) -> Key {
    Key::new("beginning", rule)
}

fn family(execution: &str) -> String {
    format!("run#{execution}")
}

fn walk_key(execution: &str, task: &str) -> Key {
    Key::new(family(execution), task)
}

fn unreadable(error: &serde_json::Error, operation: &'static str) -> Error {
    Error::of(Code::LedgerUnavailable, Verb::Ledger.on(operation)).because(error)
}
