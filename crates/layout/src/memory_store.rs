//! A store in memory, for tests and for content that is created and read in one process.

use crate::store::changed;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use transship_copy::ByteStream;
use transship_oci::{Digest, Result};

use crate::{Object, ObjectStore, PAGE_MAX, Page, Part, Put};

/// Objects in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<String, ManifestState>>);

#[derive(Debug)]
struct ManifestState {
    bytes: Bytes,
    etag: String,
    written: SystemTime,
}

impl ManifestState {
    fn new(bytes: Bytes) -> Self {
        let etag = Digest::sha256(&bytes).to_string();
        Self {
            bytes,
            etag,
            written: SystemTime::now(),
        }
    }

    fn object(&self, key: &str) -> Object {
        Object {
            key: key.to_owned(),
            size: self.bytes.len() as u64,
            etag: Some(self.etag.clone()),
            written: Some(self.written),
        }
    }
}

impl MemoryStore {
    /// A store with these objects.
    pub fn new(objects: HashMap<String, Bytes>) -> Self {
        let held = objects.into_iter().map(|(key, bytes)| (key, ManifestState::new(bytes)));
        Self(Mutex::new(held.collect()))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, ManifestState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn name(&self) -> String {
        "memory".into()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        Ok(self.held().get(key).map(|held| held.object(key)))
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        let held = self.held();
        let Some(held) = held.get(key) else { return Ok(None) };
        if part.etag.is_some_and(|etag| etag != held.etag) {
            return Err(changed(key));
        }
        let all = held.bytes.len();
        let from = usize::try_from(part.offset).unwrap_or(usize::MAX).min(all);
        let length = part.length.and_then(|length| usize::try_from(length).ok());
        let to = length.map_or(all, |length| from.saturating_add(length).min(all));
        Ok(Some(stream::iter([Ok(held.bytes.slice(from..to))]).boxed()))
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        let held = self.held();
        let start = after.filter(|after| *after >= prefix);
        let start = start.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut found = held
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, held)| held.object(key));
        let objects: Vec<Object> = found.by_ref().take(max.min(PAGE_MAX)).collect();
        Ok(Page {
            is_last: found.next().is_none(),
            objects,
        })
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put> {
        let mut held = self.held();
        if held.contains_key(key) {
            return Ok(Put::Lost);
        }
        let new = ManifestState::new(bytes);
        let etag = Some(new.etag.clone());
        held.insert(key.to_owned(), new);
        Ok(Put::Written(etag))
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put> {
        let mut held = self.held();
        match held.get_mut(key) {
            Some(held) if held.etag == etag => {
                *held = ManifestState::new(bytes);
                Ok(Put::Written(Some(held.etag.clone())))
            }
            _ => Ok(Put::Lost),
        }
    }
}
