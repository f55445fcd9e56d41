//! The ports of the engine: queue, secrets, stores and clock. Every adapter passes the suites of the testkit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use transship_copy::Continuation;
use transship_layout::ObjectStore;
use transship_oci::{Digest, Repository, Result, Tag};
use transship_rules::SecretReference;

use crate::ledger::PendingScan;
use crate::{
    Execution, ExecutionRecord, ImageRef, Outcome, Outgoing, Replica, StoreName, TaskEntry, TaskRecord, TaskState,
};

/// A durable, unordered queue with at-least-once delivery: a message may be delivered twice, late, or twice at the same time.
#[async_trait]
pub trait TaskQueue: Send + Sync {
    /// Makes every message durable, or fails. After a failure some of the messages may have been sent, so send all of them again.
    /// The fairness group of a message is [`crate::Job::group`].
    async fn send(&self, messages: &[Outgoing]) -> Result<()>;
}

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The body, not parsed: the JSON of an [`crate::Envelope`], or a text of another sender.
    pub body: String,
    /// Identifies this delivery. Another delivery of the same message has another receipt.
    pub receipt: String,
    /// Number of deliveries of the message, including this one, from 1. Approximate if the queue is approximate.
    pub receive_count: u32,
}

/// The worker's end of the queue. A received message is hidden from other receivers for its visibility and is delivered again
/// afterwards, so that a worker that dies loses nothing. A receipt that a later delivery replaced, or whose message was removed
/// or given back, has no effect and is not an error: the worker was too slow, and another one has the message.
#[async_trait]
pub trait TaskReceiver: Send + Sync {
    /// Receives up to `max` messages and hides each for `visibility`; possibly none, even if there are some. Does not wait. The
    /// backlog of one destination does not delay the messages of others.
    async fn receive(&self, max: usize, visibility: Duration) -> Result<Vec<ReceivedMessage>>;

    /// Hides the message for `visibility` from now.
    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<()>;

    /// Removes a message that was processed.
    async fn complete(&self, receipt: &str) -> Result<()>;

    /// Gives the message back, to be received again after `delay`.
    async fn retry(&self, receipt: &str, delay: Duration) -> Result<()>;

    /// Returns when there may be something to receive, at the latest after `at_most`.
    async fn wait(&self, at_most: Duration) -> Result<()> {
        tokio::time::sleep(at_most).await;
        Ok(())
    }

    /// Number of messages, including hidden and delayed ones. Approximate if the queue is approximate; 0 at rest.
    async fn depth(&self) -> Result<usize>;
}

/// What [`Ledger::begin`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// The number of this attempt, counted from 1.
    Attempt(u32),
    /// The task has already ended, so the message is a duplicate.
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
    async fn record(&self, execution: &Execution, tasks: &[TaskEntry]) -> Result<()>;

    /// Begins an attempt: records task and execution if they are not known, counts the attempt, and sets the state to running;
    /// unless the task ended, which is reported and changes nothing.
    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin>;

    /// The attempt must be repeated at `next`: state waiting, with code and sentence. Nothing happens to a task that ended,
    /// nor to one that was never recorded.
    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()>;

    /// Writes the terminal state, once: false, and the task is not changed, if one is written already, or if the task was
    /// never recorded. In any case `replicas` are remembered, each in place of what was remembered of its destination.
    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, replicas: &[Replica]) -> Result<bool>;

    /// Tasks, newest first.
    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>>;

    /// The newest executions; `limit` 0: all.
    async fn executions(&self, limit: usize) -> Result<Vec<ExecutionRecord>>;

    /// The tasks themselves, as they were first recorded or begun, newest first.
    async fn originals(&self, filter: &TaskFilter) -> Result<Vec<TaskEntry>>;

    /// Tasks that read from this registry, have not ended, and were last touched before `before`: recorded (counts as
    /// [`Execution::created`]), begun, or, while waiting, due. At most `limit`, the longest untouched first.
    async fn unfinished(&self, registry: &str, before: Timestamp, limit: usize) -> Result<Vec<TaskEntry>>;

    /// Maximum delay of [`Ledger::is_busy`], [`Ledger::unfinished`] and the lists. Everything else is exact.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }

    /// True if a task that reads from this source repository, and does not itself follow another ([`TaskEntry::is_attachment`]), has
    /// not ended.
    async fn is_busy(&self, registry: &str, repository: &Repository) -> Result<bool>;

    /// The record of this tag.
    async fn replica(&self, registry: &str, repository: &Repository, tag: &Tag) -> Result<Option<Replica>>;

    /// Records the intent to write [`Replica::digest`] to [`Replica::destination`]. The digests that Transship may have written
    /// before become [`Replica::earlier`], the latest first, at most 8; [`Replica::manifests`] stays unchanged. The `earlier` and
    /// `manifests` of the argument are ignored.
    async fn replica_intend(&self, replica: &Replica) -> Result<()>;

    /// True if a replica at the repository of `destination`, made from the repository of `source`, holds `manifest`, as root
    /// or as part.
    async fn is_replicated(&self, source: &ImageRef, destination: &ImageRef, manifest: &Digest) -> Result<bool>;

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

    /// Which of `hosts` is paused the longest, and until when, if one is at `now`.
    async fn paused_until(&self, hosts: &[&str], now: Timestamp) -> Result<Option<(String, Timestamp)>>;

    /// The upload of `blob` that `task` has under way, unless it expired.
    async fn continuation(&self, task: &str, blob: &Digest, now: Timestamp) -> Result<Option<Continuation>>;

    /// Remembers an upload until `expires`, in place of what was known of its blob.
    async fn continuation_put(&self, task: &str, continuation: &Continuation, expires: Timestamp) -> Result<()>;

    /// Forgets an upload.
    async fn continuation_remove(&self, task: &str, blob: &Digest) -> Result<()>;
}

/// Reads secrets by their reference in the document. An adapter reads the schemes for which [`crate::SecretTable`] names it.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The content without a trailing newline. An adapter may cache it for some minutes. The error `SECRET_UNAVAILABLE` contains
    /// the reference, never the content.
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString>;

    /// The content as it was at most `age` ago, for use after a cached value was rejected. [`None`] means that this adapter has no
    /// cache.
    async fn secret_anew(&self, _reference: &SecretReference, _age: Duration) -> Result<Option<SecretString>> {
        Ok(None)
    }
}

/// The stores of layouts and archives.
pub trait Stores: Send + Sync {
    /// The store with this name. `STORE_UNKNOWN` if it cannot be read here. Sends nothing.
    fn store(&self, name: &StoreName) -> Result<Arc<dyn ObjectStore>>;
}

/// The blobs that incomplete sources wait for. A scan is identified by its key, a blob by its place ([`Found::place`] behind
/// the name of the store) and its digest.
///
/// What must hold: when concurrent arrivals complete a scan, at least one of the [`Awaited::arrived`] calls returns that scan.
///
/// [`Found::place`]: transship_layout::Found::place
#[async_trait]
pub trait Awaited: Send + Sync {
    /// `waiting` waits for these blobs at `place` and for nothing it waited for before. It is forgotten at `expires`.
    async fn wait_for(&self, waiting: &PendingScan, place: &str, blobs: &[Digest], expires: Timestamp) -> Result<()>;

    /// A blob has arrived: the jobs of the scans that waited for it and now wait for nothing. Each call returns them again
    /// until they are [`Awaited::settle`]d, because the caller may die before it sent them.
    async fn arrived(&self, place: &str, blob: &Digest, now: Timestamp) -> Result<Vec<String>>;

    /// The scan `key` does not wait any more. Nothing happens if it never did.
    async fn settle(&self, key: &str, place: &str) -> Result<()>;

    /// Scans that wait, the longest waiting first; at most `limit`.
    async fn waiting(&self, limit: usize, now: Timestamp) -> Result<Vec<PendingScan>>;
}
