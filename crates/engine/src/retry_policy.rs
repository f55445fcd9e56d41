//! How long a task is tried, and how long it waits between two tries.

use std::time::Duration;

use jiff::Timestamp;
use transship_copy::TimeBudget;
use transship_oci::{Backoff, Code, Error};

use crate::{Execution, Trigger};

/// How long after its event a source tag may still not be what the event said. Distribution sends the notification of a
/// manifest before it writes the tag (2.8.2, `PutManifest`), Harbor has been seen to (goharbor/harbor 14245).
const TAG_SETTLE_TIME: Duration = Duration::from_secs(10);

/// The first tries always count as too early, because the age of an event compares two clocks, and the sender's may be
/// minutes behind.
const SETTLE_TRIES_MIN: u32 = 3;
/// Later tries never count as too early: the sender's clock may be minutes ahead, too.
const SETTLE_TRIES_MAX: u32 = 12;

/// The shortest wait between two tries.
pub(crate) const DELAY_MIN: Duration = Duration::from_secs(1);

/// How long an image waits for the referrer that its rule requires. Builds sign an image within minutes of its push.
pub(crate) const REFERRER_TIMEOUT: Duration = Duration::from_hours(1);

/// The longest wait until a task looks again whether a blob came that another task sends.
const FOR_BLOB_MAX: Duration = Duration::from_secs(10);

/// The longest wait until a referrer looks again whether its image arrived. It waits for another task, not for a registry that
/// is busy, and a look costs the source one request.
const FOR_SUBJECT_MAX: Duration = Duration::from_secs(30);

/// The wait before it is looked again whether a source allows more pulls.
const FOR_QUOTA: Duration = Duration::from_mins(15);

/// How long a task keeps its worker while another task sends a blob that it needs. A small one comes within that time.
pub(crate) const BLOB_PATIENCE: Duration = Duration::from_secs(5);

/// The waits between the attempts of a task, before the jitter and the maximum of its retry policy.
const ATTEMPT_BACKOFF: Backoff = Backoff::doubling(DELAY_MIN, Duration::from_secs(4096));

/// How long a task that may still succeed is tried.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// A task older than this, that has been tried at least `attempts` times, ends with the code of its last attempt.
    pub age: Duration,
    /// See `age`.
    pub attempts: u32,
    /// The longest wait between two attempts.
    pub max_delay: Duration,
}

/// How long a task waits before its next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all: nothing failed, only the time slot of its worker is over.
    AtOnce,
    /// As long as the registry asked for, in every try.
    Asked(Duration),
    /// From [`DELAY_MIN`], longer after each try.
    Growing,
    /// The same for a referrer that the rule requires, for [`REFERRER_TIMEOUT`] at most. Its push ends the wait.
    ForReferrer,
    /// From [`DELAY_MIN`] to [`FOR_SUBJECT_MAX`], until the task of the image that a referrer belongs to has ended.
    ForSubject,
    /// The same as [`Wait::Growing`] for a newer version of the document, however long it takes.
    ForDocument,
    /// The same for the end of a switch of a failover group, however long it takes.
    ForSwitch,
    /// From [`DELAY_MIN`] to [`FOR_BLOB_MAX`], until another task has sent a blob, however long it takes.
    ForBlob,
    /// [`FOR_QUOTA`], until the source allows more pulls, however long it takes.
    ForQuota,
}

impl Wait {
    /// The wait after an error. A registry that asks for no wait (`Retry-After: 0`, or a date that has passed) is busy all the
    /// same, so the wait grows.
    pub(crate) fn of(error: &Error) -> Self {
        if error.is(Code::SlotOver) {
            return Self::AtOnce;
        }
        if matches!(error.kind(), Code::FailoverUnderWay | Code::FailoverEpochUnknown) {
            return Self::ForSwitch;
        }
        if error.is(Code::BlobUnderWay) {
            return Self::ForBlob;
        }
        if error.is(Code::PullQuotaLow) {
            return Self::ForQuota;
        }
        if error.is(Code::ReferrersMissing) {
            return Self::ForReferrer;
        }
        match error.persistence().retry_after() {
            Some(asked) if asked >= DELAY_MIN => Self::Asked(asked),
            _ => Self::Growing,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            age: Duration::from_hours(24),
            attempts: 10,
            max_delay: Duration::from_mins(5),
        }
    }
}

impl RetryPolicy {
    /// The delay after try number `tries`.
    pub(crate) fn delay(&self, tries: u32, id: &str, wait: Wait) -> Duration {
        match wait {
            Wait::AtOnce => Duration::ZERO,
            Wait::Asked(asked) => asked,
            Wait::Growing | Wait::ForReferrer | Wait::ForDocument | Wait::ForSwitch => {
                backoff(tries, id).min(self.max_delay)
            }
            Wait::ForQuota => FOR_QUOTA,
            Wait::ForBlob => backoff(tries, id).min(FOR_BLOB_MAX),
            Wait::ForSubject => backoff(tries, id).min(FOR_SUBJECT_MAX),
        }
    }

    /// True if a task of `execution` that was tried `attempts` times is not tried again.
    pub(crate) fn is_exhausted(&self, execution: &Execution, now: Timestamp, attempts: u32) -> bool {
        attempts >= self.attempts && execution.age(now) >= self.age
    }
}

impl Execution {
    /// True if the event is so recent that the source tag may still have its previous value.
    pub(crate) fn is_settling(&self, now: Timestamp, tries: u32) -> bool {
        self.trigger == Trigger::Event && self.is_early(now, tries, TAG_SETTLE_TIME)
    }

    /// True if the event is so recent that the source tag may still have its previous value, regardless of the tries.
    pub(crate) fn is_recent(&self, now: Timestamp) -> bool {
        self.trigger == Trigger::Event && self.age(now) < TAG_SETTLE_TIME
    }

    /// True if a tag that may lag `behind` the event by this time may still do so.
    pub(crate) fn is_early(&self, now: Timestamp, tries: u32, behind: Duration) -> bool {
        tries <= SETTLE_TRIES_MIN || tries <= SETTLE_TRIES_MAX && self.age(now) < behind
    }

    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.created)).unwrap_or_default()
    }
}

/// The number that the waits of a task grow with. Where there are slots a wait is a new message, and two messages of one task
/// share its attempts: counted together, each alone would wait too long.
pub(crate) fn tries_of(attempt: u32, tries: u32, budget: Option<TimeBudget>) -> u32 {
    budget.map_or(attempt, |_| attempt.min(tries.saturating_add(1)))
}

/// 1, 2, 4 … seconds, up to a quarter more by the task's own id, so that tasks that failed together do not come together.
fn backoff(attempt: u32, id: &str) -> Duration {
    let base = ATTEMPT_BACKOFF.wait(attempt.saturating_sub(1));
    let spread = u32::from(
        id.bytes()
            .fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)),
    );
    base + base * spread / 1024
}

#[cfg(test)]
mod tests {
    use transship_oci::{Persistence, Verb};

    use super::*;

    #[test]
    fn a_registry_that_asks_for_no_wait_gets_one_that_grows() {
        let wait = |asked| {
            let error = Error::of(Code::RegistryUnavailable, Verb::Copy);
            Wait::of(&error.with_persistence(Persistence::Temporary(asked)))
        };
        let [second, hour] = [Duration::from_secs(1), Duration::from_hours(1)];
        assert_eq!([wait(None), wait(Some(Duration::ZERO))], [Wait::Growing; 2]);
        assert_eq!(wait(Some(second / 2)), Wait::Growing);
        assert_eq!([wait(Some(second)), wait(Some(hour))], [second, hour].map(Wait::Asked));
        let over = Error::of(Code::SlotOver, Verb::Copy);
        assert_eq!(Wait::of(&over), Wait::AtOnce);
    }

    #[test]
    fn waits_grow_and_differ_by_task() {
        assert!(backoff(1, "a") >= Duration::from_secs(1) && backoff(1, "a") < Duration::from_millis(1300));
        assert!(backoff(5, "a") > backoff(4, "a"));
        assert_ne!(backoff(3, "t-1"), backoff(3, "t-2"));
        assert!(backoff(u32::MAX, "a") < Duration::from_hours(2));
    }
}
