//! What a destination lacks of an image whose tag has the right digest.
//!
//! A registry may have lost what a manifest names: a child of an index, or a blob. A manifest is read with its digest, so its bytes
//! are proven; a blob is asked for by HEAD, or read and hashed.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use transship_copy::{BlobSource as _, Destination as _, Manifests as _, Source as _, verify_stream};
use transship_oci::referrers::cosign_tags;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result, Tag, Target, Verb};
use transship_registry::RemoteRepository;

/// More manifests than this in one image are not looked at.
const MANIFESTS_MAX: usize = 10_000;
/// Blobs that are looked at side by side.
const PARALLEL_BLOBS: usize = 8;

/// How much of an image is verified at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Its manifests.
    Manifests,
    /// And that every blob is there.
    Blobs,
    /// And the bytes of every blob.
    Bytes,
}

/// What is missing or wrong: the code, and a sentence that names it.
pub(super) type Lack = (Code, String);

/// Compares the parts of one image.
pub(super) struct Parts<'a> {
    pub(super) source: &'a RemoteRepository,
    pub(super) destination: &'a RemoteRepository,
    pub(super) depth: Depth,
    /// What is attached to the image belongs to it.
    pub(super) with_attachments: bool,
    /// The destination has only some platforms of an index on purpose, so a child that is not there is not missed.
    pub(super) is_sparse: bool,
}

impl Parts<'_> {
    /// The first part of `root` that the destination lacks; [`None`]: nothing. No request for an image without children, unless its
    /// blobs are verified.
    pub(super) async fn lack_of(&self, root: &Descriptor) -> Result<Option<Lack>> {
        let mut rest = vec![root.clone()];
        let (mut manifests, mut blobs) = (HashSet::new(), HashSet::new());
        while let Some(descriptor) = rest.pop() {
            if !manifests.insert(descriptor.digest.clone()) {
                continue;
            }
            if manifests.len() > MANIFESTS_MAX {
                return Err(Error::of(Code::GraphTooLarge, Verb::ManifestGet.on(&root.digest)));
            }
            let target = Target::Digest(descriptor.digest.clone());
            if self.depth == Depth::Manifests && !descriptor.media_type.is_index() {
                let is_root = descriptor.digest == root.digest;
                if !is_root
                    && self.destination.manifest_head(&target).await?.is_none()
                    && self.is_missed(&target).await?
                {
                    return Ok(Some(lacks_manifest(&descriptor.digest)));
                }
                continue;
            }
            let Some(manifest) = self.destination.manifest_get(&target).await? else {
                // An index may name platforms that the source does not have either.
                if self.is_missed(&target).await? {
                    return Ok(Some(lacks_manifest(&descriptor.digest)));
                }
                continue;
            };
            if self.depth > Depth::Manifests {
                if let Some(lack) = self.blobs(&manifest, &mut blobs).await? {
                    return Ok(Some(lack));
                }
                if self.with_attachments {
                    rest.extend(self.attached_to(&descriptor.digest).await?);
                }
            }
            rest.extend(manifest.children().iter().cloned());
        }
        Ok(None)
    }

    async fn is_missed(&self, target: &Target) -> Result<bool> {
        Ok(!self.is_sparse && self.source.manifest_head(target).await?.is_some())
    }

    async fn attached_to(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut attached = self.destination.referrers(subject).await?;
        let tags: Vec<Tag> = cosign_tags(subject).filter_map(|tag| tag.parse().ok()).collect();
        let heads = self.destination.digest_tag_heads(&tags, subject).await?;
        attached.extend(heads.into_iter().flatten());
        Ok(attached)
    }

    async fn blobs(&self, manifest: &Manifest, seen: &mut HashSet<Digest>) -> Result<Option<Lack>> {
        let new: Vec<Descriptor> = manifest
            .blobs()
            .filter(|blob| !blob.media_type.is_non_distributable() && seen.insert(blob.digest.clone()))
            .cloned()
            .collect();
        let looks: Vec<_> = new.into_iter().map(|blob| self.blob(blob)).collect();
        let lacks: Vec<Option<Lack>> = stream::iter(looks).buffered(PARALLEL_BLOBS).try_collect().await?;
        Ok(lacks.into_iter().flatten().next())
    }

    async fn blob(&self, blob: Descriptor) -> Result<Option<Lack>> {
        if !self.destination.blob_head(&blob).await? {
            let sentence = format!(
                "the destination does not have the blob {}, or has it in another size",
                blob.digest
            );
            return Ok(Some((Code::BlobMissing, sentence)));
        }
        if self.depth < Depth::Bytes {
            return Ok(None);
        }
        let read = self.destination.blob_get(&blob, 0).await?;
        let proven = verify_stream(read, &blob)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await;
        match proven {
            Ok(()) => Ok(None),
            Err(error) if is_wrong(&error) => {
                let sentence = format!("the bytes of the blob {} are not those of its digest", blob.digest);
                Ok(Some((error.kind(), sentence)))
            }
            Err(error) => Err(error),
        }
    }
}

/// True for an error that shows that the registry has other bytes than the digest names.
pub(super) fn is_wrong(error: &Error) -> bool {
    matches!(
        error.kind(),
        Code::BlobDigestMismatch | Code::BlobSizeMismatch | Code::ManifestDigestMismatch
    )
}

fn lacks_manifest(digest: &Digest) -> Lack {
    let sentence = format!("the destination does not have the manifest {digest} of the image");
    (Code::ManifestMissing, sentence)
}
