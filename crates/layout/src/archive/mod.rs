//! Archives: a tar of an OCI layout, or of images as docker saves them; plain, or packed with gzip or zstd.
//!
//! | archive | opening it | reading a blob |
//! |---|---|---|
//! | plain | one small range per header, or one per 256 KiB of small files | one range |
//! | packed | one pass, in which small files are kept | one pass up to the blob; less if the blob before it was read last |
//!
//! Nothing of an archive is believed: names are compared and never made into paths, links are not followed, what readers of
//! tar take differently is refused. See [`tar_header`].

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

/// One archive and the images in it. Indexed when it is opened: keep it for as long as images of it are wanted.
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
    /// Opens the archive at `key`, whatever its name says it is. Codes that concern all of it: `ARCHIVE_INVALID`,
    /// `ARCHIVE_UNSUPPORTED`, `ARCHIVE_TOO_LARGE`, `ARCHIVE_BOMB`, `ARCHIVE_TRUNCATED`, `LAYOUT_INVALID`,
    /// `DOCKER_ARCHIVE_INVALID`.
    pub async fn open(store: Arc<dyn ObjectStore>, key: &str) -> Result<Self> {
        Self::open_with(store, key, Limits::default()).await
    }

    /// The same with other limits to what it may expand to.
    pub async fn open_with(store: Arc<dyn ObjectStore>, key: &str, limits: Limits) -> Result<Self> {
        let name = format!("{}/{key}", store.name());
        let files = Arc::new(ArchiveFiles::read(store, key, limits).await?);
        let content = match layout_within(&files)? {
            // Docker writes both since version 25. The layout is the one with the manifests in it.
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

/// Where the layout lies: at the top, or in the one folder that was packed.
fn layout_within(files: &ArchiveFiles) -> Result<Option<String>> {
    let mut prefixes = files.keys().filter_map(|key| {
        let prefix = key.strip_suffix(MARKER)?;
        (prefix.is_empty() || prefix.ends_with('/')).then_some(prefix)
    });
    match (prefixes.next(), prefixes.next()) {
        (first, _) if files.keys().any(|key| key == MARKER) => Ok(first.map(|_| String::new())),
        (Some(_), Some(_)) => {
            let why = "it holds several layouts; pack one layout per archive";
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
