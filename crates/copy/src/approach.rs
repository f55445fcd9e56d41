//! The cheapest way for one blob: ask for it, mount it, or send it. The copy and a dry run follow it.
//!
//! A blob is mounted only if its source has shown that it has it. A digest is not a secret: manifests and SBOMs contain it. An
//! image that names a layer of a confidential repository, and does not have it, must not make that layer readable elsewhere.

use transship_oci::{Descriptor, Repository};

use crate::inline::Inline;
use crate::{Arrival, BlobEnd, BlobLocation, BlobSource, Destination, Source};

/// From this size on a HEAD is cheap against the transfer it may save.
pub(crate) const HEAD_BLOB_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Known locations that are tried before the blob is sent.
const MOUNT_SOURCES_MAX: usize = 2;

/// From where to where blobs are moved.
pub(crate) struct Route<'a> {
    /// The destination repository.
    here: &'a Repository,
    /// The source, under the name by which proofs are remembered.
    source: Option<String>,
    /// The destination mounts blobs.
    can_mount: bool,
    /// The destination repository may hold parts of this image that no memory names.
    may_be_partial: bool,
}

/// How a blob comes to the destination: ask first, then mount from these, then send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Approach {
    /// HEAD the blob at the destination first.
    pub(crate) ask: bool,
    /// The memory names the destination repository itself: forgotten if that proves wrong.
    pub(crate) is_named: bool,
    /// Repositories to mount it from, best first, if the source has the blob.
    mount_from: Vec<Repository>,
    /// It is remembered that the source has the blob.
    is_proven: bool,
}

impl<'a> Route<'a> {
    pub(crate) fn new(source: &dyn Source, destination: &'a dyn Destination, may_be_partial: bool) -> Self {
        Self {
            here: destination.repository(),
            source: source.identity(),
            can_mount: destination.mounts(),
            may_be_partial,
        }
    }

    /// How `blob` comes to the destination, of which `known` is remembered.
    pub(crate) fn approach(&self, blob: &Descriptor, known: &BlobLocation) -> Approach {
        let is_named = known.repositories.contains(self.here);
        let others = known.repositories.iter().filter(|repository| *repository != self.here);
        let mount_from: Vec<Repository> = others
            .take(MOUNT_SOURCES_MAX)
            .filter(|_| self.can_mount)
            .cloned()
            .collect();
        let may_be_there = self.may_be_partial || blob.size >= HEAD_BLOB_BYTES_MIN;
        Approach {
            ask: is_named || may_be_there && mount_from.is_empty(),
            is_named,
            mount_from,
            is_proven: self.is_proven(known),
        }
    }

    fn is_proven(&self, known: &BlobLocation) -> bool {
        self.source
            .as_ref()
            .is_some_and(|source| known.sources.contains(source))
    }

    /// Where `blob` is that was sent, for those that waited for it.
    pub(crate) fn location(&self, blob: &Descriptor) -> BlobLocation {
        // Inline bytes say nothing about the source.
        let is_proof = Inline::of(blob).is_none();
        BlobLocation {
            repositories: vec![self.here.clone()],
            sources: self.source.clone().filter(|_| is_proof).into_iter().collect(),
        }
    }

    /// What to remember of a blob that came as `end` says; [`None`] if `known` says it already.
    pub(crate) fn arrival(&self, blob: &Descriptor, known: &BlobLocation, end: BlobEnd) -> Option<Arrival> {
        // Inline bytes say nothing about the repository. What was there before was not asked for at the source.
        let is_proof = end != BlobEnd::Skipped && Inline::of(blob).is_none();
        let source = self.source.clone().filter(|_| is_proof);
        let is_known = known.repositories.first() == Some(self.here) && (source.is_none() || self.is_proven(known));
        (!is_known).then(|| Arrival {
            digest: blob.digest.clone(),
            source,
        })
    }
}

impl Approach {
    /// The repositories that the blob may be mounted from: none if the source does not show that it has it.
    pub(crate) async fn proven(&self, source: &dyn Source, blob: &Descriptor) -> &[Repository] {
        let is_proven = self.mount_from.is_empty()
            || self.is_proven
            || Inline::of(blob).is_some()
            || BlobSource::has_blob(source, blob).await;
        if is_proven { &self.mount_from } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use transship_oci::Digest;

    use super::*;

    fn name(text: &str) -> Repository {
        text.parse().unwrap()
    }

    fn blob(size: u64) -> Descriptor {
        Descriptor::new("a/b".into(), Digest::sha256(b"x"), size)
    }

    fn known(repositories: &[&str], sources: &[&str]) -> BlobLocation {
        BlobLocation {
            repositories: repositories.iter().map(|text| name(text)).collect(),
            sources: sources.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn route(here: &Repository, may_be_partial: bool) -> Route<'_> {
        Route {
            here,
            source: Some("r.example/core/app".into()),
            can_mount: true,
            may_be_partial,
        }
    }

    #[test]
    fn a_blob_takes_the_cheapest_way() {
        let here = name("here");
        let way = |size, repositories: &[&str], may_be_partial| {
            let approach = route(&here, may_be_partial).approach(&blob(size), &known(repositories, &[]));
            (approach.ask, approach.mount_from.len())
        };
        assert_eq!(way(1000, &[], false), (false, 0), "unknown and small: send");
        assert_eq!(way(10 << 20, &[], false), (true, 0), "unknown and large: ask");
        assert_eq!(way(1000, &[], true), (true, 0), "a repeated attempt asks");
        assert_eq!(
            way(10 << 20, &["a"], true),
            (false, 1),
            "known elsewhere: mount at once"
        );
        assert_eq!(
            way(1, &["here", "a"], false),
            (true, 1),
            "said to be here: prove it, else mount"
        );
        assert_eq!(way(1, &["a", "b", "c"], false), (false, 2));
        let mounts_nothing = Route {
            can_mount: false,
            ..route(&here, true)
        };
        let approach = mounts_nothing.approach(&blob(1000), &known(&["a"], &[]));
        assert_eq!((approach.ask, approach.mount_from.len()), (true, 0));
    }

    #[test]
    fn what_no_memory_named_needs_not_be_forgotten() {
        let here = name("here");
        let is_named = |repositories: &[&str]| {
            let route = route(&here, true);
            route.approach(&blob(10 << 20), &known(repositories, &[])).is_named
        };
        assert!(is_named(&["here"]));
        assert!(!is_named(&[]) && !is_named(&["a"]));
    }

    #[test]
    fn a_proof_counts_for_the_source_that_gave_it() {
        let here = name("here");
        let route = route(&here, false);
        let is_proven = |sources: &[&str]| route.approach(&blob(1), &known(&["a"], sources)).is_proven;
        assert!(is_proven(&["other.example/core/app", "r.example/core/app"]));
        assert!(!is_proven(&[]) && !is_proven(&["other.example/core/app", "r.example/core/app2"]));
        let unnamed = Route { source: None, ..route };
        assert!(
            !unnamed
                .approach(&blob(1), &known(&["a"], &["r.example/core/app"]))
                .is_proven
        );
    }

    #[test]
    fn a_proof_is_remembered_with_the_location() {
        let here = name("here");
        let route = route(&here, false);
        let proof = Some("r.example/core/app".to_owned());
        let source = |known: &BlobLocation, end| route.arrival(&blob(1), known, end).map(|arrival| arrival.source);
        let nothing = BlobLocation::default();
        assert_eq!(source(&nothing, BlobEnd::Copied), Some(proof.clone()));
        assert_eq!(source(&known(&["a"], &[]), BlobEnd::Mounted), Some(proof.clone()));
        assert_eq!(source(&nothing, BlobEnd::Skipped), Some(None));
        assert_eq!(source(&known(&["here", "a"], &[]), BlobEnd::Skipped), None);
        assert_eq!(source(&known(&["here"], &[]), BlobEnd::Copied), Some(proof));
        assert_eq!(
            source(&known(&["here"], &["r.example/core/app"]), BlobEnd::Copied),
            None
        );
        let inline = Descriptor {
            data: Some("eA==".into()),
            ..blob(1)
        };
        let arrival = route.arrival(&inline, &nothing, BlobEnd::Copied).unwrap();
        assert_eq!(arrival.source, None, "the bytes came with the manifest");
    }
}
