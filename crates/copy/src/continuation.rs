//! Uploads that outlive their worker.
//!
//! What must hold: only what the destination acknowledged is saved, with the hash of exactly those bytes. A continuation holds
//! an upload location, which is a capability: it goes into the ledger and nowhere else.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use transship_oci::{Digest, Result};

/// An upload that another process can continue.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// The digest of the blob.
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

/// Stores the unfinished uploads of one task at one destination. If an entry is lost, the blob is sent again.
#[async_trait]
pub trait Continuations: Send + Sync {
    /// The stored state of the upload of `blob`; [`None`] if there is none.
    async fn find(&self, blob: &Digest) -> Option<Continuation>;

    /// Stores the state, and replaces the earlier state of the same blob. After an error it may not be stored.
    async fn save(&self, continuation: &Continuation) -> Result<()>;

    /// Removes the state of the upload of `blob`, which has arrived or whose session is lost.
    async fn remove(&self, blob: &Digest);
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
}
