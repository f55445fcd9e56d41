//! What an outcome means for the message. The only place that decides it.

use std::time::Duration;

use transship_engine::{Envelope, Next, Outgoing, TRIES_MAX};
use transship_oci::{Backoff, Result};

/// The waits of a message about which nothing could be decided. The longest is the longest delay of SQS.
const UNDECIDED_BACKOFF: Backoff = Backoff::doubling(Duration::from_secs(5), Duration::from_mins(15));

/// What happens with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Its work is done: remove it.
    Remove,
    /// Send these messages, then remove it.
    Send(Vec<Outgoing>),
    /// Send it on as this new message, then remove it.
    HandOver(Box<Outgoing>),
    /// Leave it in the queue, which delivers it again and counts that.
    Return,
}

/// Decides what `result` means for the message with `envelope`.
pub(super) fn decide(envelope: Envelope, result: Result<Next>) -> Disposition {
    match result {
        Ok(Next::Done) => Disposition::Remove,
        Ok(Next::Send(messages)) => Disposition::Send(messages),
        Ok(Next::Again(delay)) => Disposition::HandOver(Box::new(envelope.again(delay))),
        Err(_) => match undecided_wait(&envelope) {
            Some(delay) => Disposition::HandOver(Box::new(envelope.again(delay))),
            None => Disposition::Return,
        },
    }
}

/// The wait of a message about which nothing could be decided. [`None`] if it is not sent on: a periodic job, because the
/// next one follows anyway, and a message that was already sent on too often.
fn undecided_wait(envelope: &Envelope) -> Option<Duration> {
    if envelope.job.is_periodic() || envelope.tries >= TRIES_MAX {
        return None;
    }
    Some(UNDECIDED_BACKOFF.wait(envelope.tries))
}

#[cfg(test)]
mod tests {
    use transship_testkit::suites::copy_task;

    use super::*;

    fn envelope(tries: u32) -> Envelope {
        Envelope {
            tries,
            ..Envelope::new(copy_task(1))
        }
    }

    #[test]
    fn waits_grow_with_the_tries_and_end() {
        let delays: Vec<_> = [0, 1, 3, 7, 8, 20, TRIES_MAX - 1, TRIES_MAX]
            .map(|tries| undecided_wait(&envelope(tries)).map(|wait| wait.as_secs()))
            .into();
        let expected = [
            Some(5),
            Some(10),
            Some(40),
            Some(640),
            Some(900),
            Some(900),
            Some(900),
            None,
        ];
        assert_eq!(delays, expected);
    }

    #[test]
    fn a_wait_counts_as_a_try() {
        let delay = Duration::from_secs(30);
        let Disposition::HandOver(next) = decide(envelope(4), Ok(Next::Again(delay))) else {
            panic!("it is not sent on")
        };
        assert_eq!((next.envelope.tries, next.delay), (5, delay));
        assert_eq!(decide(envelope(4), Ok(Next::Done)), Disposition::Remove);
    }
}
