//! Sources that are open: the images of one archive or layout are many tasks, and to open it is to read its index.
//!
//! What must hold: a source that was opened earlier serves a task only if it still has the image that the task expects;
//! otherwise it is opened again.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::timeout;
use transship_copy::TimeBudget;
use transship_layout::{Images, ObjectStore, OpenSource, SourceRef};
use transship_oci::{Code, Error, Result, Verb};

use crate::job::{CopyTask, Source};
use crate::ledger::{NoHints, PendingBlobs};
use crate::{StoreName, Stores};

/// The number of sources that stay open. The index of an archive of 20,000 entries is some megabytes.
const OPEN_SOURCES_MAX: usize = 4;

/// The stores that imports read, and the sources in them that are open.
pub struct SourceCache {
    stores: Arc<dyn Stores>,
    pending: PendingBlobs,
    /// The one used last at the end.
    open: Mutex<Vec<Cached>>,
}

#[derive(Clone)]
struct Cached {
    store: StoreName,
    source: OpenSource,
}

impl Cached {
    fn holds(&self, store: &StoreName, found: &SourceRef) -> bool {
        self.store == *store && self.source.holds(found)
    }
}

impl SourceCache {
    /// Sources in `stores`; those that are not complete are remembered in `pending`.
    pub fn new(stores: Arc<dyn Stores>, pending: PendingBlobs) -> Self {
        Self {
            stores,
            pending,
            open: Mutex::default(),
        }
    }

    /// For a process that reads no stores: jobs of imports fail there with `STORE_UNKNOWN`.
    pub fn none() -> Self {
        Self::new(Arc::new(NoStores), PendingBlobs::new(Arc::new(NoHints)))
    }

    /// See [`Stores::store`].
    pub(crate) fn store(&self, name: &StoreName) -> Result<Arc<dyn ObjectStore>> {
        self.stores.store(name)
    }

    pub(crate) const fn pending(&self) -> &PendingBlobs {
        &self.pending
    }

    /// The source of `task`, opened. `STORE_UNKNOWN` if it is in a registry.
    pub(crate) async fn open(&self, task: &CopyTask, budget: Option<TimeBudget>) -> Result<Arc<dyn Images>> {
        let Source::Stored { store, found, target } = &task.source else {
            return Err(store_unknown(&task.source));
        };
        if let Some(source) = self.opened(store, found) {
            let images = source.images(found)?;
            let now = images.manifest_head(target).await;
            if now.is_ok_and(|now| now.map(|now| now.digest) == task.expected) {
                return Ok(images);
            }
            self.close(&task.source);
        }
        let opening = OpenSource::open(self.store(store)?, found);
        let source = match budget {
            Some(budget) => timeout(budget.left(), opening)
                .await
                .map_err(|_| Error::of(Code::SlotOver, Verb::Open.on(format_args!("{store}/{}", found.key))))?,
            None => opening.await,
        }?;
        self.keep(store, found, &source);
        source.images(found)
    }

    fn opened(&self, store: &StoreName, found: &SourceRef) -> Option<OpenSource> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|cached| cached.holds(store, found))?;
        let cached = open.remove(at);
        open.push(cached.clone());
        Some(cached.source)
    }

    fn keep(&self, store: &StoreName, found: &SourceRef, source: &OpenSource) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|cached| !cached.holds(store, found));
        if open.len() >= OPEN_SOURCES_MAX {
            open.remove(0);
        }
        open.push(Cached {
            store: store.clone(),
            source: source.clone(),
        });
    }

    /// Forgets an open source: after a failure it may have been replaced.
    pub(crate) fn close(&self, source: &Source) {
        if let Source::Stored { store, found, .. } = source {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|cached| !cached.holds(store, found));
        }
    }
}

/// `STORE_UNKNOWN`: this process cannot read the store `name`.
pub fn store_unknown(name: impl Display) -> Error {
    let name = name.to_string();
    let message = format!("the store {name:?} cannot be read here: tasks of imports are done by the deployed stack");
    Error::new(Code::StoreUnknown, Verb::Store, message)
}

/// No store.
struct NoStores;

impl Stores for NoStores {
    fn store(&self, name: &StoreName) -> Result<Arc<dyn ObjectStore>> {
        Err(store_unknown(name))
    }
}
