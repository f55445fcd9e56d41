//! What the engine needs of the world: a queue, a ledger, secrets. Each adapter passes the suites of the testkit.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use transship_oci::{Digest, Repository, Tag};

use crate::{Execution, ExecutionRecord, Outcome, Place, Replica, Result, Task, TaskRecord, TaskState};

/// A task on its way into the queue.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The task; the message is its JSON.
    pub task: Task,
    /// Not to be received before this long from now.
    pub delay: Duration,
}

/// A durable queue, at least once and unordered: a message may arrive twice, late, or twice at the same time.
#[async_trait]
pub trait TaskQueue: Send + Sync {
    /// Makes every message durable, or fails. After a failure any part of them may have been sent: send all again.
    /// The fairness group of a message is its destination registry.
    async fn send(&self, messages: &[Outgoing]) -> Result<()>;
}

/// What [`Ledger::begin`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// This is attempt number so much, counting from 1.
    Attempt(u32),
    /// It ended before: the message is a duplicate.
    Finished(TaskState),
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only those of this execution.
    pub execution: Option<String>,
    /// Only those in this state.
    pub state: Option<TaskState>,
    /// At most so many, newest first; 0: all.
    pub limit: usize,
}

/// The memory of executions, tasks, replicas, and of what workers must agree on. Correctness does not rest on it: a ledger
/// that forgot everything costs work, never an image.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Records an execution and its tasks as queued. What is recorded already stays as it is.
    async fn record(&self, execution: &Execution, tasks: &[Task]) -> Result<()>;

    /// Begins an attempt: records task and execution if they are not known, counts the attempt, and sets the state to running;
    /// unless the task ended, which is reported and changes nothing.
    async fn begin(&self, task: &Task, now: Timestamp) -> Result<Begin>;

    /// The attempt must be repeated at `next`: state waiting, with code and sentence. Nothing happens to a task that ended.
    async fn wait(&self, id: &str, code: &str, message: &str, next: Timestamp) -> Result<()>;

    /// Writes the terminal state, once: false, and nothing is changed, if one is written already.
    async fn finish(&self, id: &str, outcome: &Outcome) -> Result<bool>;

    /// Tasks, newest first.
    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>>;

    /// The newest executions; `limit` 0: all.
    async fn executions(&self, limit: usize) -> Result<Vec<ExecutionRecord>>;

    /// True if a task other than `except` that reads from this source repository has not ended.
    async fn is_busy(&self, registry: &str, repository: &Repository, except: &str) -> Result<bool>;

    /// What we wrote to this tag.
    async fn replica(&self, registry: &str, repository: &Repository, tag: &Tag) -> Result<Option<Replica>>;

    /// Remembers what we wrote to [`Replica::destination`], in place of what was remembered of it.
    async fn replica_put(&self, replica: &Replica) -> Result<()>;

    /// The replicas made from this source repository that hold `manifest`, as root or as part.
    async fn replicas_holding(
        &self,
        registry: &str,
        repository: &Repository,
        manifest: &Digest,
    ) -> Result<Vec<Replica>>;

    /// Takes the lease `key` for `holder` until `now + ttl`; false if another holder has it and it has not expired.
    /// Taking what one holds already extends it.
    async fn lease_take(&self, key: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<bool>;

    /// Gives the lease back if `holder` has it.
    async fn lease_release(&self, key: &str, holder: &str) -> Result<()>;

    /// Repositories of the registry at `host` known to hold each digest, the latest first, at most 3 each.
    async fn locations_find(&self, host: &str, digests: &[Digest]) -> Result<HashMap<Digest, Vec<Repository>>>;

    /// Remembers that `repository` at `host` holds `digests`.
    async fn locations_add(&self, host: &str, digests: &[Digest], repository: &Repository) -> Result<()>;

    /// Forgets one location.
    async fn location_remove(&self, host: &str, digest: &Digest, repository: &Repository) -> Result<()>;

    /// Nobody should send requests to `host` before `until`. An earlier time than the one in force changes nothing.
    async fn pause(&self, host: &str, until: Timestamp) -> Result<()>;

    /// Until when `host` is paused, if it is at `now`.
    async fn paused_until(&self, host: &str, now: Timestamp) -> Result<Option<Timestamp>>;
}

/// Reads secrets by their reference in the document: `env:NAME`, `file:PATH`.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The content, without a trailing newline. `SECRET_UNAVAILABLE` names the reference, never the content.
    async fn secret(&self, reference: &str) -> Result<SecretString>;
}

impl Outgoing {
    /// To be received at once.
    pub const fn now(task: Task) -> Self {
        Self {
            task,
            delay: Duration::ZERO,
        }
    }
}

impl Place {
    /// The key of the commit lease of a destination.
    pub fn lease_key(&self) -> String {
        format!("commit {self}")
    }
}
