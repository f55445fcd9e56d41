//! The queue in SQLite: visibility, receive count, delay, and fairness between destinations.
//!
//! A send that returned must be on the disk, because the webhook's 202 depends on it. A message must be removed only by
//! [`TaskReceiver::complete`]. Simultaneous sends are written in one transaction, with the records of their tasks.

mod fairness;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::Transaction;
use tokio::sync::Notify;
use transship_copy::{Clock, SystemClock};
use transship_engine::{Outgoing, ReceivedMessage, TaskEntry, TaskQueue, TaskReceiver};

use crate::database::Durability;
use crate::ledger::record;
use crate::{Database, SqliteLedger};
use fairness::{Peers, Share};
use messages::{Message, Receipt};
use transship_oci::{Code, Error, Result, Verb};

/// A [`TaskQueue`] and [`TaskReceiver`] in a [`Database`]. Clones share it.
#[derive(Clone)]
pub struct SqliteQueue {
    database: Database,
    clock: Arc<dyn Clock>,
    arrived: Arc<Notify>,
    turn: Arc<AtomicUsize>,
    share: Option<Share>,
    /// The ledger is in the same database.
    records: bool,
    /// The last receipt left no message that became visible before this time and may be delivered, in milliseconds since 1970.
    seen: Arc<AtomicI64>,
    /// The pairs of which the last receipt left messages, because they have their share of the workers.
    sated: Arc<Mutex<HashSet<Peers>>>,
}

impl SqliteQueue {
    /// The queue of `database`, with the system clock.
    pub fn new(database: Database) -> Self {
        Self::with_clock(database, Arc::new(SystemClock))
    }

    /// The same with another clock.
    pub fn with_clock(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self {
            database,
            clock,
            arrived: Arc::default(),
            turn: Arc::default(),
            share: None,
            records: false,
            seen: Arc::new(AtomicI64::new(i64::MIN)),
            sated: Arc::default(),
        }
    }

    /// Limits the part of `workers` that one source or one destination can occupy. `host_of` returns the host of a registry's
    /// name, so that the limit applies to a host that has several names. All messages in flight must be with these workers.
    #[must_use]
    pub fn shared_by(mut self, workers: usize, host_of: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.share = Some(Share::new(workers, host_of));
        self
    }

    /// Records the tasks of new messages in `ledger` in the transaction that sends them, if it is of the same database.
    #[must_use]
    pub fn recording_in(mut self, ledger: &SqliteLedger) -> Self {
        self.records = ledger.is_in(&self.database);
        self
    }

    /// Makes every message in flight visible at once, and returns their number. The caller must hold the [`crate::DataLock`] and
    /// must not have received messages, so that these messages belong to a process that has ended.
    pub async fn release_all(&self) -> Result<usize> {
        let now = self.now();
        let released = self
            .database
            .write(Durability::Process, move |transaction| {
                messages::release_all(transaction, now)
            })
            .await
            .map_err(|fault| unavailable(fault, "release"))?;
        self.arrived.notify_one();
        Ok(released)
    }

    /// Time until a message can be received, including those in flight as if their worker died: zero if one can be received now,
    /// [`None`] if there is no message.
    pub async fn next_visible_in(&self) -> Result<Option<Duration>> {
        let now = self.now();
        let earliest = self
            .database
            .read(move |connection| messages::earliest(connection, now, None))
            .await
            .map_err(|fault| unavailable(fault, "look"))?;
        Ok(earliest.map(|visible| until(visible, now)))
    }

    /// How long to wait without a notification, which is until a hidden message becomes visible. Messages that the last receipt
    /// left are beyond the share of their host; those that arrived since, and ends of others, leave a notification.
    async fn pause(&self, at_most: Duration) -> Result<Duration> {
        let now = self.now();
        let seen = self.seen.load(Ordering::Relaxed).min(now);
        let seen = (seen > i64::MIN).then_some(seen);
        let earliest = self
            .database
            .read(move |connection| messages::earliest(connection, now, seen))
            .await
            .map_err(|fault| unavailable(fault, "wait"))?;
        Ok(earliest.map_or(at_most, |visible| until(visible, now).min(at_most)))
    }

    fn now(&self) -> i64 {
        let since_1970 = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        milliseconds(since_1970)
    }

    fn message(&self, outgoing: &Outgoing) -> Result<Message> {
        let now = self.now();
        Ok(Message {
            peers: Peers {
                source: outgoing.envelope.job.origin().unwrap_or_default().to_owned(),
                destination: outgoing.envelope.job.group().to_owned(),
            },
            body: outgoing.envelope.to_json()?,
            visible: now.saturating_add(milliseconds(outgoing.delay)),
            hidden_since: now,
        })
    }

    /// Adds messages and records `tasks`, all or none.
    async fn add(&self, messages: &[Outgoing], tasks: &[TaskEntry]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let messages = messages
            .iter()
            .map(|outgoing| self.message(outgoing))
            .collect::<Result<Vec<_>>>()?;
        let peers: Vec<Peers> = messages.iter().map(|message| message.peers.clone()).collect();
        let tasks = tasks.to_vec();
        self.database
            .write(Durability::Disk, move |transaction| {
                messages
                    .iter()
                    .try_for_each(|message| messages::add(transaction, message))?;
                tasks.iter().try_for_each(|task| record(transaction, task))
            })
            .await
            .map_err(|fault| unavailable(fault, "send"))?;
        let is_sated = {
            let sated = self.sated();
            peers.iter().all(|peers| sated.contains(peers))
        };
        // A backlog that grows does not keep the workers looking at it: the end of a message does.
        if !is_sated {
            self.arrived.notify_one();
        }
        Ok(())
    }

    fn sated(&self) -> MutexGuard<'_, HashSet<Peers>> {
        self.sated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the message that `receipt` holds; an outdated receipt changes nothing.
    async fn held<T: Default + Send + 'static>(
        &self,
        operation: &'static str,
        receipt: &str,
        change: impl FnOnce(&Transaction<'_>, &Receipt) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(receipt) = Receipt::parse(receipt) else {
            return Ok(T::default());
        };
        self.database
            .write(Durability::Process, move |transaction| change(transaction, &receipt))
            .await
            .map_err(|fault| unavailable(fault, operation))
    }
}

#[async_trait]
impl TaskQueue for SqliteQueue {
    async fn send(&self, messages: &[Outgoing]) -> Result<()> {
        self.add(messages, &[]).await
    }

    async fn send_and_record(&self, messages: &[Outgoing], tasks: &[TaskEntry]) -> Result<bool> {
        if self.records && self.add(messages, tasks).await.is_ok() {
            return Ok(true);
        }
        // A ledger that cannot be written loses nothing.
        self.send(messages).await.map(|()| false)
    }

    async fn wake(&self, host: &str) -> Result<Option<usize>> {
        let (host, now) = (host.to_owned(), self.now());
        let woken = self
            .database
            .write(Durability::Process, move |transaction| {
                messages::wake(transaction, &host, now)
            })
            .await
            .map_err(|fault| unavailable(fault, "wake"))?;
        self.arrived.notify_one();
        Ok(Some(woken))
    }
}

#[async_trait]
impl TaskReceiver for SqliteQueue {
    async fn receive(&self, max: usize, visibility: Duration) -> Result<Vec<ReceivedMessage>> {
        let now = self.now();
        let until = now.saturating_add(milliseconds(visibility));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let share = self.share.clone();
        // Before the transaction: what is sent after it must be noticed, unless the transaction found its pair sated.
        self.sated().clear();
        let (received, left) = self
            .database
            .write(Durability::Process, move |transaction| {
                messages::show_hidden_by_clock(transaction, now)?;
                let waiting = messages::waiting(transaction, now, max)?;
                let in_flight = messages::in_flight(transaction, now)?;
                let chosen = fairness::choose(waiting.clone(), &in_flight, share.as_ref(), max, turn, now);
                let left: HashSet<Peers> = waiting
                    .into_iter()
                    .filter(|pair| pair.messages.iter().any(|message| !chosen.contains(message)))
                    .map(|pair| pair.peers)
                    .collect();
                let received: Vec<_> = chosen
                    .into_iter()
                    .map(|id| messages::hand_out(transaction, id, now, until))
                    .collect::<rusqlite::Result<_>>()?;
                Ok((received, left))
            })
            .await
            .map_err(|fault| unavailable(fault, "receive"))?;
        if received.len() < max {
            self.seen.store(now, Ordering::Relaxed);
            *self.sated() = left;
        } else {
            self.seen.store(i64::MIN, Ordering::Relaxed);
        }
        Ok(received)
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<()> {
        let visible = self.now().saturating_add(milliseconds(visibility));
        self.held("extend", receipt, move |transaction, receipt| {
            messages::extend(transaction, receipt, visible)
        })
        .await
    }

    async fn complete(&self, receipt: &str) -> Result<()> {
        let done = self.held("complete", receipt, messages::complete).await?;
        if let Some(share) = &self.share {
            if let Some((peers, delivered)) = done {
                share.done(&peers, delivered, self.now());
            }
            self.arrived.notify_one();
        }
        Ok(())
    }

    async fn retry(&self, receipt: &str, delay: Duration) -> Result<()> {
        let now = self.now();
        let visible = now.saturating_add(milliseconds(delay));
        self.held("retry", receipt, move |transaction, receipt| {
            messages::retry(transaction, receipt, now, visible)
        })
        .await?;
        self.arrived.notify_one();
        Ok(())
    }

    async fn put_back(&self, receipt: &str) -> Result<()> {
        let now = self.now();
        self.held("put_back", receipt, move |transaction, receipt| {
            messages::put_back(transaction, receipt, now)
        })
        .await
    }

    /// Returns when a message was sent or given back, or when a hidden one became visible. One waits at a time.
    async fn wait(&self, at_most: Duration) -> Result<()> {
        let pause = self.pause(at_most).await?;
        let _: std::result::Result<(), _> = tokio::time::timeout(pause, self.arrived.notified()).await;
        Ok(())
    }

    async fn depth(&self) -> Result<usize> {
        self.database
            .read(messages::count)
            .await
            .map_err(|fault| unavailable(fault, "depth"))
    }
}

/// The time from `now` until `later`, both in milliseconds.
fn until(later: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(later.saturating_sub(now)).unwrap_or_default())
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn unavailable(fault: Error, operation: &str) -> Error {
    Error::of(Code::QueueUnavailable, Verb::Queue.on(operation))
        .because(fault.message())
        .with_source(fault)
}
