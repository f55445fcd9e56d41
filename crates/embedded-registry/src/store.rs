//! The content of the registry: repositories with their tags, manifests and blobs.
//!
//! One lock protects plain maps and is never held across an await. A blob is stored once even if several repositories contain
//! it; it is visible only in those.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use transship_oci::{Descriptor, Digest, Manifest, MediaType, Repository, Tag, Target};

use crate::VirtualBlob;

/// The content of one registry.
#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<Content>);

#[derive(Debug, Default)]
pub(crate) struct Content {
    blobs: HashMap<Digest, Blob>,
    pub(crate) repositories: BTreeMap<Repository, RepositoryContent>,
}

/// The content of one repository.
#[derive(Debug, Default)]
pub(crate) struct RepositoryContent {
    blobs: BTreeSet<Digest>,
    pub(crate) manifests: BTreeMap<Digest, StoredManifest>,
    pub(crate) tags: BTreeMap<Tag, Digest>,
}

/// The content of a blob.
#[derive(Debug, Clone)]
pub(crate) enum Blob {
    /// Stored bytes, in the pieces in which they were received.
    Stored { size: u64, pieces: Vec<Bytes> },
    /// Bytes that are computed when they are read.
    Virtual(VirtualBlob),
    /// Bytes that were hashed, counted and discarded; they cannot be read.
    Discarded { size: u64 },
}

/// A stored manifest.
#[derive(Debug, Clone)]
pub(crate) struct StoredManifest {
    pub(crate) media_type: MediaType,
    pub(crate) bytes: Bytes,
    /// The subject, and the descriptor of this manifest in the subject's list of referrers.
    pub(crate) referrer: Option<(Digest, Descriptor)>,
}

impl Store {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    pub(crate) fn add_blob(&mut self, repository: &Repository, digest: Digest, blob: Blob) {
        self.repositories
            .entry(repository.clone())
            .or_default()
            .blobs
            .insert(digest.clone());
        // A readable blob replaces one that was only hashed.
        if !matches!(blob, Blob::Discarded { .. }) || !self.blobs.contains_key(&digest) {
            self.blobs.insert(digest, blob);
        }
    }

    /// Mounts a blob of `from` in `repository`. Returns its size in bytes, or [`None`] if `from` does not contain it.
    pub(crate) fn mount(&mut self, repository: &Repository, digest: &Digest, from: &Repository) -> Option<u64> {
        let size = self.blob(from, digest)?.size();
        let target = self.repositories.entry(repository.clone()).or_default();
        target.blobs.insert(digest.clone());
        Some(size)
    }

    pub(crate) fn blob(&self, repository: &Repository, digest: &Digest) -> Option<&Blob> {
        let held = self.repositories.get(repository)?.blobs.contains(digest);
        held.then(|| self.blobs.get(digest))?
    }

    pub(crate) fn remove_blob(&mut self, repository: &Repository, digest: &Digest) -> bool {
        self.repositories
            .get_mut(repository)
            .is_some_and(|content| content.blobs.remove(digest))
    }

    pub(crate) fn manifest(&self, repository: &Repository, target: &Target) -> Option<(&Digest, &StoredManifest)> {
        let content = self.repositories.get(repository)?;
        let digest = match target {
            Target::Tag(tag) => content.tags.get(tag)?,
            Target::Digest(digest) => digest,
        };
        content.manifests.get_key_value(digest)
    }

    pub(crate) fn add_manifest(&mut self, repository: &Repository, digest: Digest, manifest: StoredManifest) {
        let content = self.repositories.entry(repository.clone()).or_default();
        content.manifests.insert(digest, manifest);
    }

    pub(crate) fn add_tag(&mut self, repository: &Repository, tag: Tag, digest: Digest) {
        let content = self.repositories.entry(repository.clone()).or_default();
        content.tags.insert(tag, digest);
    }

    /// Removes a manifest and its tags, and returns the tags; [`None`] if it does not exist.
    pub(crate) fn remove_manifest(&mut self, repository: &Repository, digest: &Digest) -> Option<Vec<Tag>> {
        let content = self.repositories.get_mut(repository)?;
        content.manifests.remove(digest)?;
        let named = |(tag, named): (&Tag, &Digest)| (named == digest).then(|| tag.clone());
        let tags: Vec<Tag> = content.tags.iter().filter_map(named).collect();
        content.tags.retain(|_, named| named != digest);
        Some(tags)
    }

    pub(crate) fn remove_tag(&mut self, repository: &Repository, tag: &Tag) -> bool {
        self.repositories
            .get_mut(repository)
            .is_some_and(|content| content.tags.remove(tag).is_some())
    }
}

impl Blob {
    /// Creates content from one piece.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self::Stored {
            size: bytes.len() as u64,
            pieces: vec![bytes],
        }
    }

    pub(crate) const fn size(&self) -> u64 {
        match self {
            Self::Stored { size, .. } | Self::Discarded { size } => *size,
            Self::Virtual(blob) => blob.size(),
        }
    }

    /// The bytes `first..end`; [`None`] if they were discarded.
    pub(crate) fn read(&self, first: u64, end: u64) -> Option<Box<dyn Iterator<Item = Bytes> + Send>> {
        match self {
            Self::Stored { pieces, .. } => Some(Box::new(pieces_between(pieces.clone(), first, end))),
            Self::Virtual(blob) => Some(Box::new(blob.chunks(first, end))),
            Self::Discarded { .. } => None,
        }
    }
}

fn pieces_between(pieces: Vec<Bytes>, first: u64, end: u64) -> impl Iterator<Item = Bytes> + Send {
    let mut at = 0_u64;
    pieces.into_iter().filter_map(move |piece| {
        let (start, length) = (at, piece.len() as u64);
        at += length;
        let from = first.saturating_sub(start).min(length);
        let to = end.saturating_sub(start).min(length);
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
        (from < to).then(|| piece.slice(from..to))
    })
}

impl StoredManifest {
    /// Creates an entry from a parsed manifest.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let referrer = manifest
            .subject()
            .map(|subject| (subject.digest.clone(), manifest.referrer_descriptor()));
        Self {
            media_type: manifest.media_type().clone(),
            bytes: manifest.bytes().clone(),
            referrer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_may_begin_and_end_in_any_piece() {
        let whole = b"0123456789";
        let pieces = [&whole[..3], &whole[3..3], &whole[3..4], &whole[4..]];
        let blob = Blob::Stored {
            size: 10,
            pieces: pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect(),
        };
        for first in 0..10_usize {
            for end in first..=10 {
                let read: Vec<u8> = blob.read(first as u64, end as u64).unwrap().flatten().collect();
                assert_eq!(read, &whole[first..end]);
            }
        }
    }

    #[test]
    fn a_repository_sees_only_the_blobs_it_holds() {
        let (one, two): (Repository, Repository) = ("one".parse().unwrap(), "two".parse().unwrap());
        let digest = Digest::sha256(b"x");
        let mut content = Content::default();
        content.add_blob(&one, digest.clone(), Blob::of(Bytes::from_static(b"x")));
        assert!(content.blob(&two, &digest).is_none());
        assert_eq!(content.mount(&two, &digest, &one), Some(1));
        assert!(content.remove_blob(&one, &digest));
        assert!(content.blob(&two, &digest).is_some());
        assert!(content.blob(&one, &digest).is_none());
    }
}
