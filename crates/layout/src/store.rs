//! The port for objects: a folder, a bucket, or memory.
//!
//! Reads are by range, so that a layer of any size needs only a few chunks of memory. Writes are conditional: the caller states
//! the expected content, and the write fails if it has changed.

use std::time::SystemTime;
use transship_oci::{Code, Error, Operation, Result, Verb};

use async_trait::async_trait;
use bytes::Bytes;
use transship_copy::ByteStream;

/// Maximum number of objects in a page of a listing. Source: Amazon S3, `ListObjectsV2`.
pub const PAGE_MAX: usize = 1000;

/// Metadata of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Opaque identifier of this content, different for each content of the key; [`None`] if the store has none.
    pub etag: Option<String>,
    /// When this content was written, by the store's clock and in its resolution (Amazon S3: whole seconds). In some stores the
    /// same bytes written again have the same `etag` but another time. [`None`] if the store does not report it.
    pub written: Option<SystemTime>,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Objects in byte order of their keys.
    pub objects: Vec<Object>,
    /// True for the last page; otherwise continue after the last key.
    pub is_last: bool,
}

/// The bytes to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part<'a> {
    /// Offset of the first byte. At or beyond the end, the result is empty and not an error.
    pub offset: u64,
    /// Maximum number of bytes; [`None`] for all up to the end.
    pub length: Option<u64>,
    /// The expected content ([`Object::etag`]); `OBJECT_CHANGED` if the object has another one.
    pub etag: Option<&'a str>,
}

impl Part<'_> {
    /// Everything from `offset` on, of any content.
    pub const fn from(offset: u64) -> Self {
        Self {
            offset,
            length: None,
            etag: None,
        }
    }
}

/// Result of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The object was written and has this [`Object::etag`].
    Written(Option<String>),
    /// The condition did not hold, because another writer was first. Nothing was written; read the object again.
    Lost,
}

/// Objects with keys of `/`-separated parts. A key never starts with `/` and never contains `..`; in addition, an adapter must
/// not follow links out of its root.
///
/// A *lost* race is a result ([`Put::Lost`]). A race that the store could not decide is the error `OBJECT_CONFLICT`, after the
/// adapter's retries; the same write may be tried again.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Name for messages.
    fn name(&self) -> String;

    /// Metadata of an object; [`None`] if it does not exist.
    async fn head(&self, key: &str) -> Result<Option<Object>>;

    /// Bytes of an object; [`None`] if it does not exist.
    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>>;

    /// Objects whose keys start with `prefix`, which need not end at a `/`, after the key `after`; at most `max`, and at most
    /// [`PAGE_MAX`]. A key that exists during the whole listing is in exactly one page.
    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page>;

    /// Writes an object that does not exist. One of several simultaneous writers wins.
    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put>;

    /// Replaces the content `etag` of an object. One of several simultaneous writers wins; for a deleted object the write is lost.
    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put>;
}

/// `OBJECT_UNREADABLE`, for adapters of [`ObjectStore`].
pub fn unreadable(key: &str, cause: std::io::Error) -> Error {
    Error::new(Code::ObjectUnreadable, Verb::Read.on(key), cause.to_string()).with_source(cause)
}

/// `OBJECT_CHANGED`, for adapters of [`ObjectStore`].
pub fn changed(key: &str) -> Error {
    Error::of(Code::ObjectChanged, Verb::Read.on(key))
}

/// `SOURCE_EMPTY`: there is no importable source at `place`.
pub(crate) fn empty(place: &str, operation: impl Into<Operation>) -> Error {
    let message = format!("there is no layout, archive or storage tree at {place:?}");
    Error::new(Code::SourceEmpty, operation, message)
}
