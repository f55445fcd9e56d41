//! The source of a task: it notes what the tag named, and reads blobs no faster than the rule allows.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use transship_copy::{BlobSource, ByteStream, Manifests, Source};
use transship_oci::{Descriptor, Digest, Manifest, Result, Tag, Target};
use transship_registry::Bandwidth;

/// `source`, limited to `bandwidth`, which all tasks of a rule share.
pub(super) struct TaskSource<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) bandwidth: Option<Bandwidth>,
    /// What the task copies.
    pub(super) from: &'a Target,
    /// What that named when it was last read.
    pub(super) resolved: &'a Mutex<Option<Digest>>,
}

impl TaskSource<'_> {
    fn note(&self, target: &Target, found: Option<&Digest>) {
        if target == self.from
            && let Some(found) = found
        {
            *self.resolved.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        }
    }
}

#[async_trait]
impl BlobSource for TaskSource<'_> {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let stream = self.source.blob_get(blob, offset).await?;
        let Some(bandwidth) = self.bandwidth.clone() else {
            return Ok(stream);
        };
        Ok(Box::pin(stream.and_then(move |chunk| {
            let bandwidth = bandwidth.clone();
            async move {
                bandwidth.pass(chunk.len()).await;
                Ok(chunk)
            }
        })))
    }

    async fn has_blob(&self, blob: &Descriptor) -> bool {
        self.source.has_blob(blob).await
    }

    fn identity(&self) -> Option<String> {
        self.source.identity()
    }
}

#[async_trait]
impl Manifests for TaskSource<'_> {
    fn name(&self) -> String {
        self.source.name()
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        let found = self.source.manifest_head(target).await?;
        self.note(target, found.as_ref().map(|found| &found.digest));
        Ok(found)
    }

    async fn manifest_find(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.source.manifest_find(target).await
    }

    async fn digest_tag_heads(&self, tags: &[Tag], subject: &Digest) -> Result<Vec<Option<Descriptor>>> {
        self.source.digest_tag_heads(tags, subject).await
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        let found = self.source.manifest_get(target).await?;
        self.note(target, found.as_ref().map(Manifest::digest));
        Ok(found)
    }

    async fn has_referrers_api(&self, subject: &Digest) -> Result<bool> {
        self.source.has_referrers_api(subject).await
    }
}

#[async_trait]
impl Source for TaskSource<'_> {
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.source.referrers(subject).await
    }
}
