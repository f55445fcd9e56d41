//! Sources that are open: the images of one archive or layout are many tasks, and to open it is to read its index.
//!
//! What must hold: what a task says was there when it was planned is looked for in the source as it is now, so one that was
//! opened before and has something else is opened anew.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::timeout;
use transship_copy::Slot;
use transship_layout::{Found, Images, ObjectStore, open};
use transship_oci::{Code, Digest, Error, Result, Verb};

use crate::{Awaited, Stores, Task, Waiting};

/// So many sources stay open. The index of an archive of 20,000 entries is some megabytes.
const OPEN_MAX: usize = 4;

/// What tasks of imports need besides a registry.
pub struct Imports {
    stores: Arc<dyn Stores>,
    awaited: Arc<dyn Awaited>,
    /// The one used last at the end.
    open: Mutex<Vec<Opened>>,
}

#[derive(Clone)]
struct Opened {
    store: String,
    found: Found,
    images: Arc<dyn Images>,
}

impl Imports {
    /// Sources in `stores`; those that are not complete are remembered in `awaited`.
    pub fn new(stores: Arc<dyn Stores>, awaited: Arc<dyn Awaited>) -> Self {
        Self {
            stores,
            awaited,
            open: Mutex::default(),
        }
    }

    /// For a process that reads no stores: tasks of imports fail there as `STORE_UNKNOWN`.
    pub fn none() -> Self {
        Self::new(Arc::new(Nothing), Arc::new(Nothing))
    }

    /// See [`Stores::store`].
    pub(crate) fn store(&self, name: &str) -> Result<Arc<dyn ObjectStore>> {
        self.stores.store(name)
    }

    pub(crate) fn awaited(&self) -> &dyn Awaited {
        self.awaited.as_ref()
    }

    /// The source of `task`, in which its image is what the task says, if it still is.
    pub(crate) async fn source(&self, task: &Task, found: &Found, slot: Option<Slot>) -> Result<Arc<dyn Images>> {
        let name = &task.source.registry;
        if let Some(images) = self.opened(name, found) {
            let now = images.manifest_head(&task.source.target).await;
            if now.is_ok_and(|now| now.map(|now| now.digest) == task.hint) {
                return Ok(images);
            }
            self.close(name, found);
        }
        let opening = open(self.store(name)?, found);
        let images = match slot {
            Some(slot) => timeout(slot.left(), opening)
                .await
                .map_err(|_| Error::of(Code::SlotOver, Verb::Open.on(format_args!("{name}/{}", found.key))))?,
            None => opening.await,
        }?;
        self.keep(name, found, &images);
        Ok(images)
    }

    fn opened(&self, store: &str, found: &Found) -> Option<Arc<dyn Images>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open
            .iter()
            .position(|opened| opened.store == store && opened.found == *found)?;
        let opened = open.remove(at);
        open.push(opened.clone());
        Some(opened.images)
    }

    fn keep(&self, store: &str, found: &Found, images: &Arc<dyn Images>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|opened| opened.store != store || opened.found != *found);
        if open.len() >= OPEN_MAX {
            open.remove(0);
        }
        open.push(Opened {
            store: store.to_owned(),
            found: found.clone(),
            images: Arc::clone(images),
        });
    }

    /// A source that failed may be another one by now.
    pub(crate) fn close(&self, store: &str, found: &Found) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|opened| opened.store != store || opened.found != *found);
    }
}

/// No store, and nobody who waits.
struct Nothing;

impl Stores for Nothing {
    fn store(&self, name: &str) -> Result<Arc<dyn ObjectStore>> {
        Err(store_unknown(name))
    }
}

#[async_trait]
impl Awaited for Nothing {
    async fn wait_for(&self, _: &Waiting, _: &str, _: &[Digest], _: Timestamp) -> Result<()> {
        Ok(())
    }

    async fn arrived(&self, _: &str, _: &Digest, _: Timestamp) -> Result<Vec<Task>> {
        Ok(Vec::new())
    }

    async fn settle(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn waiting(&self, _: usize, _: Timestamp) -> Result<Vec<Waiting>> {
        Ok(Vec::new())
    }
}

/// `STORE_UNKNOWN`: this process cannot read the store `name`.
pub fn store_unknown(name: &str) -> Error {
    let message = format!("the store {name:?} cannot be read here: tasks of imports are done by the deployed stack");
    Error::new(Code::StoreUnknown, Verb::Store, message)
}
