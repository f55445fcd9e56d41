//! What is asked of a copy, and what it reports.

use std::sync::Arc;

use serde::Serialize;
use transship_oci::{Digest, Existing, Kind, Referrers, Target};

use crate::{BlobLocations, CommitLease, Continuations, Destination, Progress, Replicas, Slot, Source};

/// One copy: from where, to where, how, and what it may lean on.
pub struct Request<'a> {
    /// Where the image is read.
    pub source: &'a dyn Source,
    /// What is read. A tag is resolved when the copy begins, and looked at again when it ends.
    pub from: Target,
    /// Where it is written.
    pub destination: &'a dyn Destination,
    /// What is written. A digest must be the source's own: the manifest is then written without a tag.
    pub to: Target,
    /// How.
    pub options: Options,
    /// Which repositories of the destination hold which blobs.
    pub locations: &'a dyn BlobLocations,
    /// Which tags of the destination are ours.
    pub replicas: &'a dyn Replicas,
    /// The leases of destination tags, where workers share them.
    pub lease: Option<&'a dyn CommitLease>,
    /// Where uploads that may outlive this worker are remembered; [`None`]: each is sent in one go.
    pub continuations: Option<&'a dyn Continuations>,
    /// How long this worker has: then the copy ends with `SLOT_OVER`.
    pub slot: Option<Slot>,
    /// Who listens.
    pub progress: Arc<dyn Progress>,
}

/// How an image is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What happens to what the destination tag names already.
    pub existing: Existing,
    /// What happens to signatures and other referrers.
    pub referrers: Referrers,
    /// The kinds that are let pass; empty: any.
    pub kinds: Vec<Kind>,
    /// What the source tag was just said to name. If it names something else the copy ends with `SOURCE_NOT_SETTLED` and
    /// changes nothing: some registries tell of a tag before they write it.
    pub expected: Option<Digest>,
    /// An attempt was made before: blobs may be there that nobody remembers, so each is asked for before it is sent.
    pub is_repeated: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            existing: Existing::Overwrite,
            referrers: Referrers::Include,
            kinds: Vec::new(),
            expected: None,
            is_repeated: false,
        }
    }
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The destination became equal to the source.
    Copied,
    /// It was equal.
    Unchanged,
    /// The destination holds something that may not be replaced.
    Kept,
    /// The image is of a kind that is not let pass.
    Skipped,
}

/// A number of blobs or bytes, by how they came to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Sent.
    pub copied: u64,
    /// Taken by the registry from another repository.
    pub mounted: u64,
    /// There already.
    pub skipped: u64,
}

/// What a copy did.
#[derive(Debug, Clone)]
pub struct Report {
    /// How it ended.
    pub state: State,
    /// What the destination names now: the source's digest, or what was kept.
    pub digest: Digest,
    /// Manifests written.
    pub manifests: u64,
    /// Blobs.
    pub blobs: Counts,
    /// Their bytes.
    pub bytes: Counts,
    /// Every manifest of the image, the root among them; of an image that was equal already, the root.
    pub members: Vec<Digest>,
    /// Every tag that was written, with what it names now.
    pub written: Vec<(Target, Digest)>,
    /// Digest tags (signatures) of the destination that are not ours and were kept.
    pub kept_tags: Vec<String>,
    /// Layers that may not be distributed: their bytes stayed where their `urls` say.
    pub foreign_layers: u64,
}
