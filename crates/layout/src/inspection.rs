//! Inspects a source that may still be incomplete: is it complete, and if not, what is missing?
//!
//! The caller gets the missing digests and need not inspect the source again before one of them is uploaded. Missing objects
//! may be uploaded between an inspection and the time its result is stored; [`arrived_since`] detects this. Both results change only
//! when the store changes, so that repeating the inspection until nothing more is present ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use transship_oci::{Digest, Result, Target};

use crate::layout::{self, blob_key};
use crate::missing::Blobs;
use crate::source_ref::tree_repository;
use crate::{Archive, Completeness, Layout, Missing, Object, ObjectStore, OpenSource, SourceKind, SourceRef};

/// Result of inspecting a source.
pub enum Inspection {
    /// The source, or the inspected image, is complete.
    Complete {
        /// The source.
        source: OpenSource,
        /// A short version: the same for the same upload, and different for each later one, even of the same bytes if the store
        /// reports when they were written. Empty for a storage tree as a whole, which has no version.
        version: String,
    },
    /// The source is incomplete.
    Incomplete {
        /// Up to a thousand of the missing objects.
        missing: Vec<Missing>,
    },
    /// There is nothing that could become an image.
    Nothing,
}

impl Inspection {
    fn of(source: OpenSource, version: String, missing: Vec<Missing>) -> Self {
        if missing.is_empty() {
            Self::Complete { source, version }
        } else {
            Self::Incomplete { missing }
        }
    }
}

/// Inspects `found`; in a storage tree the image `target`, or the repository as a whole, which always counts as complete.
/// Invalid content is an error, with the codes of [`crate::Archive::open`] and, for an image of a tree, those of its link and manifest.
pub async fn inspect(store: Arc<dyn ObjectStore>, found: &SourceRef, target: Option<&Target>) -> Result<Inspection> {
    match (found.kind, target) {
        (SourceKind::Layout, _) => inspect_layout(store, found).await,
        (SourceKind::Archive, _) => inspect_archive(store, found).await,
        (SourceKind::Repository, None) => {
            let tree = OpenSource::of(found, tree_repository(store, found)?);
            Ok(Inspection::of(tree, String::new(), Vec::new()))
        }
        (SourceKind::Repository, Some(target)) => {
            let tree = tree_repository(store, found)?;
            match tree.arrived(target).await? {
                Some(arrived) => Ok(Inspection::of(
                    OpenSource::of(found, tree),
                    arrived.version,
                    arrived.missing,
                )),
                None => Ok(Inspection::Nothing),
            }
        }
    }
}

async fn inspect_layout(store: Arc<dyn ObjectStore>, found: &SourceRef) -> Result<Inspection> {
    match Layout::inspected(store, &found.key).await? {
        (Completeness::Complete(layout), index) => {
            let version = index.as_ref().map(version_of).unwrap_or_default();
            Ok(Inspection::of(OpenSource::of(found, layout), version, Vec::new()))
        }
        (Completeness::Incomplete { missing }, _) => {
            let files = missing.iter().filter(|one| matches!(one, Missing::File(_)));
            if files.count() == layout::MARKER_FILES {
                return Ok(Inspection::Nothing);
            }
            Ok(Inspection::Incomplete { missing })
        }
    }
}

async fn inspect_archive(store: Arc<dyn ObjectStore>, found: &SourceRef) -> Result<Inspection> {
    let Some(object) = store.head(&found.key).await? else {
        return Ok(Inspection::Nothing);
    };
    let archive = Archive::open(store, &found.key).await?;
    let source = OpenSource::of_archive(found, archive);
    Ok(Inspection::of(source, version_of(&object), Vec::new()))
}

/// The version of the names of `found`, or of `target` in a storage tree; empty if there are none. It costs one HEAD, of the
/// file with which an inspection starts.
pub async fn index_version(store: Arc<dyn ObjectStore>, found: &SourceRef, target: Option<&Target>) -> Result<String> {
    let key = match (found.kind, target) {
        (SourceKind::Layout, _) => layout::index_key(&found.key),
        (SourceKind::Archive, _) => found.key.clone(),
        (SourceKind::Repository, None) => return Ok(String::new()),
        (SourceKind::Repository, Some(target)) => tree_repository(Arc::clone(&store), found)?.names_key(target),
    };
    let object = store.head(&key).await?;
    Ok(object.as_ref().map(version_of).unwrap_or_default())
}

/// The digests that were missing in an inspection of `found` and are present by now: in the expected size, or in another size
/// than before, so that another inspection is useful.
pub async fn arrived_since(store: Arc<dyn ObjectStore>, found: &SourceRef, missing: &[Missing]) -> Result<Vec<Digest>> {
    match found.kind {
        SourceKind::Layout => {
            let keys: BTreeMap<String, &Missing> = missing
                .iter()
                .filter_map(|one| match one {
                    Missing::Blob { digest, .. } => Some((blob_key(&found.key, digest), one)),
                    Missing::File(_) => None,
                })
                .collect();
            layout::blobs(store.as_ref(), &found.key).changed(keys).await
        }
        SourceKind::Repository => tree_repository(store, found)?.arrived_since(missing).await,
        // An archive is one object, so all of its content is present.
        SourceKind::Archive => Ok(Vec::new()),
    }
}

impl Blobs<'_> {
    /// The missing objects, by key, that now have another size than before, which is the right one unless the object is still
    /// being written.
    pub(crate) async fn changed(&self, missing: BTreeMap<String, &Missing>) -> Result<Vec<Digest>> {
        let sizes = self.sizes(&missing).await?;
        let changed = missing.into_iter().filter_map(|(key, one)| match one {
            Missing::Blob {
                digest, found_bytes, ..
            } => sizes
                .get(&key)
                .is_some_and(|size| Some(*size) != *found_bytes)
                .then(|| digest.clone()),
            Missing::File(_) => None,
        });
        Ok(changed.collect())
    }
}

fn version_of(object: &Object) -> String {
    let etag = object.etag.as_deref().unwrap_or_default();
    version(etag.trim_matches('"'), object.written)
}

/// `content`, followed by the time of the write in nanoseconds since 1970.
pub(crate) fn version(content: &str, written: Option<SystemTime>) -> String {
    let since = written.and_then(|written| written.duration_since(UNIX_EPOCH).ok());
    since.map_or_else(|| content.to_owned(), |since| format!("{content}@{}", since.as_nanos()))
}

#[cfg(test)]
mod tests;
