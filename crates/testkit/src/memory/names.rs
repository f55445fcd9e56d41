//! A DNS zone in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use transship_engine::names::{Answer, Entry, Names, Receipt};
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::Hostname;

/// A zone in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryNames {
    zone: Hostname,
    entries: Arc<Mutex<BTreeMap<Hostname, Entry>>>,
}

impl MemoryNames {
    /// An empty zone.
    pub fn new(zone: Hostname) -> Self {
        Self {
            zone,
            entries: Arc::default(),
        }
    }

    /// Replaces what the zone has of a name, as another client would.
    pub fn put(&self, name: &Hostname, entry: Entry) {
        self.entries().insert(name.clone(), entry);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<Hostname, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Names for MemoryNames {
    fn is_atomic(&self) -> bool {
        true
    }

    async fn zone(&self) -> Result<Hostname> {
        Ok(self.zone.clone())
    }

    async fn read(&self, name: &Hostname) -> Result<Entry> {
        Ok(self.entries().get(name).cloned().unwrap_or_default())
    }

    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt> {
        let mut entries = self.entries();
        let entry = entries.entry(name.clone()).or_default();
        if !entry.is_same(before) {
            let error = Error::of(Code::DnsRecordChanged, Verb::Names.on(name));
            return Err(error.because(format_args!("found {entry}")));
        }
        entry.records.clone_from(&after.records);
        entry.texts.clone_from(&after.texts);
        Ok(Receipt::default())
    }

    async fn answers(&self, name: &Hostname, _: &Receipt) -> Result<Vec<Answer>> {
        Ok(vec![Answer {
            server: "memory".to_owned(),
            entry: self.read(name).await.map(Some),
        }])
    }
}
