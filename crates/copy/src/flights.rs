//! Blobs on their way: of the copies in one process that need a blob at one registry, one sends it, and the others wait and
//! mount it; of those that need it in one repository, one sends or mounts it there, and the others find it there.
//!
//! What must hold: a copy that has the duty to send a blob waits for no other copy, so that none waits for itself; and however a
//! duty ends, those that wait go on.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use transship_oci::{Digest, Repository};

use crate::BlobLocation;
use crate::precedence::Precedence;

/// Ends that are remembered, for copies that began before.
const ENDED_MAX: usize = 10_000;
/// After so many mounts that failed, one after the other, the registry seems to mount nothing.
const FAILED_MOUNTS_MAX: u32 = 3;
/// How long a blob that came to a repository is not asked for again. A registry that collects garbage removes what no manifest
/// names, but only some time after it came.
const IN_PLACE_FOR: Duration = Duration::from_mins(1);

/// The blobs that this process sends or mounts at one registry, and those that it sent or mounted there before.
#[derive(Debug, Default)]
pub struct Flights {
    /// Blobs that are sent, and from where those that were sent can be mounted.
    sent: Turns<Digest, BlobLocation>,
    /// Blobs that are sent or mounted to a repository, and when they came.
    placed: Turns<(Digest, Repository), Instant>,
    /// Mounts that failed, since one succeeded.
    failed_mounts: AtomicU32,
    /// Which copies have precedence.
    precedence: Precedence,
}

impl Flights {
    /// How long the transfers of large blobs gave way to small images, in all.
    pub fn gave_way(&self) -> Duration {
        self.precedence.gave_way()
    }

    /// Which copies to the registry have precedence.
    pub(crate) const fn precedence(&self) -> &Precedence {
        &self.precedence
    }

    /// False if the registry seems to mount nothing. Then no copy waits in order to mount.
    pub(crate) fn do_mounts_succeed(&self) -> bool {
        self.failed_mounts.load(Ordering::Relaxed) < FAILED_MOUNTS_MAX
    }

    /// Notes how a mount ended.
    pub(crate) fn mounted(&self, has_succeeded: bool) {
        if has_succeeded {
            self.failed_mounts.store(0, Ordering::Relaxed);
        } else {
            self.failed_mounts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The turn to send a blob to the registry, from where it can be mounted to all its repositories.
    pub(crate) fn send(&self, digest: &Digest) -> Turn<'_, Digest, BlobLocation> {
        self.sent.turn(digest)
    }

    /// From where a blob can be mounted that this process sent.
    pub(crate) fn sent(&self, digest: &Digest) -> Option<BlobLocation> {
        match self.sent.entries().get(digest) {
            Some(Entry::Ended(location)) => Some(location.clone()),
            Some(Entry::Open(_)) | None => None,
        }
    }

    /// The turn to bring a blob to `repository`.
    pub(crate) fn place(&self, digest: &Digest, repository: &Repository) -> Turn<'_, (Digest, Repository), Instant> {
        let key = (digest.clone(), repository.clone());
        self.placed.forget_if(&key, |placed| placed.elapsed() > IN_PLACE_FOR);
        self.placed.turn(&key)
    }

    /// Forgets that the blob is in `repository`, because it is not.
    pub(crate) fn forget(&self, digest: &Digest, repository: &Repository) {
        let key = (digest.clone(), repository.clone());
        self.placed.forget_if(&key, |_| true);
        self.sent
            .forget_if(digest, |location| location.repositories.contains(repository));
    }
}

/// Turns to do something, by what it is done to.
#[derive(Debug)]
struct Turns<K, V>(Mutex<HashMap<K, Entry<V>>>);

#[derive(Debug)]
enum Entry<V> {
    /// The channel closes when the duty ends.
    Open(watch::Receiver<()>),
    Ended(V),
}

/// What a copy has to do.
pub(crate) enum Turn<'a, K: Clone + Eq + Hash, V> {
    /// Do it.
    Mine(Duty<'a, K, V>),
    /// Wait, and take the turn again.
    Busy(Busy),
    /// Another copy did it.
    Ended(V),
}

/// Another copy has the duty.
pub(crate) struct Busy(watch::Receiver<()>);

/// If it is dropped before [`Duty::end`], another copy has the duty.
pub(crate) struct Duty<'a, K: Clone + Eq + Hash, V> {
    turns: &'a Turns<K, V>,
    key: K,
    /// Kept until the end, which closes the channel.
    _open: watch::Sender<()>,
    has_ended: bool,
}

impl<K, V> Default for Turns<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Turns<K, V> {
    fn turn(&self, key: &K) -> Turn<'_, K, V> {
        let mut entries = self.entries();
        match entries.get(key) {
            Some(Entry::Ended(value)) => Turn::Ended(value.clone()),
            Some(Entry::Open(ended)) => Turn::Busy(Busy(ended.clone())),
            None => {
                let (open, ended) = watch::channel(());
                entries.insert(key.clone(), Entry::Open(ended));
                Turn::Mine(Duty {
                    turns: self,
                    key: key.clone(),
                    _open: open,
                    has_ended: false,
                })
            }
        }
    }

    fn forget_if(&self, key: &K, is_wrong: impl FnOnce(&V) -> bool) {
        let mut entries = self.entries();
        if matches!(entries.get(key), Some(Entry::Ended(value)) if is_wrong(value)) {
            entries.remove(key);
        }
    }
}

impl<K, V> Turns<K, V> {
    fn entries(&self) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    /// Waits until the other copy ended.
    pub(crate) async fn ended(mut self) {
        // Nothing is ever sent, so this ends when the channel is closed.
        let _: Result<(), _> = self.0.changed().await;
    }
}

impl<K: Clone + Eq + Hash, V> Duty<'_, K, V> {
    /// It is done.
    pub(crate) fn end(mut self, value: V) {
        let mut entries = self.turns.entries();
        if entries.len() >= ENDED_MAX {
            entries.retain(|_, entry| matches!(entry, Entry::Open(_)));
        }
        entries.insert(self.key.clone(), Entry::Ended(value));
        self.has_ended = true;
    }
}

impl<K: Clone + Eq + Hash, V> Drop for Duty<'_, K, V> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.turns.entries().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn blob(number: u32) -> Digest {
        Digest::sha256(&number.to_be_bytes())
    }

    fn name(text: &str) -> Repository {
        text.parse().unwrap()
    }

    fn location(repository: &str) -> BlobLocation {
        BlobLocation {
            repositories: vec![name(repository)],
            sources: Vec::new(),
        }
    }

    fn mine<K: Clone + Eq + Hash, V>(turn: Turn<'_, K, V>) -> Duty<'_, K, V> {
        match turn {
            Turn::Mine(duty) => duty,
            Turn::Busy(_) | Turn::Ended(_) => panic!("nobody else has it"),
        }
    }

    fn busy<K: Clone + Eq + Hash, V>(turn: Turn<'_, K, V>) -> Busy {
        match turn {
            Turn::Busy(busy) => busy,
            Turn::Mine(_) | Turn::Ended(_) => panic!("somebody has it"),
        }
    }

    #[tokio::test]
    async fn one_sends_and_the_others_learn_where_the_blob_is() {
        let flights = Flights::default();
        let first = mine(flights.send(&blob(1)));
        let mut second = Box::pin(busy(flights.send(&blob(1))).ended());
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        assert_eq!(flights.sent(&blob(1)), None);
        drop(mine(flights.send(&blob(2))));
        first.end(location("a"));
        second.await;
        assert!(matches!(flights.send(&blob(1)), Turn::Ended(found) if found == location("a")));
        assert_eq!(flights.sent(&blob(1)), Some(location("a")));
    }

    #[tokio::test]
    async fn when_a_sender_fails_one_of_the_others_sends() {
        let flights = Flights::default();
        let first = mine(flights.send(&blob(1)));
        let waiting: Vec<Busy> = (0..3).map(|_| busy(flights.send(&blob(1)))).collect();
        drop(first);
        for one in waiting {
            one.ended().await;
        }
        let _second = mine(flights.send(&blob(1)));
        busy(flights.send(&blob(1)));
    }

    #[test]
    fn repositories_do_not_wait_for_each_other() {
        let flights = Flights::default();
        let first = mine(flights.place(&blob(1), &name("a")));
        let _other = mine(flights.place(&blob(1), &name("b")));
        busy(flights.place(&blob(1), &name("a")));
        first.end(Instant::now());
        assert!(matches!(flights.place(&blob(1), &name("a")), Turn::Ended(_)));
    }

    #[test]
    fn a_blob_that_came_a_while_ago_is_looked_at_again() {
        let flights = Flights::default();
        let before = Instant::now().checked_sub(2 * IN_PLACE_FOR).unwrap();
        mine(flights.place(&blob(1), &name("a"))).end(before);
        mine(flights.place(&blob(1), &name("a")));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_can_be_forgotten() {
        let flights = Flights::default();
        let open = mine(flights.send(&blob(0)));
        for number in 1..25_000 {
            mine(flights.send(&blob(number))).end(location("a"));
        }
        assert!(flights.sent.entries().len() <= ENDED_MAX);
        busy(flights.send(&blob(0)));
        drop(open);
        flights.forget(&blob(24_999), &name("b"));
        assert!(flights.sent(&blob(24_999)).is_some(), "it was said to be elsewhere");
        flights.forget(&blob(24_999), &name("a"));
        drop(mine(flights.send(&blob(24_999))));
    }
}
