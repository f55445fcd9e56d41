//! Archives: a tar with an OCI layout or the output of `docker save`, plain or compressed with gzip or zstd.
//!
//! | archive | opening it | reading a blob |
//! |---|---|---|
//! | plain | one small range per header, or one per 256 KiB of small files | one range |
//! | packed | one pass, in which small files are kept | one pass up to the blob; less if the blob before it was read last |
//!
//! The content of an archive is not trusted: names are compared and never used as paths, links are not followed, and content
//! that readers of tar interpret differently is rejected. See [`tar_header`].

mod entry;
mod files;
mod reading;
mod tar_header;
mod tar_index;
#[cfg(test)]
mod tests;
mod unpack;
mod window;

pub(crate) use entry::key as entry_key;
pub(crate) use files::ArchiveFiles;
pub(crate) use unpack::Compression;
pub use unpack::Limits;

use std::sync::Arc;

use async_trait::async_trait;
use transship_copy::{BlobSource, ByteStream, Manifests, Source};
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result, Target, Verb};

use crate::docker_archive::DockerArchive;
use crate::layout::MARKER;
use crate::{Images, Layout, Listing, ObjectStore};

/// An archive with its images. It is indexed when it is opened, so keep it while images of it are needed.
#[derive(Clone)]
pub struct Archive {
    name: String,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Layout(Layout),
    Docker(DockerArchive),
}

impl Archive {
    /// Opens the archive at `key`, regardless of its extension. Codes for the whole archive: `ARCHIVE_INVALID`,
    /// `ARCHIVE_UNSUPPORTED`, `ARCHIVE_TOO_LARGE`, `ARCHIVE_BOMB`, `ARCHIVE_TRUNCATED`, `LAYOUT_INVALID`,
    /// `DOCKER_ARCHIVE_INVALID`.
    pub async fn open(store: Arc<dyn ObjectStore>, key: &str) -> Result<Self> {
        Self::open_with(store, key, Limits::default()).await
    }

    /// Like [`Self::open`], with other limits of expansion.
    pub async fn open_with(store: Arc<dyn ObjectStore>, key: &str, limits: Limits) -> Result<Self> {
        let name = format!("{}/{key}", store.name());
        let files = Arc::new(ArchiveFiles::read(store, key, limits).await?);
        let content = match layout_within(&files)? {
            // Docker writes both formats since version 25. The layout contains the manifests, so it is used.
            Some(prefix) => Content::Layout(Layout::open(files, &prefix).await?),
            None => Content::Docker(DockerArchive::open(files).await?),
        };
        Ok(Self { name, content })
    }

    fn images_of(&self) -> &dyn Images {
        match &self.content {
            Content::Layout(layout) => layout,
            Content::Docker(archive) => archive,
        }
    }
}

/// The location of the layout: at the top, or in the only folder.
fn layout_within(files: &ArchiveFiles) -> Result<Option<String>> {
    let mut prefixes = files.keys().filter_map(|key| {
        let prefix = key.strip_suffix(MARKER)?;
        (prefix.is_empty() || prefix.ends_with('/')).then_some(prefix)
    });
    match (prefixes.next(), prefixes.next()) {
        (first, _) if files.keys().any(|key| key == MARKER) => Ok(first.map(|_| String::new())),
        (Some(_), Some(_)) => {
            let why = "it contains several layouts; create one archive for each layout";
            Err(Error::of(Code::ArchiveInvalid, Verb::Read.on(files.name())).because(why))
        }
        (first, _) => Ok(first.map(str::to_owned)),
    }
}

#[async_trait]
impl BlobSource for Archive {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        self.images_of().blob_get(blob, offset).await
    }

    async fn has_blob(&self, blob: &Descriptor) -> bool {
        self.images_of().has_blob(blob).await
    }
}

#[async_trait]
impl Manifests for Archive {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.images_of().manifest_head(target).await
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        self.images_of().manifest_get(target).await
    }
}

#[async_trait]
impl Source for Archive {
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.images_of().referrers(subject).await
    }
}

#[async_trait]
impl Images for Archive {
    async fn images(&self) -> Result<Listing> {
        self.images_of().images().await
    }

    async fn target_of(&self, reference: Option<&str>) -> Result<Target> {
        self.images_of().target_of(reference).await
    }
}
