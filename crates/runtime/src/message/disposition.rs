//! What an outcome means for the message. The only place that decides it.

use std::time::Duration;

use jiff::Timestamp;
use transship_engine::{Envelope, Next, Outgoing};
use transship_oci::{Backoff, Result};

/// The waits of a message about which nothing could be decided. The longest is the longest delay of SQS.
const UNDECIDED_BACKOFF: Backoff = Backoff::doubling(Duration::from_secs(5), Duration::from_mins(15));

/// A message about which nothing could be decided for this long, and in so many tries, is returned to its queue, which counts
/// that and makes it a dead letter.
const UNDECIDED_AGE_MAX: Duration = Duration::from_hours(96);
const UNDECIDED_TRIES_MIN: u32 = 100;

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

/// Decides what `result` means for the message with `envelope`. `may_return`: to return the message is a way to end it, as it
/// is where a queue makes a dead letter of it. In `serve` the returns count the ends of the process and nothing else, so there
/// a message about which nothing can be decided is sent on for as long as that lasts.
pub(super) fn decide(envelope: Envelope, result: Result<Next>, now: Timestamp, may_return: bool) -> Disposition {
    match result {
        Ok(Next::Done) => Disposition::Remove,
        Ok(Next::Send(messages)) => Disposition::Send(messages),
        Ok(Next::Again(delay)) => Disposition::HandOver(Box::new(envelope.again(delay))),
        Ok(Next::AgainWhenResumed(host, delay)) => {
            Disposition::HandOver(Box::new(envelope.again(delay).waiting_for(Some(host))))
        }
        Err(_) => match undecided_wait(&envelope, now) {
            Some(delay) => Disposition::HandOver(Box::new(envelope.again_undecided(delay))),
            None if may_return => Disposition::Return,
            // The next one of a periodic job follows anyway.
            None if envelope.job.is_periodic() => Disposition::Remove,
            None => {
                let delay = UNDECIDED_BACKOFF.wait(envelope.undecided);
                Disposition::HandOver(Box::new(envelope.again_undecided(delay)))
            }
        },
    }
}

/// The wait of a message about which nothing could be decided. [`None`] if it is not sent on: a periodic job, because the
/// next one follows anyway, and a message that is too old. Patience is measured in time, and the wait grows only with the tries
/// in which nothing could be decided: a message may have been sent on often because it had to wait.
fn undecided_wait(envelope: &Envelope, now: Timestamp) -> Option<Duration> {
    let created = envelope.job.execution().map(|execution| execution.created);
    let age = created.and_then(|created| Duration::try_from(now.duration_since(created)).ok());
    let is_old = age.is_some_and(|age| age >= UNDECIDED_AGE_MAX) && envelope.undecided >= UNDECIDED_TRIES_MIN;
    if envelope.job.is_periodic() || is_old {
        return None;
    }
    Some(UNDECIDED_BACKOFF.wait(envelope.undecided))
}

#[cfg(test)]
mod tests {
    use transship_engine::Sweep;
    use transship_oci::{Code, Error, Verb};
    use transship_testkit::suites::copy_task;

    use super::*;

    fn envelope(tries: u32) -> Envelope {
        Envelope {
            tries,
            ..Envelope::new(copy_task(1))
        }
    }

    /// The same, and nothing could be decided in any of them.
    fn undecided(tries: u32) -> Envelope {
        Envelope {
            undecided: tries,
            ..envelope(tries)
        }
    }

    fn after(age: Duration) -> Timestamp {
        let created = copy_task(1).execution.created;
        created.checked_add(age).unwrap()
    }

    #[test]
    fn waits_grow_with_the_tries_and_end_with_time() {
        let waits =
            |tries: u32, age: Duration| undecided_wait(&undecided(tries), after(age)).map(|wait| wait.as_secs());
        let seconds = [0, 1, 3, 7, 8, 20].map(|tries| waits(tries, Duration::ZERO));
        assert_eq!(seconds, [5, 10, 40, 640, 900, 900].map(Some));
        let many = 100_000;
        assert_eq!(waits(many, UNDECIDED_AGE_MAX / 2), Some(900));
        assert_eq!(waits(UNDECIDED_TRIES_MIN - 1, UNDECIDED_AGE_MAX), Some(900));
        assert_eq!(waits(UNDECIDED_TRIES_MIN, UNDECIDED_AGE_MAX), None);
    }

    #[test]
    fn only_tries_without_a_decision_make_the_next_wait_longer() {
        let next = |envelope, result| match decide(envelope, result, after(Duration::ZERO), true) {
            Disposition::HandOver(next) => (next.envelope, next.delay.as_secs()),
            other => panic!("{other:?}"),
        };
        let failed = || Err(Error::of(Code::LedgerUnavailable, Verb::Ledger));
        // It was sent on nine times because it had to wait for others.
        let (first, wait) = next(envelope(9), failed());
        assert_eq!((first.tries, wait), (10, 5));
        let (second, wait) = next(first, failed());
        assert_eq!(wait, 10);
        let (decided, wait) = next(second, Ok(Next::Again(Duration::from_secs(1))));
        assert_eq!(wait, 1);
        assert_eq!(next(decided, failed()).1, 5);
    }

    #[test]
    fn a_wait_counts_as_a_try() {
        let delay = Duration::from_secs(30);
        let Disposition::HandOver(next) = decide(envelope(4), Ok(Next::Again(delay)), after(delay), true) else {
            panic!("it is not sent on")
        };
        assert_eq!((next.envelope.tries, next.delay), (5, delay));
        assert_eq!(
            decide(envelope(4), Ok(Next::Done), after(delay), true),
            Disposition::Remove
        );
    }

    #[test]
    fn only_a_queue_that_makes_dead_letters_gets_a_message_back() {
        let failed = || Err(Error::of(Code::LedgerUnavailable, Verb::Ledger));
        let old = UNDECIDED_AGE_MAX;
        assert_eq!(decide(undecided(1000), failed(), after(old), true), Disposition::Return);
        let Disposition::HandOver(next) = decide(undecided(1000), failed(), after(old), false) else {
            panic!("it is not sent on")
        };
        assert_eq!(next.delay, Duration::from_mins(15));
        let sweep = || Envelope::new(Sweep::default());
        assert_eq!(decide(sweep(), failed(), after(old), true), Disposition::Return);
        assert_eq!(decide(sweep(), failed(), after(old), false), Disposition::Remove);
    }
}
