//! What a copy tells while it runs.

use transship_oci::Digest;

/// Receives every step of a copy, from any of its tasks. Must not block.
pub trait Progress: Send + Sync {
    /// Called once per step.
    fn step(&self, step: Step<'_>);
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// The graph is known: so many blobs of so many bytes may have to move.
    Planned {
        /// Unique blobs.
        blobs: usize,
        /// Their declared bytes.
        bytes: u64,
    },
    /// A blob's transfer begins.
    BlobBegin {
        /// Which.
        digest: &'a Digest,
        /// Its declared size.
        size: u64,
    },
    /// Bytes of a blob went to the destination.
    BlobBytes {
        /// Which.
        digest: &'a Digest,
        /// How many more.
        bytes: u64,
    },
    /// An upload broke and begins again: bytes counted so far do not count.
    BlobRestart {
        /// Which.
        digest: &'a Digest,
        /// Bytes taken back.
        bytes: u64,
    },
    /// A blob is at the destination.
    BlobEnd {
        /// Which.
        digest: &'a Digest,
        /// Its declared size.
        size: u64,
        /// How it came there.
        how: BlobEnd,
    },
    /// A manifest was written.
    ManifestPut {
        /// Which.
        digest: &'a Digest,
    },
}

/// How a blob came to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobEnd {
    /// Its bytes were sent.
    Copied,
    /// The registry took it from another repository.
    Mounted,
    /// It was there.
    Skipped,
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn step(&self, _: Step<'_>) {}
}
