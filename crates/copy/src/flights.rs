//! Blobs on their way: of the copies in one process that need a blob at one registry, one sends it, and the others wait and
//! mount it.
//!
//! What must hold: a sender waits for no other sender, so none waits for itself; and however a sender ends, those that wait go on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use transship_oci::{Digest, Repository};

use crate::BlobLocation;

/// Blobs that arrived and are remembered, for copies that began before their locations were stored.
const LANDED_MAX: usize = 10_000;

/// The blobs that this process sends to one registry, or sent to it lately.
#[derive(Debug, Default)]
pub struct Flights {
    blobs: Mutex<HashMap<Key, Flight>>,
}

/// A blob; where the registry mounts nothing, a blob of one repository.
type Key = (Digest, Option<Repository>);

#[derive(Debug)]
enum Flight {
    /// The channel closes when the sender ends.
    Sending(watch::Receiver<()>),
    Landed(BlobLocation),
}

/// What a copy that needs a blob has to do.
pub(crate) enum Turn<'a> {
    /// Send it.
    Send(Sending<'a>),
    /// Another copy brought it there.
    Landed(BlobLocation),
}

/// The duty to send a blob. If it is dropped before [`Sending::landed`], another copy sends the blob.
pub(crate) struct Sending<'a> {
    flights: &'a Flights,
    key: Key,
    /// Kept until the end, which closes the channel.
    _open: watch::Sender<()>,
    is_landed: bool,
}

impl Flights {
    /// Waits until no other copy sends the blob. `repository`: the destination, if only this repository can use the blob.
    pub(crate) async fn turn(&self, digest: &Digest, repository: Option<&Repository>) -> Turn<'_> {
        let key = (digest.clone(), repository.cloned());
        loop {
            let mut ended = {
                let mut blobs = self.blobs();
                match blobs.get(&key) {
                    Some(Flight::Landed(location)) => return Turn::Landed(location.clone()),
                    Some(Flight::Sending(ended)) => ended.clone(),
                    None => {
                        let (open, ended) = watch::channel(());
                        blobs.insert(key.clone(), Flight::Sending(ended));
                        return Turn::Send(Sending {
                            flights: self,
                            key,
                            _open: open,
                            is_landed: false,
                        });
                    }
                }
            };
            // Nothing is ever sent, so this ends when the channel is closed.
            let _: Result<(), _> = ended.changed().await;
        }
    }

    /// Forgets that the blob arrived, because it could not be mounted from there.
    pub(crate) fn forget(&self, digest: &Digest, repository: Option<&Repository>) {
        let key = (digest.clone(), repository.cloned());
        let mut blobs = self.blobs();
        if matches!(blobs.get(&key), Some(Flight::Landed(_))) {
            blobs.remove(&key);
        }
    }

    fn blobs(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending<'_> {
    /// The blob is at `location` now.
    pub(crate) fn landed(mut self, location: BlobLocation) {
        let mut blobs = self.flights.blobs();
        if blobs.len() >= LANDED_MAX {
            blobs.retain(|_, flight| matches!(flight, Flight::Sending(_)));
        }
        blobs.insert(self.key.clone(), Flight::Landed(location));
        self.is_landed = true;
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.is_landed {
            self.flights.blobs().remove(&self.key);
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

    fn location(name: &str) -> BlobLocation {
        BlobLocation {
            repositories: vec![name.parse().unwrap()],
            sources: Vec::new(),
        }
    }

    async fn sending<'a>(flights: &'a Flights, digest: &Digest) -> Sending<'a> {
        match flights.turn(digest, None).await {
            Turn::Send(sending) => sending,
            Turn::Landed(_) => panic!("nobody sent it"),
        }
    }

    #[tokio::test]
    async fn one_sends_and_the_others_learn_where_the_blob_is() {
        let flights = Flights::default();
        let shared = blob(1);
        let first = sending(&flights, &shared).await;
        let mut second = Box::pin(flights.turn(&shared, None));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        drop(sending(&flights, &blob(2)).await);
        first.landed(location("a"));
        for turn in [second.await, flights.turn(&blob(1), None).await] {
            assert!(matches!(turn, Turn::Landed(found) if found == location("a")));
        }
    }

    #[tokio::test]
    async fn when_a_sender_fails_one_of_the_others_sends() {
        let flights = Flights::default();
        let shared = blob(1);
        let first = sending(&flights, &shared).await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(flights.turn(&shared, None))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        drop(first);
        let mut ready = waiting.iter_mut().filter_map(|turn| turn.as_mut().now_or_never());
        assert!(matches!(ready.next(), Some(Turn::Send(_))));
    }

    #[tokio::test]
    async fn repositories_that_cannot_mount_do_not_wait_for_each_other() {
        let flights = Flights::default();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let Turn::Send(_first) = flights.turn(&blob(1), Some(&a)).await else {
            panic!("first")
        };
        assert!(matches!(flights.turn(&blob(1), Some(&b)).await, Turn::Send(_)));
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_and_can_be_forgotten() {
        let flights = Flights::default();
        let open = sending(&flights, &blob(0)).await;
        for number in 1..25_000 {
            sending(&flights, &blob(number)).await.landed(location("a"));
        }
        assert!(flights.blobs().len() <= LANDED_MAX);
        assert!(flights.turn(&blob(0), None).now_or_never().is_none(), "still under way");
        drop(open);
        flights.forget(&blob(24_999), None);
        drop(sending(&flights, &blob(24_999)).await);
    }
}
