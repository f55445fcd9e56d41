//! Records in memory.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;
use transship_engine::ledger::{Cursor, Key, Page, Record, Records, first_version};
use transship_oci::Result;

use super::MemoryLedger;

/// Values with their version.
pub(super) type State = BTreeMap<Key, Record>;

impl MemoryLedger {
    fn kept(&self) -> MutexGuard<'_, State> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Records for MemoryLedger {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        Ok(self.kept().get(key).cloned())
    }

    async fn put_if(&self, key: &Key, expected: Option<u64>, value: &str) -> Result<Option<u64>> {
        let mut kept = self.kept();
        if kept.get(key).map(|record| record.version) != expected {
            return Ok(None);
        }
        let version = expected.map_or_else(first_version, |version| version + 1);
        let record = Record {
            key: key.clone(),
            value: value.to_owned(),
            version,
        };
        kept.insert(key.clone(), record);
        Ok(Some(version))
    }

    async fn remove_if(&self, key: &Key, expected: u64) -> Result<bool> {
        let mut kept = self.kept();
        let is_expected = kept.get(key).is_some_and(|record| record.version == expected);
        if is_expected {
            kept.remove(key);
        }
        Ok(is_expected)
    }

    async fn list(&self, family: &str, prefix: &str, after: Option<&Cursor>, limit: usize) -> Result<Page<Record>> {
        let kept = self.kept();
        let mut found = kept
            .range(Key::new(family, prefix)..)
            .take_while(|(key, _)| key.family == family && key.name.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| key.name > after.0))
            .map(|(_, record)| record.clone());
        let items: Vec<Record> = found.by_ref().take(limit.max(1)).collect();
        let next = found.next().and(items.last()).map(|last| Cursor(last.key.name.clone()));
        Ok(Page { items, next })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_records_suite_passes() {
        crate::suites::records(async || Arc::new(MemoryLedger::default()) as Arc<dyn Records>).await;
    }
}
