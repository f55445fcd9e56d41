//! The request of a copy and its report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use transship_oci::{Digest, Existing, Kind, Platforms, Referrers, Target};

use crate::{
    BlobEnd, BlobLocations, CommitLease, Continuations, Destination, KeepReason, Progress, Replicas, Selection,
    SkipReason, Source, TimeBudget,
};

/// One copy: the source, the destination, the options, and the ports it uses.
pub struct Request<'a> {
    /// Where the image is read.
    pub source: &'a dyn Source,
    /// What is read there. A tag is resolved when the copy begins, and checked again when it ends.
    pub from: Target,
    /// Where it is written.
    pub destination: &'a dyn Destination,
    /// What is written there. A digest must be that of the source; the manifest is then written without a tag.
    pub to: Target,
    /// How the image is copied.
    pub options: Options,
    /// Which repositories of the destination hold which blobs.
    pub locations: &'a dyn BlobLocations,
    /// The record of the tags that we wrote.
    pub replicas: &'a dyn Replicas,
    /// The leases of destination tags, where workers share them.
    pub lease: Option<&'a dyn CommitLease>,
    /// The store of uploads that may outlive this worker; [`None`]: each blob is sent in one request.
    pub continuations: Option<&'a dyn Continuations>,
    /// The time that this worker has; then the copy ends with `SLOT_OVER`.
    pub budget: Option<TimeBudget>,
    /// The receiver of progress steps.
    pub progress: Arc<dyn Progress>,
}

/// How an image is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What to do if the destination tag already names another image.
    pub existing: Existing,
    /// What to do with signatures and other referrers.
    pub referrers: Referrers,
    /// The kinds that are copied; empty: all.
    pub kinds: Vec<Kind>,
    /// The labels that an image must have, all of them: annotations of its manifest or labels of its configuration.
    pub labels: BTreeMap<String, String>,
    /// The platforms that are copied.
    pub platforms: Platforms,
    /// What the event says the source tag names. If it names something else, the copy ends with `SOURCE_NOT_SETTLED` and
    /// changes nothing, because some registries notify before they write the tag.
    pub expected: Option<Digest>,
    /// The destination did not have the tag a moment ago, so that it need not be looked at before the image is read.
    pub is_absent: bool,
    /// There was an earlier attempt: blobs may be there at no known location, so each is asked for before it is sent.
    pub is_repeated: bool,
    /// How long the copy waits for a blob that another copy of this process sends; then it ends with `BLOB_UNDER_WAY`. [`None`]:
    /// as long as that takes.
    pub patience: Option<Duration>,
}

impl Options {
    /// True if any image of the source is copied to where nothing is, so that nothing has to be known of it.
    pub fn lets_all_pass(&self) -> bool {
        self.kinds.is_empty()
            && self.labels.is_empty()
            && self.platforms.is_all()
            && self.referrers != Referrers::Require
    }

    /// True if what `target` names at the destination is looked at for the first time right before it is written. By then the tag
    /// is claimed. A copy that keeps what is there has no use for that claim, and looks at once.
    pub(crate) fn begins_without_look(&self, target: &Target) -> bool {
        self.is_absent && self.existing != Existing::Keep && self.looks_before_write(target)
    }

    /// True if what `target` names at the destination is looked at once more right before it is written. Registries cannot
    /// compare and swap, so a copy that may not replace everything does so.
    pub(crate) fn looks_before_write(&self, target: &Target) -> bool {
        self.existing != Existing::Overwrite && target.tag().is_some()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            existing: Existing::Overwrite,
            referrers: Referrers::Include,
            kinds: Vec::new(),
            labels: BTreeMap::new(),
            platforms: Platforms::default(),
            expected: None,
            is_absent: false,
            is_repeated: false,
            patience: None,
        }
    }
}

/// The result of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The destination became equal to the source.
    Copied,
    /// The destination was equal already.
    Unchanged,
    /// The destination holds another image, which may not be replaced.
    Kept,
    /// The image is of a kind that is not copied, or does not have the labels.
    Skipped,
}

/// Numbers of blobs or bytes, by how they reached the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Sent.
    pub copied: u64,
    /// Mounted by the registry from another repository.
    pub mounted: u64,
    /// Present before.
    pub skipped: u64,
}

impl Counts {
    /// Nothing.
    pub const NONE: Self = Self {
        copied: 0,
        mounted: 0,
        skipped: 0,
    };

    /// Counts `number` more that came as `end` says.
    pub const fn add(&mut self, end: BlobEnd, number: u64) {
        match end {
            BlobEnd::Copied => self.copied += number,
            BlobEnd::Mounted => self.mounted += number,
            BlobEnd::Skipped => self.skipped += number,
        }
    }
}

/// What a copy did.
#[derive(Debug, Clone)]
pub struct Report {
    /// The result.
    pub state: State,
    /// What the destination names now: the source's digest, what the selected platforms of it became, or what was kept.
    pub digest: Digest,
    /// Manifests written.
    pub manifests: u64,
    /// Blobs, by how they reached the destination.
    pub blobs: Counts,
    /// Their bytes.
    pub bytes: Counts,
    /// Every manifest of the image, including the root.
    pub members: Vec<Digest>,
    /// Every tag that was written, with what it names now.
    pub written: Vec<(Target, Digest)>,
    /// What became of the image, if platforms are selected.
    pub selection: Option<Selection>,
    /// Why the image was skipped, if it was.
    pub skipped: Option<SkipReason>,
    /// Why the destination tag was kept, if it was.
    pub kept: Option<KeepReason>,
    /// Digest tags (signatures) of the destination that are not ours and were kept.
    pub kept_tags: Vec<String>,
    /// Number of non-distributable layers, which are not copied: clients fetch them from their `urls`.
    pub foreign_layers: u64,
}
