//! One batch of the queue within the time of one invocation: each message by itself, side by side, and which of them failed.
//!
//! Here because a function answers for a whole batch. What must hold: no message, whatever is in it and whatever becomes of it,
//! changes the fate of another; and every message is either done, sent on as a new one, or reported as failed, in time for
//! the answer. A reported message comes again when its visibility is over, and ends in the dead-letter queue after a few
//! times; so what only has to wait is sent on instead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use metrics::{counter, histogram};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tracing::Instrument;
use transship_copy::{NoProgress, Slot};
use transship_engine::{Disposition, HOPS_MAX, Message, Outgoing, Replicator, Search, Task, TaskQueue};

use crate::logging;
use transship_oci::{Code, Error};

/// From so many receipts on a message may be what ended its workers. Two fewer than make a dead letter.
const SUSPECT: u32 = 3;
/// The first wait of a message about which nothing could be decided; it doubles with each hop.
const UNDECIDED_FIRST: Duration = Duration::from_secs(5);
/// The longest: what the queue can hold a message back.
const UNDECIDED_LONGEST: Duration = Duration::from_mins(15);
/// The answer must have left before the deadline.
const ANSWERING: Duration = Duration::from_millis(100);

/// A message as a function receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The queue's id of it, by which a failure is reported.
    pub id: String,
    /// Whatever someone put into the queue.
    pub body: String,
    /// How often it was handed out, this time included. Approximate.
    pub receive_count: u32,
    /// When it was sent, where the queue says so.
    pub sent: Option<Timestamp>,
}

/// What became of the work on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is over.
    Done,
    /// It is to be received again after this long.
    Again(Duration),
    /// It is no message of ours; why not.
    Invalid(String),
    /// Nothing was decided, for a reason that may pass.
    Undecided {
        /// A stable code.
        code: &'static str,
        /// The sentence behind it.
        why: String,
    },
}

/// What works on one message: the engine, or what stands in for it.
#[async_trait]
pub trait Work: Send + Sync {
    /// Works on the message with this body until `slot` is over.
    async fn message(&self, body: &str, slot: Slot) -> Verdict;
}

#[async_trait]
impl Work for Replicator {
    async fn message(&self, body: &str, slot: Slot) -> Verdict {
        match self.message(body, Arc::new(NoProgress), Some(slot)).await {
            Ok(Disposition::Done) => Verdict::Done,
            Ok(Disposition::Again(delay)) => Verdict::Again(delay),
            Err(error) => Verdict::of(&error),
        }
    }
}

impl Verdict {
    fn of(error: &Error) -> Self {
        if error.is(Code::MessageInvalid) {
            Self::Invalid(error.message().to_owned())
        } else {
            Self::Undecided {
                code: error.code(),
                why: error.to_string(),
            }
        }
    }
}

/// Stands in for the engine while the document cannot be had: nothing is decided about any message of ours.
#[derive(Debug, Clone)]
pub struct Unconfigured {
    /// The code of why.
    pub code: &'static str,
    /// The sentence behind it.
    pub why: String,
}

#[async_trait]
impl Work for Unconfigured {
    async fn message(&self, body: &str, _: Slot) -> Verdict {
        Message::parse(body).map_or_else(
            |error| Verdict::of(&error),
            |_| Verdict::Undecided {
                code: self.code,
                why: self.why.clone(),
            },
        )
    }
}

/// Works on batches.
#[derive(Clone)]
pub struct Batch {
    /// On each message.
    pub work: Arc<dyn Work>,
    /// Where messages are sent on.
    pub queue: Arc<dyn TaskQueue>,
}

impl Batch {
    /// Works on `received` until `deadline`, at which the process may be ended. Returns the ids of those that failed.
    pub async fn run(&self, received: Vec<Received>, deadline: Instant) -> Vec<String> {
        let length = deadline.saturating_duration_since(Instant::now());
        let times = Times {
            slot: Slot::until(deadline, length),
            deadline: deadline.checked_sub(ANSWERING).unwrap_or(deadline),
        };
        let received = self.alone(received, times).await;
        let mut running = JoinSet::new();
        let mut ids: Vec<(Id, String)> = Vec::with_capacity(received.len());
        for message in received {
            tell_age(&message);
            let (batch, id) = (self.clone(), message.id.clone());
            let work = async move { batch.is_settled(message, times).await };
            ids.push((running.spawn(work.in_current_span()).id(), id));
        }
        while let Some(ended) = running.join_next_with_id().await {
            match ended {
                Ok((settled, true)) => ids.retain(|(at, _)| *at != settled),
                Ok((_, false)) => {}
                Err(panic) => {
                    let message_id = ids.iter().find(|(at, _)| *at == panic.id()).map(|(_, id)| id.as_str());
                    tracing::error!(
                        code = "WORKER_PANIC",
                        message_id,
                        "a message failed and comes again: {}",
                        why(panic)
                    );
                }
            }
        }
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// What may have ended its workers is worked on alone, one such message at a time: what came with it is sent on, for it
    /// would become a dead letter with it. What cannot be sent on stays.
    async fn alone(&self, mut received: Vec<Received>, times: Times) -> Vec<Received> {
        let Some(suspect) = suspect(&received) else {
            return received;
        };
        let mut staying = vec![received.swap_remove(suspect)];
        for (seconds, message) in (1..).zip(received) {
            // One after the other, so that they do not meet again.
            if !self.send_on(&message, Duration::from_secs(seconds), times).await {
                staying.push(message);
            }
        }
        staying
    }

    /// False if the message must come again as it is.
    async fn is_settled(&self, message: Received, times: Times) -> bool {
        // The work watches its slot itself; a call that hangs does not, and must not take its neighbours' answers along.
        let verdict = timeout(times.for_work(), self.work.message(&message.body, times.slot))
            .await
            .unwrap_or_else(|_| Verdict::Undecided {
                code: "SLOT_OVER",
                why: "the time of this worker ended before its work did".into(),
            });
        match verdict {
            Verdict::Done => true,
            Verdict::Again(delay) => self.send_on(&message, delay, times).await,
            Verdict::Invalid(why) => {
                tell_invalid(&message, &why);
                false
            }
            Verdict::Undecided { code, why } => {
                let again = undecided(&message.body);
                let delay = again.as_ref().map(|again| again.delay);
                tracing::error!(
                    code,
                    message_id = message.id,
                    ?delay,
                    "nothing is decided about a message: {why}"
                );
                match again {
                    Some(again) => self.send(&message, again, times).await,
                    None => false,
                }
            }
        }
    }

    /// Sends the message on as a new one, for a message that is received too often ends in the dead-letter queue.
    async fn send_on(&self, message: &Received, delay: Duration, times: Times) -> bool {
        match next_of(&message.body, delay) {
            Some(next) => self.send(message, next, times).await,
            None => false,
        }
    }

    async fn send(&self, message: &Received, next: Outgoing, times: Times) -> bool {
        match timeout(times.for_sending(), self.queue.send(&[next])).await {
            Ok(Ok(())) => {
                counter!("HandedOver").increment(1);
                true
            }
            Ok(Err(error)) => {
                tracing::error!(
                    code = error.code(),
                    message_id = message.id,
                    "a message could not be sent on and comes again: {error}"
                );
                false
            }
            Err(_) => {
                tracing::error!(
                    code = "QUEUE_UNAVAILABLE",
                    message_id = message.id,
                    "there was no time to send a message on; it comes again"
                );
                false
            }
        }
    }
}

/// The ends of one invocation: of the work, and of everything.
#[derive(Clone, Copy)]
struct Times {
    slot: Slot,
    deadline: Instant,
}

impl Times {
    /// The work may be late by half of what is left after its slot: it has an outcome to write down.
    fn for_work(self) -> Duration {
        let (work, all) = (self.slot.left(), self.for_sending());
        work + all.saturating_sub(work) / 2
    }

    fn for_sending(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The message among others that was received so often that it may be what ended its workers.
fn suspect(received: &[Received]) -> Option<usize> {
    let (position, message) = received
        .iter()
        .enumerate()
        .max_by_key(|(_, message)| message.receive_count)?;
    (received.len() > 1 && message.receive_count >= SUSPECT).then_some(position)
}

/// The message that is sent in place of the one with this body.
fn next_of(body: &str, delay: Duration) -> Option<Outgoing> {
    let message = match Message::parse(body).ok()? {
        Message::Task(task) => Message::Task(Task {
            hops: task.hops.saturating_add(1),
            not_before: None,
            ..task
        }),
        // A sweep is followed by the next one, a search counts its tries itself.
        other @ (Message::Sweep(_) | Message::Search(_)) => other,
    };
    Some(Outgoing { message, delay })
}

/// What is sent in place of a message nothing was decided about; [`None`] if it is not sent on: a sweep, which is followed
/// by the next one anyway, and what was sent on too often already.
fn undecided(body: &str) -> Option<Outgoing> {
    let (tries, message) = match Message::parse(body).ok()? {
        Message::Task(task) => (task.hops, None),
        Message::Search(search) => {
            let stuck = search.stuck.saturating_add(1);
            (search.stuck, Some(Message::Search(Search { stuck, ..search })))
        }
        Message::Sweep(_) => return None,
    };
    if tries >= HOPS_MAX {
        return None;
    }
    let delay = (UNDECIDED_FIRST * (1 << tries.min(10))).min(UNDECIDED_LONGEST);
    match message {
        Some(message) => Some(Outgoing { message, delay }),
        None => next_of(body, delay),
    }
}

fn tell_age(message: &Received) {
    if let Some(sent) = message.sent {
        let age = Timestamp::now().duration_since(sent).as_millis_f64();
        histogram!("OldestTaskAge").record(age.max(0.0));
    }
}

/// Says that a message is none of ours. Of its content only the beginning is told, escaped.
pub(crate) fn tell_invalid(message: &Received, why: &str) {
    counter!("MessagesInvalid").increment(1);
    tracing::error!(
        code = "MESSAGE_INVALID",
        message_id = message.id,
        receive_count = message.receive_count,
        bytes = message.body.len(),
        begins = beginning(&message.body),
        "a message is not understood and is left to the dead-letter queue: {}",
        beginning(why)
    );
}

/// At most 200 characters of a text of strangers, escaped.
fn beginning(text: &str) -> String {
    text.chars().flat_map(char::escape_default).take(200).collect()
}

fn why(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => logging::said(payload.as_ref()).to_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
