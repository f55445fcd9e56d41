//! The sources of `import`: a folder, one archive, or a prefix of a bucket.

use std::path::Path;
use std::sync::Arc;

use transship_layout::{ObjectStore, SourceKind, SourceRef};
use transship_local::ObjectFolder;

use crate::bucket::InBucket;
use crate::failure::{Exit, Failure};
use crate::image_source::file_in_store;
use transship_oci::Result;

/// The location to search for sources.
pub(crate) struct ImportSource {
    /// The store that contains the sources.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The part of the store to import.
    pub(crate) sources: Sources,
}

/// A part of a store.
pub(crate) enum Sources {
    /// One source.
    One(SourceRef),
    /// Everything with this key prefix, or the archive with this key.
    Below(String),
}

impl ImportSource {
    /// Parses `text`. It checks the disk to distinguish an archive from a folder.
    pub(crate) async fn open(text: &str) -> Result<Self, Failure> {
        if let Some(place) = InBucket::parse(text) {
            let place = place?;
            return Ok(Self {
                store: place.store().await?,
                sources: Sources::Below(place.key),
            });
        }
        let path = Path::new(text);
        if path.is_file() {
            // A file is read as an archive, regardless of its name.
            let (store, key) = file_in_store(path)?;
            let archive = SourceRef::new(SourceKind::Archive, key, "");
            return Ok(Self {
                store,
                sources: Sources::One(archive),
            });
        }
        let store = ObjectFolder::open(path).map_err(|error| Failure::of(Exit::Input, &error))?;
        Ok(Self {
            store: Arc::new(store),
            sources: Sources::Below(String::new()),
        })
    }
}
