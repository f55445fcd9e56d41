//! Versioned values that do not expire.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use async_trait::async_trait;

use super::{Cursor, Key, Page};
use transship_oci::Result;

/// A value with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// The value, 300 KB at most.
    pub value: String,
    /// Another one after each change. A key that was removed and written again has no version that it had before.
    pub version: u64,
}

/// A memory of values that change by compare and set.
#[async_trait]
pub trait Records: Send + Sync {
    /// The record, as it is now.
    async fn get(&self, key: &Key) -> Result<Option<Record>>;

    /// Writes `value` if the version is `expected` ([`None`]: if there is no such record), and returns the new version;
    /// [`None`] if it is another one, and nothing is written.
    async fn put_if(&self, key: &Key, expected: Option<u64>, value: &str) -> Result<Option<u64>>;

    /// Removes the record if the version is `expected`; false if it is another one or if there is no such record.
    async fn remove_if(&self, key: &Key, expected: u64) -> Result<bool>;

    /// Records of the family whose names begin with `prefix`, in the order of their names; at most `limit`, where 0 counts
    /// as 1. `CURSOR_INVALID` for a cursor of another list.
    async fn list(&self, family: &str, prefix: &str, after: Option<&Cursor>, limit: usize) -> Result<Page<Record>>;
}

/// The version of a new record: random, so that it is not one the key had before. Below 2^53, so that every store and JSON
/// can hold it.
pub fn first_version() -> u64 {
    RandomState::new().build_hasher().finish() >> 12
}
