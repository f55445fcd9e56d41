//! What outlives a worker: how far the upload of a blob got, and how long this worker has.
//!
//! What must hold: only what the destination acknowledged is saved, with the hash of exactly those bytes. A continuation holds
//! an upload location, which is a capability: it goes into the ledger and nowhere else.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use transship_oci::{Digest, Result};

/// An upload that can be taken up by another process.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// The blob.
    pub digest: Digest,
    /// Where the next request of the session goes. Never shown.
    pub location: String,
    /// Bytes the destination acknowledged.
    pub offset: u64,
    /// The state of the hash over those bytes: [`transship_oci::Hasher::save`].
    pub hash: Vec<u8>,
    /// How often the upload was handed to another worker.
    pub hops: u32,
}

impl fmt::Debug for Continuation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Continuation")
            .field("digest", &self.digest)
            .field("offset", &self.offset)
            .field("hops", &self.hops)
            .finish_non_exhaustive()
    }
}

/// The memory of uploads under way, of one task at one destination. One that forgets costs the blob's bytes again.
#[async_trait]
pub trait Continuations: Send + Sync {
    /// What is known of the upload of `blob`.
    async fn find(&self, blob: &Digest) -> Option<Continuation>;

    /// Remembers it, in place of what was known of its blob. An error means that it is not known to be remembered.
    async fn save(&self, continuation: &Continuation) -> Result<()>;

    /// Forgets the upload of `blob`: it is there, or its session is lost.
    async fn remove(&self, blob: &Digest);
}

/// The time a worker has, with the margin it needs to hand over.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    end: Instant,
    margin: Duration,
}

impl Slot {
    /// A slot of `length` that is cut off at `deadline`: it ends earlier by the greater of half a second and a tenth.
    pub fn until(deadline: Instant, length: Duration) -> Self {
        let margin = (length / 10).max(Duration::from_millis(500));
        Self {
            end: deadline.checked_sub(margin).unwrap_or(deadline),
            margin,
        }
    }

    /// The part of the margin that a copy may use to say what it got done: whoever called it has the rest.
    pub fn grace(&self) -> Duration {
        self.margin / 4
    }

    /// How long work may still go on; zero when the slot is over.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_never_shows_its_location() {
        let continuation = Continuation {
            digest: Digest::sha256(b"blob"),
            location: "https://registry.example/v2/a/blobs/uploads/1?_state=canary".into(),
            offset: 7,
            hash: b"canary".to_vec(),
            hops: 1,
        };
        let shown = format!("{continuation:?}");
        assert!(shown.contains("offset: 7") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_slot_ends_before_its_deadline() {
        let begin = Instant::now();
        let slot = |seconds| {
            let length = Duration::from_secs(seconds);
            Slot::until(begin + length, length).end - begin
        };
        assert_eq!(slot(2), Duration::from_millis(1500));
        assert_eq!(slot(60), Duration::from_secs(54));
        assert!(Slot::until(begin, Duration::ZERO).left().is_zero());
    }
}
