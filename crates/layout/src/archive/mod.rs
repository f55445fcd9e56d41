//! Archives: a tar with an OCI layout, the output of `docker save`, or a storage tree, plain or compressed with gzip or zstd.
//!
//! | archive | opening it | reading a blob |
//! |---|---|---|
//! | plain | one small range per header, or one per 256 KiB of small files | one range |
//! | packed | one pass, in which small files are kept | one pass up to the blob; less if the blob before it was read last |
//!
//! The content of an archive is not trusted: names are compared and never used as paths, links lead only to entries of the same
//! archive ([`link`]), and content that readers of tar interpret differently is rejected ([`tar_header`]).

mod both;
mod entry;
mod files;
mod link;
mod reading;
mod tar_header;
mod tar_index;
#[cfg(test)]
mod tests;
mod tree;
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
use crate::{Images, Layout, Listing, ObjectStore, TreeRepository};
use both::BothFormats;
use tree::ArchivedTree;

/// An archive with its images. It is indexed when it is opened, so keep it while images of it are needed.
///
/// An archive with a storage tree of one repository has the images of that repository. With several, only
/// [`Archive::tree_repository`] has images; everything else fails with `LAYOUT_REFERENCE_AMBIGUOUS`.
#[derive(Clone)]
pub struct Archive {
    name: String,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Layout(Box<BothFormats>),
    Docker(DockerArchive),
    Tree(ArchivedTree),
}

/// The layout below `prefix` with the images of `manifest.json`. If the layout cannot be read, its error is reported with the
/// images of `manifest.json`, if there are any.
async fn layout(files: Arc<ArchiveFiles>, prefix: &str) -> Result<Content> {
    let docker = DockerArchive::beside_layout(Arc::clone(&files)).await;
    match (Layout::open(files, prefix).await, docker) {
        (Ok(layout), Ok(docker)) => {
            let both = BothFormats::new(layout, docker).await?;
            Ok(Content::Layout(Box::new(both)))
        }
        (Err(error), Ok(docker)) if error.is_permanent() && !docker.saved().is_empty() => {
            Ok(Content::Docker(docker.with_refused("index.json", error)))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

impl Archive {
    /// Opens the archive at `key`, regardless of its extension. Codes for the whole archive: `ARCHIVE_INVALID`,
    /// `ARCHIVE_UNSUPPORTED`, `ARCHIVE_TOO_LARGE`, `ARCHIVE_BOMB`, `ARCHIVE_TRUNCATED`, `ARCHIVE_WITHOUT_IMAGES`,
    /// `LAYOUT_INVALID`, `DOCKER_ARCHIVE_INVALID`.
    pub async fn open(store: Arc<dyn ObjectStore>, key: &str) -> Result<Self> {
        Self::open_with(store, key, Limits::default()).await
    }

    /// Like [`Self::open`], with other limits of expansion.
    pub async fn open_with(store: Arc<dyn ObjectStore>, key: &str, limits: Limits) -> Result<Self> {
        let name = format!("{}/{key}", store.name());
        let files = Arc::new(ArchiveFiles::read(store, key, limits).await?);
        let invalid = |why: &'static str| Error::of(Code::ArchiveInvalid, Verb::Read.on(files.name())).because(why);
        let content = match (layout_within(&files)?, ArchivedTree::find(&files)?) {
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "it contains a layout and a storage tree; create one archive for each",
                ));
            }
            (Some(prefix), None) => layout(files, &prefix).await?,
            (None, Some(tree)) => Content::Tree(tree),
            (None, None) => Content::Docker(DockerArchive::open(files).await?),
        };
        Ok(Self { name, content })
    }

    /// The names of the repositories of a storage tree, possibly invalid; [`None`] if the archive has no storage tree.
    pub(crate) fn tree_repositories(&self) -> Option<impl Iterator<Item = &str>> {
        match &self.content {
            Content::Tree(tree) => Some(tree.names()),
            Content::Layout(_) | Content::Docker(_) => None,
        }
    }

    /// The repository `name` of the storage tree. `INVALID_REFERENCE` if the name is not valid.
    pub fn tree_repository(&self, name: &str) -> Result<TreeRepository> {
        match &self.content {
            Content::Tree(tree) => tree.repository(name),
            Content::Layout(_) | Content::Docker(_) => Err(Error::of(Code::SourceNotFound, Verb::Open.on(name))),
        }
    }

    /// Finds the image for `reference`, as [`Images::target_of`] does. In a storage tree the reference may start with the name of
    /// a repository: `team/app:v1`, `team/app@sha256:…` or `team/app`.
    pub async fn find(self, reference: Option<&str>) -> Result<(Box<dyn Source>, Target)> {
        if let (Content::Tree(tree), Some(reference)) = (&self.content, reference) {
            let named = tree.names().filter_map(|name| Some((name, after(reference, name)?)));
            if let Some((name, rest)) = named.max_by_key(|(name, _)| name.len()) {
                let repository = tree.repository(name)?;
                let target = repository.target_of(Some(rest).filter(|rest| !rest.is_empty())).await?;
                return Ok((Box::new(repository), target));
            }
        }
        let target = self.target_of(reference).await?;
        Ok((Box::new(self), target))
    }

    fn images_of(&self) -> Result<&dyn Images> {
        match &self.content {
            Content::Layout(layout) => Ok(layout.as_ref()),
            Content::Docker(archive) => Ok(archive),
            Content::Tree(tree) => Ok(tree.only()?),
        }
    }
}

/// What follows the repository `name` in `reference`: a tag or a digest, or nothing. [`None`] for another repository.
fn after<'a>(reference: &'a str, name: &str) -> Option<&'a str> {
    let rest = reference.strip_prefix(name)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix([':', '@'])
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
        self.images_of()?.blob_get(blob, offset).await
    }

    async fn has_blob(&self, blob: &Descriptor) -> bool {
        match self.images_of() {
            Ok(images) => images.has_blob(blob).await,
            Err(_) => false,
        }
    }
}

#[async_trait]
impl Manifests for Archive {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.images_of()?.manifest_head(target).await
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        self.images_of()?.manifest_get(target).await
    }
}

#[async_trait]
impl Source for Archive {
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.images_of()?.referrers(subject).await
    }
}

#[async_trait]
impl Images for Archive {
    async fn images(&self) -> Result<Listing> {
        self.images_of()?.images().await
    }

    async fn target_of(&self, reference: Option<&str>) -> Result<Target> {
        self.images_of()?.target_of(reference).await
    }
}
