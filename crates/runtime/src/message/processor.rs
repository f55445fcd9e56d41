//! Works on one message and does what the outcome means for it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use metrics::{counter, histogram};
use tokio::time::timeout;
use transship_copy::{Progress, TimeBudget};
use transship_engine::{Envelope, Jobs, Next, Outgoing, TaskQueue};
use transship_oci::{Code, Error, Result, Verb};

use super::disposition::{Disposition, decide};
use super::{ERROR_BACKOFF, Message, Received};
use crate::logging;

/// The end of the time of a function is reserved for its answer.
const ANSWER_RESERVE: Duration = Duration::from_millis(100);

/// Works on one message: the engine, or its replacement while there is no document.
#[async_trait]
pub trait MessageHandler: Send + Sync {
    /// Works on the message until `slot` is over; [`None`]: until it is done.
    async fn handle(&self, envelope: &Envelope, budget: Option<TimeBudget>) -> Result<Next>;
}

/// Runs jobs.
pub struct JobHandler {
    /// The job handlers.
    pub jobs: Arc<Jobs>,
    /// Listens to the copies.
    pub progress: Arc<dyn Progress>,
}

#[async_trait]
impl MessageHandler for JobHandler {
    async fn handle(&self, envelope: &Envelope, budget: Option<TimeBudget>) -> Result<Next> {
        self.jobs.run(envelope, Arc::clone(&self.progress), budget).await
    }
}

/// Replaces the engine while there is no document: nothing is decided about any message, for this reason.
pub struct Undecided(pub Error);

#[async_trait]
impl MessageHandler for Undecided {
    async fn handle(&self, _: &Envelope, _: Option<TimeBudget>) -> Result<Next> {
        Err(self.0.clone())
    }
}

/// When a function ends: for the work, and for everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    budget: TimeBudget,
    answer_by: Instant,
}

impl Deadline {
    /// The process may be ended at `end`.
    pub(crate) fn new(end: Instant) -> Self {
        let length = end.saturating_duration_since(Instant::now());
        Self {
            budget: TimeBudget::until(end, length),
            answer_by: end.checked_sub(ANSWER_RESERVE).unwrap_or(end),
        }
    }

    /// The work may exceed its slot by half of the time that is left after it, because it has to record its outcome.
    fn for_work(self) -> Duration {
        let (work, all) = (self.budget.left(), self.for_sending());
        work + all.saturating_sub(work) / 2
    }

    fn for_sending(self) -> Duration {
        self.answer_by.saturating_duration_since(Instant::now())
    }
}

/// Works on messages, each by itself.
#[derive(Clone)]
pub struct MessageProcessor {
    /// Works on each message.
    pub handler: Arc<dyn MessageHandler>,
    /// Where messages are sent.
    pub queue: Arc<dyn TaskQueue>,
}

impl MessageProcessor {
    /// Works on the message, until `deadline` if there is one. False if the message must be returned to its queue.
    pub(crate) async fn process(&self, message: Message, deadline: Option<Deadline>) -> bool {
        message.measure_age();
        let Message { received, envelope } = message;
        let envelope = envelope.received(Timestamp::now());
        let work = self.handler.handle(&envelope, deadline.map(|deadline| deadline.budget));
        let work = AssertUnwindSafe(work).catch_unwind();
        let result = match deadline {
            // The work observes its slot. A call that hangs does not, and must not delay the answer about other messages.
            Some(deadline) => timeout(deadline.for_work(), work)
                .await
                .unwrap_or_else(|_| Ok(Err(Error::of(Code::SlotOver, Verb::Message)))),
            None => work.await,
        };
        let result = match result {
            Ok(result) => result,
            Err(panic) => {
                log_panic(&received, panic.as_ref());
                return false;
            }
        };
        let undecided = result.as_ref().err().cloned();
        let disposition = decide(envelope, result, Timestamp::now(), deadline.is_some());
        if let Some(error) = undecided {
            let delay = match &disposition {
                Disposition::HandOver(next) => Some(next.delay),
                _ => None,
            };
            let (code, message_id) = (error.code(), &received.id);
            tracing::error!(code, message_id, ?delay, "nothing was decided about a message: {error}");
        }
        match disposition {
            Disposition::Remove => true,
            Disposition::Send(messages) => self.send(&received, &messages, deadline).await,
            Disposition::HandOver(next) => self.hand_over(&received, *next, deadline).await,
            Disposition::Return => false,
        }
    }

    /// Sends the message on as a new one.
    async fn hand_over(&self, received: &Received, next: Outgoing, deadline: Option<Deadline>) -> bool {
        measure_unfinished(&next.envelope);
        let is_sent = self.send(received, &[next], deadline).await;
        counter!("HandedOver").increment(u64::from(is_sent));
        is_sent
    }

    /// Sends messages. Without a deadline, it tries until the queue takes them: to return the message instead would count
    /// against it.
    async fn send(&self, received: &Received, messages: &[Outgoing], deadline: Option<Deadline>) -> bool {
        while !self.send_once(received, messages, deadline).await {
            if deadline.is_some() {
                return false;
            }
            tokio::time::sleep(ERROR_BACKOFF).await;
        }
        true
    }

    /// Sends `next` in place of a message that was not tried.
    pub(super) async fn defer(&self, received: &Received, next: Outgoing, deadline: Option<Deadline>) -> bool {
        measure_unfinished(&next.envelope);
        let is_sent = self.send_once(received, &[next], deadline).await;
        counter!("HandedOver").increment(u64::from(is_sent));
        is_sent
    }

    async fn send_once(&self, received: &Received, messages: &[Outgoing], deadline: Option<Deadline>) -> bool {
        let send = self.queue.send(messages);
        let sent = match deadline {
            Some(deadline) => timeout(deadline.for_sending(), send).await,
            None => Ok(send.await),
        };
        let message_id = &received.id;
        match sent {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(
                    code = error.code(),
                    message_id,
                    "a message could not be sent on and is tried again: {error}"
                );
                false
            }
            Err(_) => {
                tracing::error!(
                    code = Code::QueueUnavailable.as_str(),
                    message_id,
                    "there was no time to send a message on; it is delivered again"
                );
                false
            }
        }
    }
}

/// Publishes how long a job that is sent on has been unfinished. Counted from its event, not from its message: each wait is
/// a new message, and a queue tells only how old those are.
fn measure_unfinished(envelope: &Envelope) {
    if let Some(execution) = envelope.job.execution() {
        let age = Timestamp::now().duration_since(execution.created).as_millis_f64();
        histogram!("OldestUnfinishedTask", "Rule" => execution.rule.clone()).record(age.max(0.0));
    }
}

fn log_panic(received: &Received, panic: &(dyn Any + Send)) {
    tracing::error!(
        code = Code::WorkerPanic.as_str(),
        message_id = received.id,
        receive_count = received.receive_count,
        "a message failed and is delivered again: {}",
        logging::panic_text(panic)
    );
}
