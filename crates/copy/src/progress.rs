//! Progress of a running copy.

use transship_oci::Digest;

/// Receives every step of a copy, from any of its tasks. Must not block.
pub trait Progress: Send + Sync {
    /// Called once per step.
    fn step(&self, step: Step<'_>);
}

/// One step of a copy.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// The graph is known, and which blobs may have to move.
    Planned {
        /// Number of distinct blobs.
        blobs: usize,
        /// Sum of their declared sizes, in bytes.
        bytes: u64,
    },
    /// A blob's transfer begins.
    BlobBegin {
        /// The digest of it.
        digest: &'a Digest,
        /// Its declared size in bytes.
        size: u64,
    },
    /// Bytes of a blob went to the destination.
    BlobBytes {
        /// The digest of it.
        digest: &'a Digest,
        /// Number of bytes since the last step.
        bytes: u64,
    },
    /// An upload failed and starts again, so the bytes reported so far do not count.
    BlobRestart {
        /// The digest of it.
        digest: &'a Digest,
        /// Number of bytes that no longer count.
        bytes: u64,
    },
    /// A blob is at the destination.
    BlobEnd {
        /// The digest of it.
        digest: &'a Digest,
        /// Its declared size in bytes.
        size: u64,
        /// How it reached the destination.
        how: BlobEnd,
    },
    /// A manifest was written.
    ManifestPut {
        /// The digest of it.
        digest: &'a Digest,
    },
}

/// How a blob reached the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobEnd {
    /// Its bytes were sent.
    Copied,
    /// The registry took it from another repository.
    Mounted,
    /// It was there before.
    Skipped,
}

/// Ignores every step.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn step(&self, _: Step<'_>) {}
}
