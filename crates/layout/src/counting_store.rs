//! A store in memory that counts requests and bytes, for the tests of this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use transship_copy::ByteStream;
use transship_oci::Result;

use crate::{MemoryStore, Object, ObjectStore, Page, Part, Put};

/// A store with these objects.
pub(crate) fn store_of(files: impl IntoIterator<Item = (String, Bytes)>) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(files.into_iter().collect()))
}

/// Counts the requests to a store.
pub(crate) struct Counting<S> {
    pub(crate) store: S,
    pub(crate) requests: AtomicU64,
    pub(crate) bytes: Arc<AtomicU64>,
}

impl<S> Counting<S> {
    pub(crate) fn new(store: S) -> Self {
        Self {
            store,
            requests: AtomicU64::new(0),
            bytes: Arc::default(),
        }
    }

    /// Requests and bytes since the last time.
    pub(crate) fn taken(&self) -> (u64, u64) {
        (
            self.requests.swap(0, Ordering::Relaxed),
            self.bytes.swap(0, Ordering::Relaxed),
        )
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Counting<S> {
    fn name(&self) -> String {
        self.store.name()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        self.count();
        self.store.head(key).await
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        self.count();
        let bytes = Arc::clone(&self.bytes);
        let counted = move |chunk: &Bytes| {
            bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        };
        Ok(self
            .store
            .get(key, part)
            .await?
            .map(|stream| stream.inspect_ok(counted).boxed()))
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        self.count();
        self.store.list(prefix, after, max).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put> {
        self.store.put_if_absent(key, bytes).await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put> {
        self.store.put_if_match(key, bytes, etag).await
    }
}
