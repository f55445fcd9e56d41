//! Sources that are open.
//!
//! An archive is indexed when it is opened, which may read all of it. It is therefore opened once for all repositories of a
//! storage tree in it.

use std::sync::Arc;

use transship_oci::Result;

use crate::layout::Layout;
use crate::source_ref::tree_repository;
use crate::{Archive, Images, ObjectStore, SourceKind, SourceRef};

/// An open source.
#[derive(Clone)]
pub struct OpenSource {
    whole: SourceRef,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Archive(Box<Archive>),
    Other(Arc<dyn Images>),
}

impl OpenSource {
    /// Opens `found`; of a repository in an archive, the whole archive.
    pub async fn open(store: Arc<dyn ObjectStore>, found: &SourceRef) -> Result<Self> {
        match found.kind {
            SourceKind::Layout => Ok(Self::of(found, Layout::open(store, &found.key).await?)),
            SourceKind::Archive => Ok(Self::of_archive(found, Archive::open(store, &found.key).await?)),
            SourceKind::Repository => Ok(Self::of(found, tree_repository(store, found)?)),
        }
    }

    pub(crate) fn of(found: &SourceRef, images: impl Images + 'static) -> Self {
        Self {
            whole: found.clone(),
            content: Content::Other(Arc::new(images)),
        }
    }

    pub(crate) fn of_archive(found: &SourceRef, archive: Archive) -> Self {
        Self {
            whole: found.clone(),
            content: Content::Archive(Box::new(archive)),
        }
    }

    /// True if `found` is this source or a repository of it.
    pub fn holds(&self, found: &SourceRef) -> bool {
        self.whole.kind == found.kind && self.whole.key == found.key
    }

    /// What has images of its own: of an archive with a storage tree each repository, otherwise the source itself. The names of
    /// repositories are not validated yet.
    pub fn parts(&self) -> Vec<SourceRef> {
        let names = match &self.content {
            Content::Archive(archive) => archive.tree_repositories(),
            Content::Other(_) => None,
        };
        match names {
            Some(names) => names.map(|name| self.whole.in_tree_of_archive(name)).collect(),
            None => vec![self.whole.clone()],
        }
    }

    /// The images of `part`. `INVALID_REFERENCE` if it is a repository whose name is not valid.
    pub fn images(&self, part: &SourceRef) -> Result<Arc<dyn Images>> {
        match (&self.content, &part.tree_repository) {
            (Content::Archive(archive), Some(name)) => Ok(Arc::new(archive.tree_repository(name)?)),
            (Content::Archive(archive), None) => Ok(Arc::new(archive.as_ref().clone())),
            (Content::Other(images), _) => Ok(Arc::clone(images)),
        }
    }
}

/// The images of `found`. To read several parts of an archive, open it once with [`OpenSource::open`].
pub async fn open(store: Arc<dyn ObjectStore>, found: &SourceRef) -> Result<Arc<dyn Images>> {
    OpenSource::open(store, found).await?.images(found)
}
