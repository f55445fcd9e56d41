//! A look at a source that may still be arriving: is all of it there, and if not, what is waited for?
//!
//! Whoever looks is told what to wait for and need not look again before some of it arrives. Between a look and the time its
//! answer is written down, what was missing may have arrived: [`present`] finds that out. What both say changes only as the
//! store does, so that looking until nothing more is present comes to an end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use transship_oci::{Digest, Result, Target};

use crate::found::tree_repository;
use crate::layout::{self, blob_key};
use crate::missing::Blobs;
use crate::{Archive, Completeness, Found, FoundKind, Images, Layout, Missing, Object, ObjectStore};

/// What a look at a source found.
pub enum Looked {
    /// All of it, or of the one image that was looked at.
    Complete {
        /// The source, opened.
        images: Arc<dyn Images>,
        /// Short; the same for the same upload, another for each later one, also of the same bytes where the store says
        /// when they were written. Empty for a storage tree as a whole, which has no such thing.
        version: String,
    },
    /// Not all of it yet.
    Incomplete {
        /// At most a thousand of what is missing.
        missing: Vec<Missing>,
    },
    /// Nothing is there that could become an image of its own.
    Nothing,
}

impl Looked {
    fn of(images: impl Images + 'static, version: String, missing: Vec<Missing>) -> Self {
        if missing.is_empty() {
            let images = Arc::new(images);
            Self::Complete { images, version }
        } else {
            Self::Incomplete { missing }
        }
    }
}

/// Looks at `found`; of a storage tree at the one image `target`, or at the repository as it is, which always counts as
/// complete. What is there and cannot be read is an error: the codes of [`crate::open`], of a tree's image also those of its
/// link and its manifest.
pub async fn look(store: Arc<dyn ObjectStore>, found: &Found, target: Option<&Target>) -> Result<Looked> {
    match (found.kind, target) {
        (FoundKind::Layout, _) => look_at_layout(store, &found.key).await,
        (FoundKind::Archive, _) => look_at_archive(store, &found.key).await,
        (FoundKind::Repository, None) => Ok(Looked::of(tree_repository(store, found)?, String::new(), Vec::new())),
        (FoundKind::Repository, Some(target)) => {
            let tree = tree_repository(store, found)?;
            match tree.arrived(target).await? {
                Some(arrived) => Ok(Looked::of(tree, arrived.version, arrived.missing)),
                None => Ok(Looked::Nothing),
            }
        }
    }
}

async fn look_at_layout(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Looked> {
    match Layout::looked_at(store, prefix).await? {
        (Completeness::Complete(layout), index) => {
            let version = index.as_ref().map(version_of).unwrap_or_default();
            Ok(Looked::of(layout, version, Vec::new()))
        }
        (Completeness::Incomplete { missing }, _) => {
            let files = missing.iter().filter(|one| matches!(one, Missing::File(_)));
            if files.count() == layout::FILES {
                return Ok(Looked::Nothing);
            }
            Ok(Looked::Incomplete { missing })
        }
    }
}

async fn look_at_archive(store: Arc<dyn ObjectStore>, key: &str) -> Result<Looked> {
    let Some(object) = store.head(key).await? else {
        return Ok(Looked::Nothing);
    };
    let archive = Archive::open(store, key).await?;
    Ok(Looked::of(archive, version_of(&object), Vec::new()))
}

/// What tells the names that `found` has now, or that one `target` of a storage tree, from those it had or will have; empty
/// if there are none. One HEAD: of the file that a look begins with.
pub async fn names_version(store: Arc<dyn ObjectStore>, found: &Found, target: Option<&Target>) -> Result<String> {
    let key = match (found.kind, target) {
        (FoundKind::Layout, _) => layout::index_key(&found.key),
        (FoundKind::Archive, _) => found.key.clone(),
        (FoundKind::Repository, None) => return Ok(String::new()),
        (FoundKind::Repository, Some(target)) => tree_repository(Arc::clone(&store), found)?.names_key(target),
    };
    let object = store.head(&key).await?;
    Ok(object.as_ref().map(version_of).unwrap_or_default())
}

/// Which of the digests that a look at `found` called missing are there by now: in the size they should have, or at least
/// in another than they had then, so that looking again is worth it.
pub async fn present(store: Arc<dyn ObjectStore>, found: &Found, missing: &[Missing]) -> Result<Vec<Digest>> {
    match found.kind {
        FoundKind::Layout => {
            let keys: BTreeMap<String, &Missing> = missing
                .iter()
                .filter_map(|one| match one {
                    Missing::Blob { digest, .. } => Some((blob_key(&found.key, digest), one)),
                    Missing::File(_) => None,
                })
                .collect();
            layout::blobs(store.as_ref(), &found.key).changed(keys).await
        }
        FoundKind::Repository => tree_repository(store, found)?.present(missing).await,
        // It is one object, and whatever is in it is there.
        FoundKind::Archive => Ok(Vec::new()),
    }
}

impl Blobs<'_> {
    /// Of what was missing, by its key, what is there now in another size than it had then: that is the right one, unless it
    /// is still being written.
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

/// `content`, and when it was written in nanoseconds since 1970.
pub(crate) fn version(content: &str, written: Option<SystemTime>) -> String {
    let since = written.and_then(|written| written.duration_since(UNIX_EPOCH).ok());
    since.map_or_else(|| content.to_owned(), |since| format!("{content}@{}", since.as_nanos()))
}

#[cfg(test)]
mod tests;
