//! A blob whose bytes came with its descriptor.

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use transship_oci::{Descriptor, Digest, Result};

use crate::{BlobSource, ByteStream};

/// The bytes, which are those of the blob.
pub(crate) struct Inline(Bytes);

impl Inline {
    /// The inline `data` of `blob`, if it has the blob's digest and size.
    pub(crate) fn of(blob: &Descriptor) -> Option<Self> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(blob.data.as_deref()?)
            .ok()?;
        let is_it = bytes.len() as u64 == blob.size && Digest::of(blob.digest.algorithm(), &bytes) == blob.digest;
        is_it.then(|| Self(bytes.into()))
    }
}

#[async_trait]
impl BlobSource for Inline {
    async fn blob_get(&self, _: &Descriptor, offset: u64) -> Result<ByteStream> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(stream::iter([Ok(self.0.slice(from..))]).boxed())
    }

    async fn has_blob(&self, _: &Descriptor) -> bool {
        true
    }
}
