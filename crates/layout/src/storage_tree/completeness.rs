//! Checks whether one image of a storage tree is complete.
//!
//! A tree has no list of its content, so completeness is checked for each tag and each referrer. A manifest is present if both
//! its bytes and the repository's link to them are there. For other blobs the bytes are enough, because a copied bucket may
//! have the links of other repositories.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use transship_copy::Manifests as _;
use transship_oci::manifest::MAX_BYTES;
use transship_oci::{Algorithm, Digest, Result, Target, Verb};

use super::TreeRepository;
use crate::Missing;
use crate::inspection::version;
use crate::layout::proven;
use crate::missing::{Blobs, Edges, ManifestState, ManifestStore, missing};
use crate::read_all::read_all;

/// Maximum number of blobs that are requested one by one. It is high, because a listing would include all blobs of the
/// registry.
const MAX_HEADS: usize = 256;

/// State of one image of a tree.
pub(crate) struct Arrived {
    /// Version of the link: equal for the same write.
    pub(crate) version: String,
    /// Missing objects; empty if the image is complete.
    pub(crate) missing: Vec<Missing>,
}

impl TreeRepository {
    /// Checks the image of one tag, or one referrer. [`None`] if its link does not exist (any more), and for a revision without a
    /// subject, which is copied with its tag or index. An invalid link or manifest fails with its own code.
    pub(crate) async fn arrived(&self, target: &Target) -> Result<Option<Arrived>> {
        // The version is read before the link, so that a link that is replaced in between is scanned again with its new version.
        let Some(link) = self.store.head(&self.names_key(target)).await? else {
            return Ok(None);
        };
        let digest = match target {
            Target::Tag(tag) => self.linked(tag).await?,
            Target::Digest(digest) => Some(digest.clone()),
        };
        let Some(digest) = digest else {
            return Ok(None);
        };
        let version = version(&digest.to_string(), link.written);
        let held = self.manifest(&digest).await;
        let held = held?;
        let missing = match held {
            ManifestState::Absent { digest, found_bytes } => vec![ManifestState::missing(digest, found_bytes, 0)],
            ManifestState::Manifest(manifest) if target.tag().is_none() && manifest.subject().is_none() => {
                return Ok(None);
            }
            ManifestState::Manifest(manifest) => missing(self, Edges::of(&manifest)).await?,
        };
        Ok(Some(Arrived { version, missing }))
    }

    /// The link that names `target`.
    pub(crate) fn names_key(&self, target: &Target) -> String {
        match target {
            Target::Tag(tag) => self.tag_key(tag),
            Target::Digest(digest) => self.revision_key(digest),
        }
    }

    /// The digests of `missing` that may be present by now.
    pub(crate) async fn arrived_since(&self, absent: &[Missing]) -> Result<Vec<Digest>> {
        let (linked, plain): (Vec<&Missing>, Vec<&Missing>) = absent.iter().partition(|one| is_about_a_link(one));
        let linked: Vec<Missing> = linked.into_iter().cloned().collect();
        let by_links: Vec<Option<Digest>> = stream::iter(linked)
            .map(|one| async move { self.present_by_link(&one).await })
            .buffered(super::contents::PARALLEL_LINKS)
            .try_collect()
            .await?;
        let keys: BTreeMap<String, &Missing> = plain
            .into_iter()
            .filter_map(|one| match one {
                Missing::Blob { digest, .. } => Some((self.blob_key(digest), one)),
                Missing::File(_) => None,
            })
            .collect();
        let by_sizes = self.blobs().changed(keys).await?;
        Ok(by_links.into_iter().flatten().chain(by_sizes).collect())
    }

    async fn present_by_link(&self, absent: &Missing) -> Result<Option<Digest>> {
        let Missing::Blob { digest, .. } = absent else {
            return Ok(None);
        };
        let is_present = if digest.algorithm() == Algorithm::Sha256 {
            self.store.head(&self.revision_key(digest)).await?.is_some()
        } else {
            let layer = self.link(&self.layer_key(digest)).await?;
            let link = match layer {
                Some(link) => Some(link),
                None => self.link(&self.revision_key(digest)).await?,
            };
            // The link leads to other bytes, which are waited for from now on.
            link.is_some_and(|link| link != *digest)
        };
        Ok(is_present.then(|| digest.clone()))
    }
}

/// True if a link to the bytes is waited for instead of the bytes.
fn is_about_a_link(absent: &Missing) -> bool {
    match absent {
        Missing::File(_) => false,
        Missing::Blob {
            digest,
            size_bytes,
            found_bytes,
        } => digest.algorithm() != Algorithm::Sha256 || *found_bytes == Some(*size_bytes),
    }
}

#[async_trait]
impl ManifestStore for TreeRepository {
    fn blobs(&self) -> Blobs<'_> {
        Blobs {
            store: self.store.as_ref(),
            prefix: format!("{}blobs/", self.root),
            max_heads: MAX_HEADS,
        }
    }

    async fn manifest(&self, digest: &Digest) -> Result<ManifestState> {
        let operation = || Verb::ManifestGet.on(format_args!("{}@{digest}", self.name()));
        let link = self.revision_key(digest);
        let (key, under) = self.located_by(digest, &link).await?;
        let Some(bytes) = read_all(self.store.as_ref(), &key, MAX_BYTES).await? else {
            return Ok(ManifestState::Absent {
                digest: under,
                found_bytes: None,
            });
        };
        let manifest = proven(bytes, digest, None, operation)?;
        if self.store.head(&link).await?.is_none() {
            return Ok(ManifestState::Absent {
                digest: digest.clone(),
                found_bytes: Some(manifest.size()),
            });
        }
        Ok(ManifestState::Manifest(Box::new(manifest)))
    }

    async fn located(&self, digest: &Digest) -> Result<(String, Digest)> {
        self.located_by(digest, &self.layer_key(digest)).await
    }
}
