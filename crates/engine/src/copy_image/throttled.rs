//! A source whose blobs are read no faster than its rule allows.

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use transship_copy::{BlobSource, ByteStream, Manifests, Source};
use transship_oci::{Descriptor, Digest, Manifest, Result, Tag, Target};
use transship_registry::Bandwidth;

/// `source`, limited to `bandwidth`, which all tasks of a rule share.
pub(super) struct Throttled<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) bandwidth: Bandwidth,
}

#[async_trait]
impl BlobSource for Throttled<'_> {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let bandwidth = self.bandwidth.clone();
        let stream = self.source.blob_get(blob, offset).await?;
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
impl Manifests for Throttled<'_> {
    fn name(&self) -> String {
        self.source.name()
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.source.manifest_head(target).await
    }

    async fn manifest_find(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.source.manifest_find(target).await
    }

    async fn digest_tag_heads(&self, tags: &[Tag], subject: &Digest) -> Result<Vec<Option<Descriptor>>> {
        self.source.digest_tag_heads(tags, subject).await
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        self.source.manifest_get(target).await
    }

    async fn has_referrers_api(&self, subject: &Digest) -> Result<bool> {
        self.source.has_referrers_api(subject).await
    }
}

#[async_trait]
impl Source for Throttled<'_> {
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.source.referrers(subject).await
    }
}
