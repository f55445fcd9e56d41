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

/// A message as the queue hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message, unparsed: a task's JSON, or whatever else someone put into the queue.
    pub body: String,
    /// What [`TaskReceiver`] knows this delivery by. Another delivery of the same message has another receipt.
    pub receipt: String,
    /// How often the message was handed out, this time included: from 1. Approximate where the queue is.
    pub receive_count: u32,
}

/// The worker's end of the queue. A received message is hidden from other receivers for its visibility and comes back
/// after it: a worker that dies loses nothing. A receipt that a later delivery replaced, or whose message is gone or was
/// given back, does nothing and is no error: the worker was too slow, and another one has the message.
#[async_trait]
pub trait TaskReceiver: Send + Sync {
    /// At most `max` messages, each hidden for `visibility` from now; maybe none, also while there are some. Does not wait.
    /// One destination's backlog does not keep the messages of others waiting.
    async fn receive(&self, max: usize, visibility: Duration) -> Result<Vec<Delivery>>;

    /// Hides the message for `visibility` from now, in place of what was left.
    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<()>;

    /// The message is done: it is removed.
    async fn complete(&self, receipt: &str) -> Result<()>;

    /// Gives the message back, to be received again `delay` from now and not before.
    async fn retry(&self, receipt: &str, delay: Duration) -> Result<()>;

    /// How many messages there are, hidden and delayed ones among them. Approximate where the queue is; 0 at rest.
    async fn depth(&self) -> Result<usize>;
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

    /// The attempt must be repeated at `next`: state waiting, with code and sentence. Nothing happens to a task that ended,
    /// nor to one that was never recorded.
    async fn wait(&self, id: &str, code: &str, message: &str, next: Timestamp) -> Result<()>;

    /// Writes the terminal state, once: false, and nothing is changed, if one is written already, or if the task was never
    /// recorded.
    async fn finish(&self, id: &str, outcome: &Outcome) -> Result<bool>;

    /// Tasks, newest first.
    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>>;

    /// The newest executions; `limit` 0: all.
    async fn executions(&self, limit: usize) -> Result<Vec<ExecutionRecord>>;

    /// True if a task that reads from this source repository, and does not itself follow another ([`Task::follows`]), has
    /// not ended.
    async fn is_busy(&self, registry: &str, repository: &Repository) -> Result<bool>;

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
