//! Which entries of an index are of the selected platforms.
//!
//! Indexes within the index are read as well. An attestation of `docker buildx`, which the index lists as `unknown/unknown` with
//! the digest of its image, follows that image. An entry without a platform is read if it may be an image.

use std::collections::{BTreeSet, HashSet};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use transship_oci::manifest::Replacement;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Platform, Platforms, Result, Target, Verb};

use super::image::platform_of;
use crate::Source;
use crate::graph::MAX_DEPTH;
use crate::ports::source_manifest;

/// The annotation that names the image of an attestation. Source: `BuildKit` `docs/attestations/attestation-storage.md`.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// Entries without a platform that are read.
const UNCLEAR_ENTRIES_MAX: usize = 100;
/// Platforms of an image that a message names.
const NAMED_PLATFORMS_MAX: usize = 20;

/// What was found in an index, and in the indexes within it.
#[derive(Default)]
pub(super) struct Found {
    /// Images of the selected platforms, each once.
    pub(super) images: Vec<Descriptor>,
    /// Everything that is kept.
    kept: HashSet<Digest>,
    /// Everything that is not kept, unless another entry keeps it.
    dropped: HashSet<Digest>,
    /// The positions of the selected platforms that an entry has.
    matched: HashSet<usize>,
    /// The platforms of all entries.
    platforms: BTreeSet<String>,
    /// Derived indexes within the index: what they are, and what they are derived from.
    pub(super) derived: Vec<(Digest, Descriptor)>,
    unclear: usize,
}

/// What becomes of an index.
pub(super) enum Part {
    /// It has none of the platforms.
    Nothing,
    /// Everything in it is kept.
    Whole,
    /// An index of what is kept.
    Derived(Box<Manifest>),
}

/// What becomes of an entry.
#[derive(Clone)]
enum Entry {
    Dropped,
    Kept,
    Replaced(Replacement),
    /// It is kept if the image that it names is.
    Follows(Digest),
}

impl Found {
    /// True if an entry has a platform. An index without any is not one of platforms: of artifacts, or the cache of a build.
    pub(super) fn has_platforms(&self) -> bool {
        !self.platforms.is_empty()
    }

    /// True if an entry has a selected platform.
    pub(super) fn has_any(&self) -> bool {
        !self.matched.is_empty()
    }

    /// The platforms of the index, in words.
    pub(super) fn named(&self) -> String {
        let named: Vec<&str> = self
            .platforms
            .iter()
            .take(NAMED_PLATFORMS_MAX)
            .map(String::as_str)
            .collect();
        let more = self.platforms.len().saturating_sub(NAMED_PLATFORMS_MAX);
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{rest}", named.join(", "))
    }

    /// The selected platforms that no entry has.
    pub(super) fn missing(&self, platforms: &Platforms) -> Vec<Platform> {
        let all = platforms.only.iter().enumerate();
        all.filter(|(position, _)| !self.matched.contains(position))
            .map(|(_, platform)| platform.clone())
            .collect()
    }

    /// What is left out.
    pub(super) fn absent(&self) -> impl Iterator<Item = &Digest> {
        self.dropped.difference(&self.kept)
    }
}

/// Reads what is selected of an index.
pub(super) struct IndexReader<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) platforms: &'a Platforms,
}

impl IndexReader<'_> {
    /// What becomes of `index`, which is `level` levels below the first. It has its own bytes, because others are read meanwhile:
    /// see [`crate::memory`].
    pub(super) fn part<'r>(
        &'r self,
        index: &'r Manifest,
        level: usize,
        found: &'r mut Found,
    ) -> BoxFuture<'r, Result<Part>> {
        // Boxed because it is recursive.
        async move {
            if level > MAX_DEPTH {
                return Err(Error::of(Code::IndexTooDeep, Verb::ManifestGet.on(index.digest())));
            }
            let listed = index.annotated_children();
            let mut entries = Vec::with_capacity(listed.len());
            for entry in &listed {
                entries.push(self.entry(entry, level, found).await?);
            }
            let kept: HashSet<&Digest> = (listed.iter().zip(&entries))
                .filter(|(_, what)| matches!(what, Entry::Kept | Entry::Replaced(_)))
                .map(|(entry, _)| &entry.digest)
                .collect();
            let mut positions = Vec::new();
            let mut is_whole = true;
            for (position, (entry, what)) in listed.iter().zip(&entries).enumerate() {
                let replacement = match what {
                    Entry::Kept => None,
                    Entry::Follows(image) if kept.contains(image) => None,
                    Entry::Replaced(replacement) => Some(replacement.clone()),
                    Entry::Dropped | Entry::Follows(_) => {
                        is_whole = false;
                        found.dropped.insert(entry.digest.clone());
                        continue;
                    }
                };
                is_whole &= replacement.is_none();
                found.kept.insert(entry.digest.clone());
                positions.push((position, replacement));
            }
            Ok(match (positions.as_slice(), is_whole) {
                ([], false) => Part::Nothing,
                (_, true) => Part::Whole,
                (kept, false) => Part::Derived(Box::new(index.derived(kept)?)),
            })
        }
        .boxed()
    }

    async fn entry(&self, entry: &Descriptor, level: usize, found: &mut Found) -> Result<Entry> {
        if let Some(image) = entry.annotations.get(REFERENCE_DIGEST) {
            return Ok(image.parse().map_or(Entry::Dropped, Entry::Follows));
        }
        if entry.media_type.is_index() {
            return self.inner(entry, level, found).await;
        }
        let platform = match entry.platform.as_ref().filter(|platform| platform.is_known()) {
            Some(platform) => platform.clone(),
            None if is_unclear(entry) => match self.read(entry, found).await? {
                Some(platform) => platform,
                None => return Ok(Entry::Dropped),
            },
            None => return Ok(Entry::Dropped),
        };
        found.platforms.insert(platform.to_string());
        let mut selecting = self.platforms.selecting(&platform).peekable();
        if selecting.peek().is_none() {
            return Ok(Entry::Dropped);
        }
        found.matched.extend(selecting);
        let is_image = entry.media_type.is_image() && entry.artifact_type.is_none();
        if is_image && !found.images.iter().any(|image| image.digest == entry.digest) {
            found.images.push(Descriptor::new(
                entry.media_type.clone(),
                entry.digest.clone(),
                entry.size,
            ));
        }
        Ok(Entry::Kept)
    }

    /// An index within the index.
    async fn inner(&self, entry: &Descriptor, level: usize, found: &mut Found) -> Result<Entry> {
        let index = source_manifest(self.source, &Target::Digest(entry.digest.clone())).await?;
        Ok(match self.part(&index.with_own_bytes(), level + 1, found).await? {
            Part::Nothing => Entry::Dropped,
            Part::Whole => Entry::Kept,
            // The index stays as it is, with less below it.
            Part::Derived(_) if self.platforms.sparse => Entry::Kept,
            Part::Derived(derived) => {
                let original = Descriptor::new(entry.media_type.clone(), entry.digest.clone(), entry.size);
                found.derived.push((derived.digest().clone(), original));
                Entry::Replaced(Replacement {
                    digest: derived.digest().clone(),
                    size: derived.size(),
                })
            }
        })
    }

    /// The platform of an entry that does not say it.
    async fn read(&self, entry: &Descriptor, found: &mut Found) -> Result<Option<Platform>> {
        found.unclear += 1;
        if found.unclear > UNCLEAR_ENTRIES_MAX {
            let why = format!("more than {UNCLEAR_ENTRIES_MAX} entries of the index have no platform");
            return Err(Error::of(Code::GraphTooLarge, Verb::ManifestGet.on(&entry.digest)).because(why));
        }
        let image = source_manifest(self.source, &Target::Digest(entry.digest.clone())).await?;
        platform_of(self.source, &image.with_own_bytes()).await
    }
}

/// True for an entry that may be an image of a platform, and does not say of which.
fn is_unclear(entry: &Descriptor) -> bool {
    let is_silent = entry.platform.as_ref().is_none_or(|platform| platform.os.is_empty());
    is_silent
        && entry.media_type.is_image()
        && entry.artifact_type.is_none()
        && !entry.annotations.contains_key(REFERENCE_DIGEST)
}
