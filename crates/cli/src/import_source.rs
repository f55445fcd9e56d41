//! What `import` may be told to read: a folder, one archive, or a place in a bucket.

use std::path::Path;
use std::sync::Arc;

use transship_layout::{Found, FoundKind, ObjectStore};
use transship_local::ObjectFolder;

use crate::bucket::InBucket;
use crate::failure::{Exit, Failure};
use crate::image_source::file_in_store;

/// Where sources are looked for.
pub(crate) struct ImportSource {
    /// Where everything lies.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// What of it.
    pub(crate) sources: Sources,
}

/// What of a store is taken.
pub(crate) enum Sources {
    /// The one source that was named.
    One(Found),
    /// Everything whose key begins so; or the archive that has this key.
    Below(String),
}

impl ImportSource {
    /// Reads `text`, looking at the disk to tell an archive from a folder.
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
            // Who names a file means an archive, whatever it is called.
            let (store, key) = file_in_store(path)?;
            let archive = Found {
                kind: FoundKind::Archive,
                key,
                path: String::new(),
            };
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
