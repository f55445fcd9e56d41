//! The pushes that were accepted a moment ago, so that one push that is reported several times makes one task.
//!
//! Many registries report a push more than once: in two kinds of events, once for each replica of the registry, or once for
//! each manifest of an index. A later report gets the id of the task of the first one. It is sent to the queue nevertheless,
//! and the worker that receives it after that task has ended compares both sides, so no push is lost if the reports were of
//! two pushes: see [`crate::CopyTask::own`].
//!
//! What must hold: a tag that goes from A to B and back to A makes three tasks. The memory is that of one process: two
//! instances of a function may each make a task, of which one ends `unchanged`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use transship_oci::Digest;

/// How long reports of the same digest are reports of one push. Registries send a report again, and replicas catch up, within
/// minutes.
const SAME_DIGEST_WINDOW: Duration = Duration::from_mins(10);
/// The same if a report names no digest, so that it may be of another push.
const SAME_TAG_WINDOW: Duration = Duration::from_mins(1);
/// Maximum number of pushes in memory, about 2 MiB.
const PUSHES_MAX: usize = 8192;

/// The first report of a push.
#[derive(Debug, Clone)]
struct Report {
    digest: Option<Digest>,
    occurrence: String,
    received: Timestamp,
}

#[derive(Debug, Default)]
struct Pushes {
    by_key: HashMap<String, Report>,
    /// The keys, the one that was added first in front.
    order: VecDeque<String>,
}

/// The last push to each destination of a rule, for some minutes.
#[derive(Debug, Default)]
pub struct RecentPushes(Mutex<Pushes>);

impl RecentPushes {
    /// The occurrence of the push that a report of `digest` is about: that of its first report, otherwise `occurrence`.
    /// `key` identifies rule, source tag and destination.
    pub(crate) fn occurrence_of(
        &self,
        key: String,
        digest: Option<&Digest>,
        occurrence: String,
        received: Timestamp,
    ) -> String {
        let mut pushes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = pushes.by_key.get_mut(&key) {
            if first.is_of(digest, received) {
                first.digest = first.digest.take().or_else(|| digest.cloned());
                return first.occurrence.clone();
            }
        } else {
            if pushes.order.len() >= PUSHES_MAX
                && let Some(oldest) = pushes.order.pop_front()
            {
                pushes.by_key.remove(&oldest);
            }
            pushes.order.push_back(key.clone());
        }
        let report = Report {
            digest: digest.cloned(),
            occurrence: occurrence.clone(),
            received,
        };
        pushes.by_key.insert(key, report);
        occurrence
    }

    /// Forgets the push of `key`, whose tag was deleted: the next report is of another push.
    pub(crate) fn forget(&self, key: &str) {
        let mut pushes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pushes.by_key.remove(key).is_some() {
            pushes.order.retain(|known| known != key);
        }
    }
}

impl Report {
    /// True if a report of `digest` that was received at `received` may be of the same push.
    fn is_of(&self, digest: Option<&Digest>, received: Timestamp) -> bool {
        let window = match (&self.digest, digest) {
            (Some(first), Some(digest)) if first == digest => SAME_DIGEST_WINDOW,
            (Some(_), Some(_)) => return false,
            _ => SAME_TAG_WINDOW,
        };
        let age = Duration::try_from(received.duration_since(self.received));
        age.is_ok_and(|age| age <= window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn reported(pushes: &RecentPushes, digest: Option<&Digest>, occurrence: &str, seconds: i64) -> String {
        pushes.occurrence_of("key".to_owned(), digest, occurrence.to_owned(), at(seconds))
    }

    #[test]
    fn a_push_after_a_delete_is_another_push() {
        let pushes = RecentPushes::default();
        let digest = Digest::sha256(b"1");
        assert_eq!(reported(&pushes, Some(&digest), "a", 0), "a");
        pushes.forget("key");
        pushes.forget("another key");
        assert_eq!(reported(&pushes, Some(&digest), "b", 1), "b");
        assert_eq!(reported(&pushes, Some(&digest), "c", 2), "b");
    }

    #[test]
    fn reports_of_one_digest_are_one_push_for_ten_minutes() {
        let pushes = RecentPushes::default();
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        assert_eq!(reported(&pushes, Some(&one), "a", 0), "a");
        assert_eq!(reported(&pushes, Some(&one), "b", 600), "a");
        assert_eq!(reported(&pushes, Some(&one), "c", 601), "c");
        assert_eq!(reported(&pushes, Some(&two), "d", 602), "d", "another digest");
        assert_eq!(reported(&pushes, Some(&one), "e", 603), "e", "the tag went back");
        assert_eq!(reported(&pushes, Some(&one), "f", 500), "f", "the clock was set back");
    }

    #[test]
    fn reports_without_a_digest_are_one_push_for_one_minute() {
        let pushes = RecentPushes::default();
        let one = Digest::sha256(b"1");
        assert_eq!(reported(&pushes, None, "a", 0), "a");
        assert_eq!(reported(&pushes, None, "b", 60), "a");
        assert_eq!(reported(&pushes, Some(&one), "c", 60), "a", "it says which one it was");
        assert_eq!(reported(&pushes, Some(&one), "d", 600), "a");
        assert_eq!(reported(&pushes, None, "e", 61), "e");
        assert_eq!(reported(&pushes, Some(&Digest::sha256(b"2")), "f", 62), "e");
    }

    #[test]
    fn the_memory_is_bounded() {
        let pushes = RecentPushes::default();
        let again = |number: usize, occurrence: &str| {
            pushes.occurrence_of(number.to_string(), None, occurrence.to_owned(), at(0))
        };
        for number in 0..=PUSHES_MAX {
            again(number, "first");
        }
        let held = pushes.0.lock().unwrap();
        assert_eq!((held.by_key.len(), held.order.len()), (PUSHES_MAX, PUSHES_MAX));
        drop(held);
        assert_eq!(again(PUSHES_MAX, "second"), "first");
        assert_eq!(again(0, "second"), "second", "it was forgotten");
    }
}
