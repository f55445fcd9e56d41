//! Hints in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::ledger::{Freshness, Hint, Hints, Key, Put};
use transship_oci::Result;

use super::MemoryLedger;

/// Values with their end.
pub(super) type State = BTreeMap<Key, (String, Timestamp)>;

impl MemoryLedger {
    fn values(&self) -> MutexGuard<'_, State> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn alive<'a>(values: &'a State, key: &Key, now: Timestamp) -> Option<&'a String> {
    let found = values.get(key);
    found.filter(|(_, expires)| *expires > now).map(|(value, _)| value)
}

#[async_trait]
impl Hints for MemoryLedger {
    async fn get(&self, keys: &[Key], now: Timestamp, _: Freshness) -> Result<HashMap<Key, String>> {
        let values = self.values();
        let found = keys
            .iter()
            .filter_map(|key| Some((key.clone(), alive(&values, key, now)?.clone())));
        Ok(found.collect())
    }

    async fn put(&self, hints: &[Hint]) -> Result<()> {
        let mut values = self.values();
        for hint in hints {
            values.insert(hint.key.clone(), (hint.value.clone(), hint.expires));
        }
        Ok(())
    }

    async fn put_if(&self, hint: &Hint, expected: Option<&str>, now: Timestamp) -> Result<Put> {
        let mut values = self.values();
        let known = alive(&values, &hint.key, now).cloned();
        if known.as_deref() != expected {
            return Ok(Put::Refused(known));
        }
        values.insert(hint.key.clone(), (hint.value.clone(), hint.expires));
        Ok(Put::Done)
    }

    async fn remove(&self, key: &Key, expected: Option<&str>) -> Result<()> {
        let mut values = self.values();
        if expected.is_none_or(|expected| values.get(key).is_some_and(|(value, _)| value == expected)) {
            values.remove(key);
        }
        Ok(())
    }

    async fn children(&self, family: &str, limit: usize, now: Timestamp) -> Result<Vec<(Key, String)>> {
        let values = self.values();
        let of_family = values
            .range(Key::new(family, "")..)
            .take_while(|(key, _)| key.family == family)
            .filter(|(_, (_, expires))| *expires > now);
        let read = of_family.map(|(key, (value, _))| (key.clone(), value.clone()));
        Ok(read.take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_hints_suite_passes() {
        crate::suites::hints(async || Arc::new(MemoryLedger::default()) as Arc<dyn Hints>).await;
    }
}
