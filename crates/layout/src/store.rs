//! The port to where files lie: a folder, a bucket, memory.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use transship_copy::ByteStream;

use crate::Result;

/// Objects under keys of `/`-separated parts. A key never begins with `/` and never holds `..`; an adapter refuses to be led
/// out of its root by links all the same.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// The size of an object in bytes; [`None`] if there is none.
    async fn head(&self, key: &str) -> Result<Option<u64>>;

    /// The bytes of an object from `offset` on; [`None`] if there is none.
    async fn get(&self, key: &str, offset: u64) -> Result<Option<ByteStream>>;
}

/// Objects in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryStore(pub HashMap<String, Bytes>);

#[async_trait]
impl ObjectStore for MemoryStore {
    fn name(&self) -> String {
        "memory".into()
    }

    async fn head(&self, key: &str) -> Result<Option<u64>> {
        Ok(self.0.get(key).map(|bytes| bytes.len() as u64))
    }

    async fn get(&self, key: &str, offset: u64) -> Result<Option<ByteStream>> {
        let Some(bytes) = self.0.get(key) else { return Ok(None) };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Some(stream::iter([Ok(bytes.slice(from..))]).boxed()))
    }
}
