//! The port to where files lie: a folder, a bucket, memory.
//!
//! Reads are by range, so that a layer of any size passes through a few chunks of memory. Writes are conditional: whoever
//! writes says what was there before, and learns if that was no longer so. Nothing is overwritten blindly.

use std::time::SystemTime;
use transship_oci::{Code, Error, Operation, Result, Verb};

use async_trait::async_trait;
use bytes::Bytes;
use transship_copy::ByteStream;

/// The most objects one page of a listing may hold. Source: Amazon S3, `ListObjectsV2`.
pub const PAGE_MAX: usize = 1000;

/// What is known of an object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Tells this content from any other the key held or will hold. Opaque; [`None`] where the store has no such thing.
    pub etag: Option<String>,
    /// When this content was written, by the store's own clock and as finely as it tells (Amazon S3: whole seconds). The same
    /// bytes written again have the same `etag` in some stores, but another time. [`None`] where the store does not say.
    pub written: Option<SystemTime>,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order of their keys' bytes.
    pub objects: Vec<Object>,
    /// True if nothing follows; otherwise go on after the last key.
    pub is_last: bool,
}

/// Which bytes are wanted, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part<'a> {
    /// From which byte on. At or beyond the end there is nothing, and that is no error.
    pub offset: u64,
    /// At most so many; [`None`]: to the end.
    pub length: Option<u64>,
    /// Only of this content, as [`Object::etag`] named it; `OBJECT_CHANGED` if it is another by now.
    pub etag: Option<&'a str>,
}

impl Part<'_> {
    /// Everything from `offset` on, of whatever is there.
    pub const fn from(offset: u64) -> Self {
        Self {
            offset,
            length: None,
            etag: None,
        }
    }
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is there now, with this [`Object::etag`].
    Written(Option<String>),
    /// The condition did not hold: somebody else was first, and nothing was written. Look again before anything else.
    Lost,
}

/// Objects under keys of `/`-separated parts. A key never begins with `/` and never holds `..`; an adapter refuses to be led
/// out of its root by links all the same.
///
/// A race that is *lost* is an answer ([`Put::Lost`]); one that the store could not decide is the error `OBJECT_CONFLICT`,
/// after the adapter tried some times, and the same write may be tried again.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// What is known of an object; [`None`] if there is none.
    async fn head(&self, key: &str) -> Result<Option<Object>>;

    /// Bytes of an object; [`None`] if there is none.
    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>>;

    /// Objects whose key begins with `prefix`, which need not end at a `/`, behind the key `after`; at most `max`, and at
    /// most [`PAGE_MAX`]. A key that is there all the while is in exactly one page.
    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page>;

    /// Writes an object that is not there. Of simultaneous writers one wins.
    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put>;

    /// Writes an object in place of the content `etag`. Of simultaneous writers one wins; an object that is gone is lost too.
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

/// `SOURCE_EMPTY`: nothing that can be imported is at `place`.
pub(crate) fn empty(place: &str, operation: impl Into<Operation>) -> Error {
    let message = format!("there is no layout, archive or storage tree under {place:?}");
    Error::new(Code::SourceEmpty, operation, message)
}
