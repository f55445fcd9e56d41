//! Headers of a plain tar, read by range.
//!
//! Headers are between data that need not be read. If the next header is near, a window is read whose size doubles each time,
//! so that many small files cost few requests. If it is far, only its 512 bytes are read, so that an archive of large files
//! costs almost no bytes. In between, less than 1 % of the skipped data is read.

use crate::store::changed;
use std::sync::Arc;

use bytes::Bytes;

use super::tar_header::BLOCK_BYTES;
use crate::read_all::collected;
use crate::{Object, ObjectStore, Part};
use transship_oci::Result;

/// Distance in bytes at which a header is less than 1 % of the skipped data.
const SKIP_BYTES_MIN: u64 = 100 * BLOCK_BYTES;
const MAX_AHEAD_BYTES: u64 = 256 * 1024;

/// A part of an object held in memory, moved forward.
pub(super) struct Window {
    store: Arc<dyn ObjectStore>,
    object: Object,
    start: u64,
    bytes: Bytes,
    ahead: u64,
}

impl Window {
    pub(super) fn new(store: Arc<dyn ObjectStore>, object: Object) -> Self {
        Self {
            store,
            object,
            start: 0,
            bytes: Bytes::new(),
            ahead: BLOCK_BYTES,
        }
    }

    /// The bytes at `offset`; fewer than `length` only at the end of the object.
    pub(super) async fn read(&mut self, offset: u64, length: u64) -> Result<Bytes> {
        if let Some(held) = self.held(offset, length) {
            return Ok(held);
        }
        let jump = offset.saturating_sub(self.start + self.bytes.len() as u64);
        self.ahead = if jump >= SKIP_BYTES_MIN {
            BLOCK_BYTES
        } else {
            (self.ahead * 2).min(MAX_AHEAD_BYTES)
        };
        let wanted = length.max(self.ahead).min(self.object.size.saturating_sub(offset));
        self.start = offset;
        self.bytes = Bytes::new();
        if wanted > 0 {
            self.bytes = part(self.store.as_ref(), &self.object, offset, wanted).await?;
        }
        let there = (self.bytes.len() as u64).min(length);
        Ok(self.held(offset, there).unwrap_or_default())
    }

    fn held(&self, offset: u64, length: u64) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(usize::try_from(length).ok()?)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

/// Reads a small part of an object. `OBJECT_CHANGED` if the object was replaced or deleted.
pub(super) async fn part(store: &dyn ObjectStore, object: &Object, offset: u64, length: u64) -> Result<Bytes> {
    let part = Part {
        offset,
        length: Some(length),
        etag: object.etag.as_deref(),
    };
    let stream = store.get(&object.key, part).await?;
    let stream = stream.ok_or_else(|| changed(&object.key))?;
    let limit = usize::try_from(length).unwrap_or(usize::MAX);
    collected(stream, &object.key, limit).await
}
