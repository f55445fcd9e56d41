//! Values that expire and may be lost.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::Key;
use transship_oci::Result;

/// A value that expires.
#[derive(Clone, PartialEq, Eq)]
pub struct Hint {
    /// Its key.
    pub key: Key,
    /// The value, 300 KB at most. May be a capability: it is never logged.
    pub value: String,
    /// From this time on it is not found any more.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Hint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Hint");
        shown.field("key", &self.key).field("expires", &self.expires);
        shown.finish_non_exhaustive()
    }
}

/// The answer to [`Hints::put_if`].
#[derive(Clone, PartialEq, Eq)]
pub enum Put {
    /// Written.
    Done,
    /// Not written, because the value is this one; [`None`]: there is none, or it expired.
    Refused(Option<String>),
}

/// The required freshness of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// As it is now.
    Exact,
    /// It may be a moment old, which is cheaper.
    MayLag,
}

/// A memory of values that expire and may be lost. What is built on it must stay correct without it.
///
/// Expiry is decided by the caller's clock, never by the store's own.
#[async_trait]
pub trait Hints: Send + Sync {
    /// The values of those `keys` that have one that has not expired. One call for each 100.
    async fn get(&self, keys: &[Key], now: Timestamp, freshness: Freshness) -> Result<HashMap<Key, String>>;

    /// Writes each, in place of what was there. Of several with the same key the last is written. One call for each 25.
    async fn put(&self, hints: &[Hint]) -> Result<()>;

    /// Writes the hint if the value at `now` is `expected`; [`None`]: if there is none, or it expired.
    async fn put_if(&self, hint: &Hint, expected: Option<&str>, now: Timestamp) -> Result<Put>;

    /// Removes the value; with `expected`, only if it is that one. Nothing happens if there is none.
    async fn remove(&self, key: &Key, expected: Option<&str>) -> Result<()>;

    /// Values of the family that have not expired, in the order of their names, as they are now; at most `limit`.
    async fn children(&self, family: &str, limit: usize, now: Timestamp) -> Result<Vec<(Key, String)>>;
}

/// How far the clocks of two workers may differ.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(1);

/// True if `written` is so much later than `now` that the clock of its writer must have been ahead.
pub(super) fn is_later(written: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(written.duration_since(now)).is_ok_and(|ahead| ahead > CLOCK_SKEW_MAX)
}

/// No hints are kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHints;

#[async_trait]
impl Hints for NoHints {
    async fn get(&self, _: &[Key], _: Timestamp, _: Freshness) -> Result<HashMap<Key, String>> {
        Ok(HashMap::new())
    }

    async fn put(&self, _: &[Hint]) -> Result<()> {
        Ok(())
    }

    async fn put_if(&self, _: &Hint, _: Option<&str>, _: Timestamp) -> Result<Put> {
        Ok(Put::Done)
    }

    async fn remove(&self, _: &Key, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    async fn children(&self, _: &str, _: usize, _: Timestamp) -> Result<Vec<(Key, String)>> {
        Ok(Vec::new())
    }
}
