//! What becomes of a received message, in a function and in `serve`.
//!
//! What must hold: no message changes the result of another one, regardless of its content and its own result; and every
//! message is done, sent on as a new one, or returned to its queue. A queue counts the returns: a message that is returned
//! too often becomes a dead letter. Therefore a message that only has to wait is sent on.

mod dead_letters;
mod disposition;
mod isolation;
mod processor;
#[cfg(test)]
mod tests;

use std::time::Duration;
use transship_oci::Code;

use jiff::Timestamp;
use metrics::{counter, histogram};
use transship_engine::{Envelope, ReceivedMessage};

pub use dead_letters::DeadLetterRecorder;
pub(crate) use isolation::{isolate, isolation_time};
pub(crate) use processor::Deadline;
pub use processor::{JobHandler, MessageHandler, MessageProcessor, Undecided};

/// The wait before the next try when the queue or the ledger does not answer, or after a panic.
pub(crate) const ERROR_BACKOFF: Duration = Duration::from_secs(5);

/// A message as a queue delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Identifies the delivery: the message id of SQS, the receipt of other queues.
    pub id: String,
    /// The message, not parsed.
    pub body: String,
    /// How often it was delivered, including this time. Approximate where the queue is.
    pub receive_count: u32,
    /// A worker ended while it worked on this message and on no other. True where the queue cannot tell.
    pub ended_alone: bool,
    /// When it was sent, if the queue reports it.
    pub sent: Option<Timestamp>,
}

impl From<ReceivedMessage> for Received {
    fn from(message: ReceivedMessage) -> Self {
        Self {
            id: message.receipt,
            body: message.body,
            receive_count: message.receive_count,
            ended_alone: message.ended_alone,
            sent: None,
        }
    }
}

/// A received message whose body was parsed.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) received: Received,
    pub(crate) envelope: Envelope,
}

impl Message {
    /// Parses the body. A message that is not valid is logged and returned as it is.
    pub(crate) fn parse(received: Received) -> Result<Self, Received> {
        match Envelope::parse(&received.body) {
            Ok(envelope) => Ok(Self { received, envelope }),
            Err(error) => {
                log_invalid(&received, error.message());
                Err(received)
            }
        }
    }

    /// Measures how long the message was in the queue.
    pub(crate) fn measure_age(&self) {
        if let Some(sent) = self.received.sent {
            let age = Timestamp::now().duration_since(sent).as_millis_f64();
            histogram!("OldestTaskAge").record(age.max(0.0));
        }
    }
}

/// Logs a message that is not valid. Of its content the log has only the beginning, escaped.
fn log_invalid(message: &Received, why: &str) {
    counter!("MessagesInvalid").increment(1);
    tracing::error!(
        code = Code::MessageInvalid.as_str(),
        message_id = message.id,
        receive_count = message.receive_count,
        bytes = message.body.len(),
        begins = beginning(&message.body),
        "a message is not valid and was returned to its queue: {}",
        beginning(why)
    );
}

/// At most 200 characters of a text from outside, escaped.
fn beginning(text: &str) -> String {
    text.chars().flat_map(char::escape_default).take(200).collect()
}
