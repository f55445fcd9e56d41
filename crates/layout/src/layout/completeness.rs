//! Checks whether a layout is complete.
//!
//! Layouts are uploaded object by object and in any order. A layout is complete when its two files, the manifests that they
//! name, and the blobs that these name are present in the declared sizes. Until then the missing objects are reported, so that
//! the layout is scanned again only when one of them is uploaded.

use std::sync::Arc;

use async_trait::async_trait;
use transship_oci::{Descriptor, Digest, Result};

use super::{INDEX, Layout, MARKER, blob_key, blobs};
use crate::missing::{Blobs, Edges, ManifestState, ManifestStore, missing};
use crate::{Missing, Object, ObjectStore};

/// Completeness of a layout.
pub enum Completeness {
    /// The layout is complete.
    Complete(Layout),
    /// The layout is incomplete.
    Incomplete {
        /// Up to a thousand of the missing objects.
        missing: Vec<Missing>,
    },
}

impl Layout {
    /// Checks whether the layout below `prefix` (empty, or ending in `/`) is complete. `LAYOUT_INVALID` if it cannot become a
    /// valid layout.
    pub async fn completeness(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Completeness> {
        let (completeness, _) = Self::inspected(store, prefix).await?;
        Ok(completeness)
    }

    /// Like [`Self::of`], and returns the `index.json` that was read.
    pub(crate) async fn inspected(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<(Completeness, Option<Object>)> {
        let index = store.head(&format!("{prefix}{INDEX}")).await?;
        let marker = store.head(&format!("{prefix}{MARKER}")).await?;
        let files = [(MARKER, &marker), (INDEX, &index)];
        let absent = files.into_iter().filter(|(_, object)| object.is_none());
        let mut missing: Vec<Missing> = absent.map(|(file, _)| Missing::File(file.to_owned())).collect();
        if missing.is_empty() {
            let layout = Self::open(store, prefix).await?;
            let roots: Vec<Descriptor> = layout.entries().map(|entry| entry.descriptor).collect();
            missing = layout.missing(&roots).await?;
            if missing.is_empty() {
                return Ok((Completeness::Complete(layout), index));
            }
        }
        Ok((Completeness::Incomplete { missing }, index))
    }

    /// The missing objects of the images `roots`, including the roots.
    pub async fn missing(&self, roots: &[Descriptor]) -> Result<Vec<Missing>> {
        let roots = Edges {
            manifests: roots.to_vec(),
            blobs: Vec::new(),
        };
        missing(self, roots).await
    }
}

#[async_trait]
impl ManifestStore for Layout {
    fn blobs(&self) -> Blobs<'_> {
        blobs(self.store.as_ref(), &self.prefix)
    }

    async fn manifest(&self, digest: &Digest) -> Result<ManifestState> {
        let found = self.manifest_of(digest, None).await?;
        Ok(found.map_or_else(
            || ManifestState::Absent {
                digest: digest.clone(),
                found_bytes: None,
            },
            |manifest| ManifestState::Manifest(Box::new(manifest)),
        ))
    }

    async fn located(&self, digest: &Digest) -> Result<(String, Digest)> {
        Ok((blob_key(&self.prefix, digest), digest.clone()))
    }
}
