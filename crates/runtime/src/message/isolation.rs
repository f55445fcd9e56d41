//! A message that may have ended its workers is worked on alone.

use std::time::Duration;

use transship_engine::Outgoing;
use transship_oci::Backoff;

use super::processor::{Deadline, MessageProcessor};
use super::{Message, Received};

/// A message that was delivered this often may be what ended its workers. Two fewer than make a dead letter in SQS.
const SUSPECT_RECEIVES: u32 = 3;
/// How long a suspect is left alone, by its deliveries.
const ISOLATION_BACKOFF: Backoff = Backoff::doubling(Duration::from_mins(1), Duration::from_hours(1));

/// Messages that were received together, after the isolation of one of them.
#[derive(Debug)]
pub(crate) struct Isolated {
    /// Work on these.
    pub(crate) staying: Vec<Message>,
    /// These were sent on as new messages: remove them.
    pub(crate) deferred: Vec<Received>,
    /// How often the suspect was delivered, if one of `staying` is suspect.
    pub(crate) suspect_receives: Option<u32>,
}

/// If a message is suspect, sends the messages that were received with it on, because they would become dead letters with
/// it. A message that cannot be sent on stays.
pub(crate) async fn isolate(
    processor: &MessageProcessor,
    mut messages: Vec<Message>,
    deadline: Option<Deadline>,
) -> Isolated {
    let Some(suspect) = suspect(&messages) else {
        return Isolated {
            staying: messages,
            deferred: Vec::new(),
            suspect_receives: None,
        };
    };
    let mut staying = vec![messages.swap_remove(suspect)];
    let suspect_receives = staying.first().map(|suspect| suspect.received.receive_count);
    let mut deferred = Vec::new();
    for (seconds, message) in (1..).zip(messages) {
        // With different delays, so that they are not received together again. This does not count as a try.
        let next = Outgoing {
            envelope: message.envelope.clone(),
            delay: Duration::from_secs(seconds),
        };
        if processor.defer(&message.received, next, deadline).await {
            deferred.push(message.received);
        } else {
            staying.push(message);
        }
    }
    Isolated {
        staying,
        deferred,
        suspect_receives,
    }
}

/// The message that was delivered most often, if that is often enough to suspect it.
fn suspect(messages: &[Message]) -> Option<usize> {
    let receive_count = |message: &Message| message.received.receive_count;
    let (position, message) = messages
        .iter()
        .enumerate()
        .max_by_key(|(_, message)| receive_count(message))?;
    (receive_count(message) >= SUSPECT_RECEIVES).then_some(position)
}

/// How long a worker that has no deadline leaves a suspect alone: the longer, the more often it was delivered. A long copy
/// that a few restarts interrupted delays other messages for minutes; a job that ends its process late ends it alone.
pub(crate) fn isolation_time(receive_count: u32) -> Duration {
    ISOLATION_BACKOFF.wait(receive_count.saturating_sub(SUSPECT_RECEIVES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_lasts_longer_for_a_stronger_suspicion() {
        let minutes = [3, 4, 8, 9, 12, u32::MAX].map(|count| isolation_time(count).as_secs() / 60);
        assert_eq!(minutes, [1, 2, 32, 60, 60, 60]);
    }
}
