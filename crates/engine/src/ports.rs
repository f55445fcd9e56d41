//! The ports of the engine except the ledger: queue, secrets and stores. Every adapter passes the suites of the testkit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_layout::ObjectStore;
use transship_oci::Result;
use transship_rules::SecretReference;

use crate::{Outgoing, StoreName, TaskEntry, TaskState};

/// A durable, unordered queue with at-least-once delivery: a message may be delivered twice, late, or twice at the same time.
#[async_trait]
pub trait TaskQueue: Send + Sync {
    /// Makes every message durable, or fails. After a failure some of the messages may have been sent, so send all of them again.
    /// The fairness group of a message is [`crate::Job::group`].
    async fn send(&self, messages: &[Outgoing]) -> Result<()>;

    /// Sends the messages of new tasks, and records `tasks` in the ledger if that takes no step of its own. False if they are still
    /// to be recorded. Errors as of [`TaskQueue::send`].
    async fn send_and_record(&self, messages: &[Outgoing], _tasks: &[TaskEntry]) -> Result<bool> {
        self.send(messages).await.map(|()| false)
    }

    /// Makes the messages visible that wait for the pause of `host` to end, see [`crate::Envelope::waits_for`]. Returns their
    /// number; [`None`] if the queue cannot, so that each of them becomes visible at its own time.
    async fn wake(&self, _host: &str) -> Result<Option<usize>> {
        Ok(None)
    }
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
    /// A worker ended while it worked on this message and on no other. True where the queue cannot tell.
    pub ended_alone: bool,
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

    /// Gives the message back because the process stops as asked. The delivery does not count, where the queue can forget it.
    async fn put_back(&self, receipt: &str) -> Result<()> {
        self.retry(receipt, Duration::ZERO).await
    }

    /// Returns when there may be something to receive, at the latest after `at_most`.
    async fn wait(&self, at_most: Duration) -> Result<()> {
        tokio::time::sleep(at_most).await;
        Ok(())
    }

    /// Number of messages, including hidden and delayed ones. Approximate if the queue is approximate; 0 at rest.
    async fn depth(&self) -> Result<usize>;
}

/// What [`crate::ledger::History::begin`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// The number of this attempt, counted from 1.
    Attempt(u32),
    /// The task has already ended, so the message is a duplicate.
    Finished(TaskState),
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

/// Fetches the public keys with which clouds sign. The URLs are those that [`transship_notifications::authenticate`] asks for: they
/// are at a few fixed hosts, and a delivery cannot name others. Nothing secret is sent.
#[async_trait]
pub trait SigningKeys: Send + Sync {
    /// The content of `url`. An adapter may cache it for some hours. Error: `UNAVAILABLE`.
    async fn keys(&self, url: &str) -> Result<Arc<[u8]>>;

    /// The content as it was at most `age` ago, for use when the cached one does not have a key.
    async fn keys_anew(&self, url: &str, age: Duration) -> Result<Arc<[u8]>>;
}

/// The stores of layouts and archives.
pub trait Stores: Send + Sync {
    /// The store with this name. `STORE_UNKNOWN` if it cannot be read here. Sends nothing.
    fn store(&self, name: &StoreName) -> Result<Arc<dyn ObjectStore>>;
}
