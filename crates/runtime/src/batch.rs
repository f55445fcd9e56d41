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
use transship_engine::{Envelope, Jobs, Next, Outgoing, TRIES_MAX, TaskQueue};
use transship_oci::Error;

use crate::logging;
use transship_oci::{Code, Error};

/// From this number of receipts on a message may be what ended its workers. Two fewer than make a dead letter.
const ISOLATE_AFTER_RECEIVES: u32 = 3;
/// The first wait of a message about which nothing could be decided; it doubles with each try.
const UNDECIDED_WAIT_FIRST: Duration = Duration::from_secs(5);
/// The longest wait: the longest delay of the queue.
const UNDECIDED_WAIT_MAX: Duration = Duration::from_mins(15);
/// The time before the deadline in which the answer is sent.
const ANSWER_RESERVE: Duration = Duration::from_millis(100);

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

/// Nothing was decided about a message, for a reason that may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// A stable code.
    pub code: &'static str,
    /// The sentence behind it.
    pub why: String,
}

impl From<Error> for Undecided {
    fn from(error: Error) -> Self {
        Self {
            code: error.code(),
            why: error.to_string(),
        }
    }
}

/// What works on one message: the engine, or its replacement while there is no document.
#[async_trait]
pub trait Work: Send + Sync {
    /// Works on the message until `slot` is over.
    async fn work(&self, envelope: &Envelope, slot: Slot) -> Result<Next, Undecided>;
}

#[async_trait]
impl Work for Jobs {
    async fn work(&self, envelope: &Envelope, slot: Slot) -> Result<Next, Undecided> {
        Ok(self.run(envelope, Arc::new(NoProgress), Some(slot)).await?)
    }
}

/// While the document is not available, nothing is decided about any message.
#[async_trait]
impl Work for Undecided {
    async fn work(&self, _: &Envelope, _: Slot) -> Result<Next, Undecided> {
        Err(self.clone())
    }
}

/// A message that was understood.
struct Delivery {
    received: Received,
    envelope: Envelope,
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
            deadline: deadline.checked_sub(ANSWER_RESERVE).unwrap_or(deadline),
        };
        let (deliveries, invalid) = parsed(received);
        let deliveries = self.isolated(deliveries, times).await;
        let mut running = JoinSet::new();
        let mut ids: Vec<(Id, String)> = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            tell_age(&delivery.received);
            let (batch, id) = (self.clone(), delivery.received.id.clone());
            let work = async move { batch.is_settled(delivery, times).await };
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
        let failed = ids.into_iter().map(|(_, id)| id);
        invalid.into_iter().chain(failed).collect()
    }

    /// A message that may have ended its workers is worked on alone, one such message at a time. The messages that came with
    /// it are sent on, because they would become dead letters with it. A message that cannot be sent on stays.
    async fn isolated(&self, mut deliveries: Vec<Delivery>, times: Times) -> Vec<Delivery> {
        let Some(suspect) = suspect(&deliveries) else {
            return deliveries;
        };
        let mut staying = vec![deliveries.swap_remove(suspect)];
        for (seconds, delivery) in (1..).zip(deliveries) {
            // One after the other, so that they do not meet again. It was not tried, so this is not another try.
            let next = Outgoing {
                envelope: delivery.envelope.clone(),
                delay: Duration::from_secs(seconds),
            };
            if !self.hand_over(&delivery.received, next, times).await {
                staying.push(delivery);
            }
        }
        staying
    }

    /// False if the message must come again as it is.
    async fn is_settled(&self, delivery: Delivery, times: Times) -> bool {
        let Delivery { received, envelope } = delivery;
        // The work watches its slot itself; a call that hangs does not, and must not take its neighbours' answers along.
        let worked = timeout(times.for_work(), self.work.work(&envelope, times.slot))
            .await
            .unwrap_or_else(|_| {
                Err(Undecided {
                    code: "SLOT_OVER",
                    why: "the time of this worker ended before its work did".into(),
                })
            });
        match worked {
            Ok(Next::Done) => true,
            Ok(Next::Send(messages)) => self.send(&received, &messages, times).await,
            Ok(Next::Again(delay)) => self.hand_over(&received, envelope.again(delay), times).await,
            Err(Undecided { code, why }) => {
                let delay = undecided_wait(&envelope);
                tracing::error!(
                    code,
                    message_id = received.id,
                    ?delay,
                    "nothing is decided about a message: {why}"
                );
                match delay {
                    Some(delay) => self.hand_over(&received, envelope.again(delay), times).await,
                    None => false,
                }
            }
        }
    }

    /// Sends the message on as a new one, because a message that is received too often ends in the dead-letter queue.
    async fn hand_over(&self, message: &Received, next: Outgoing, times: Times) -> bool {
        let is_sent = self.send(message, &[next], times).await;
        counter!("HandedOver").increment(u64::from(is_sent));
        is_sent
    }

    async fn send(&self, message: &Received, next: &[Outgoing], times: Times) -> bool {
        match timeout(times.for_sending(), self.queue.send(next)).await {
            Ok(Ok(())) => true,
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

/// The messages that are understood, and the ids of those that are not, which are logged.
fn parsed(received: Vec<Received>) -> (Vec<Delivery>, Vec<String>) {
    let (mut deliveries, mut invalid) = (Vec::new(), Vec::new());
    for received in received {
        match Envelope::parse(&received.body) {
            Ok(envelope) => deliveries.push(Delivery { received, envelope }),
            Err(error) => {
                tell_invalid(&received, error.message());
                invalid.push(received.id);
            }
        }
    }
    (deliveries, invalid)
}

/// The message among others that was received so often that it may be what ended its workers.
fn suspect(deliveries: &[Delivery]) -> Option<usize> {
    let receive_count = |delivery: &Delivery| delivery.received.receive_count;
    let (position, delivery) = deliveries
        .iter()
        .enumerate()
        .max_by_key(|(_, delivery)| receive_count(delivery))?;
    (deliveries.len() > 1 && receive_count(delivery) >= ISOLATE_AFTER_RECEIVES).then_some(position)
}

/// The wait of a message about which nothing could be decided; [`None`] if it is not sent on: a periodic job, which is
/// followed by the next one anyway, and a message that was sent on too often already.
fn undecided_wait(envelope: &Envelope) -> Option<Duration> {
    if envelope.job.is_periodic() || envelope.tries >= TRIES_MAX {
        return None;
    }
    Some((UNDECIDED_WAIT_FIRST * (1 << envelope.tries.min(10))).min(UNDECIDED_WAIT_MAX))
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
