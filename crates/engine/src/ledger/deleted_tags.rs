//! Source tags that were deleted, so that a copy which comes too late can say why it found nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use transship_oci::Result;

use super::{Freshness, Hint, Hints, Key};
use crate::ImageRef;

/// How long a deleted tag is remembered: longer than any task is tried.
const DELETED_TTL: Duration = Duration::from_hours(7 * 24);

/// Deleted tags of sources. One that is lost makes a copy that comes too late fail instead of being skipped.
#[derive(Clone)]
pub struct DeletedTags {
    hints: Arc<dyn Hints>,
}

impl DeletedTags {
    /// Deleted tags kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// Remembers that the tag `source` was deleted. One call.
    pub async fn add(&self, source: &ImageRef, now: Timestamp) -> Result<()> {
        let deleted = Hint {
            key: key_of(source),
            value: now.to_string(),
            expires: now.saturating_add(DELETED_TTL).unwrap_or(Timestamp::MAX),
        };
        self.hints.put(&[deleted]).await
    }

    /// True if the tag `source` was deleted. One call.
    pub async fn has(&self, source: &ImageRef, now: Timestamp) -> Result<bool> {
        let key = key_of(source);
        let found = self
            .hints
            .get(std::slice::from_ref(&key), now, Freshness::Exact)
            .await?;
        Ok(found.contains_key(&key))
    }
}

fn key_of(source: &ImageRef) -> Key {
    Key::new(format!("deleted#{source}"), "D")
}
