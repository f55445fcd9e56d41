//! What the engine needs of the world besides the ledger: a queue, secrets, stores. Each adapter passes the suites of the
//! testkit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_layout::ObjectStore;
use transship_oci::Result;
use transship_rules::SecretReference;

use crate::{Outgoing, StoreName, TaskState};

/// A durable queue, at least once and unordered: a message may arrive twice, late, or twice at the same time.
#[async_trait]
pub trait TaskQueue: Send + Sync {
    /// Makes every message durable, or fails. After a failure any part of them may have been sent: send all again.
    /// The fairness group of a message is [`crate::Job::group`].
    async fn send(&self, messages: &[Outgoing]) -> Result<()>;
}

/// A message as the queue hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The message, not parsed: the JSON of an [`crate::Envelope`], or whatever else someone put into the queue.
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
    async fn receive(&self, max: usize, visibility: Duration) -> Result<Vec<ReceivedMessage>>;

    /// Hides the message for `visibility` from now, in place of what was left.
    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<()>;

    /// The message is done: it is removed.
    async fn complete(&self, receipt: &str) -> Result<()>;

    /// Gives the message back, to be received again `delay` from now and not before.
    async fn retry(&self, receipt: &str, delay: Duration) -> Result<()>;

    /// How many messages there are, hidden and delayed ones among them. Approximate where the queue is; 0 at rest.
    async fn depth(&self) -> Result<usize>;
}

/// What [`crate::ledger::History::begin`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// This is attempt number so much, counting from 1.
    Attempt(u32),
    /// It ended before: the message is a duplicate.
    Finished(TaskState),
}

/// Reads secrets by their reference in the document. An adapter reads the schemes for which [`crate::SecretTable`] names it.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The content, without a trailing newline; an adapter may remember it for some minutes. `SECRET_UNAVAILABLE` names
    /// the reference, never the content.
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString>;

    /// The content as it was at most `age` ago, because what was remembered did not serve: it may have been rotated.
    /// [`None`]: nothing is remembered here, so [`Secrets::secret`] says all there is.
    async fn secret_anew(&self, _reference: &SecretReference, _age: Duration) -> Result<Option<SecretString>> {
        Ok(None)
    }
}

/// Where layouts and archives lie.
pub trait Stores: Send + Sync {
    /// The store of this name. `STORE_UNKNOWN` if no such store can be read here. Sends nothing.
    fn store(&self, name: &StoreName) -> Result<Arc<dyn ObjectStore>>;
}
