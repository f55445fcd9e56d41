//! The first sweep of a ledger: what it finds at destinations without a record was not written since the ledger began.

use std::sync::Arc;

use jiff::Timestamp;
use transship_oci::Result;

use super::{Key, Records};

/// Which sweep was the first, and whether it reported that the ledger was lost.
#[derive(Clone)]
pub struct FirstSweep {
    records: Arc<dyn Records>,
}

impl FirstSweep {
    /// Kept in `records`.
    pub const fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// Notes that a sweep began. The first one stays the first. One call.
    pub async fn begin(&self, started: Timestamp) -> Result<()> {
        self.records.put_if(&key("first"), None, &started.to_string()).await?;
        Ok(())
    }

    /// True if the sweep that began at `started` is the first. One call.
    pub async fn is_first(&self, started: Timestamp) -> Result<bool> {
        let first = self.records.get(&key("first")).await?;
        Ok(first.is_some_and(|first| first.value == started.to_string()))
    }

    /// True if a sweep began since the ledger exists. One call.
    pub async fn has_begun(&self) -> Result<bool> {
        Ok(self.records.get(&key("first")).await?.is_some())
    }

    /// Notes that the ledger knows the rules that were swept. One call.
    pub async fn note_rules(&self, now: Timestamp) -> Result<()> {
        self.records.put_if(&key("rules"), None, &now.to_string()).await?;
        Ok(())
    }

    /// True if the ledger knows the rules that were swept. Without that, an earlier release swept them. One call.
    pub async fn notes_rules(&self) -> Result<bool> {
        Ok(self.records.get(&key("rules")).await?.is_some())
    }

    /// True if it was reported that the ledger was lost. One call.
    pub async fn is_reported(&self) -> Result<bool> {
        Ok(self.records.get(&key("ledger-lost")).await?.is_some())
    }

    /// True for the first caller alone, which reports that the ledger was lost. One call.
    pub async fn report(&self, now: Timestamp) -> Result<bool> {
        let written = self.records.put_if(&key("ledger-lost"), None, &now.to_string()).await?;
        Ok(written.is_some())
    }
}

fn key(name: &str) -> Key {
    Key::new("sweep", name)
}
