//! What incomplete sources wait for, as long as the process lives.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::{Awaited, PendingScan, Result};
use transship_oci::Digest;

type Happening = Pin<Box<dyn Future<Output = ()> + Send>>;
type Hook = Box<dyn Fn() -> Happening + Send + Sync>;

/// An [`Awaited`] in memory, with a hook that runs before a scan starts to wait.
#[derive(Default)]
pub struct MemoryAwaited {
    /// By the id of the look.
    looks: Mutex<BTreeMap<String, Look>>,
    hook: OnceLock<Hook>,
}

#[derive(Debug)]
struct Look {
    waiting: PendingScan,
    place: String,
    blobs: BTreeSet<Digest>,
    missing: BTreeSet<Digest>,
    expires: Timestamp,
}

impl MemoryAwaited {
    /// From now on `hook` runs before each [`Awaited::wait_for`]. Only the first one is taken.
    pub fn before_wait(&self, hook: impl Fn() -> Happening + Send + Sync + 'static) {
        drop(self.hook.set(Box::new(hook)));
    }

    /// How many looks wait.
    pub fn len(&self) -> usize {
        self.looks().len()
    }

    /// True if none does.
    pub fn is_empty(&self) -> bool {
        self.looks().is_empty()
    }

    fn looks(&self) -> MutexGuard<'_, BTreeMap<String, Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Awaited for MemoryAwaited {
    async fn wait_for(&self, waiting: &PendingScan, place: &str, blobs: &[Digest], expires: Timestamp) -> Result<()> {
        if let Some(hook) = self.hook.get() {
            hook().await;
        }
        let blobs: BTreeSet<Digest> = blobs.iter().cloned().collect();
        let look = Look {
            waiting: waiting.clone(),
            place: place.to_owned(),
            missing: blobs.clone(),
            blobs,
            expires,
        };
        self.looks().insert(waiting.id.clone(), look);
        Ok(())
    }

    async fn arrived(&self, place: &str, blob: &Digest, now: Timestamp) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for look in self.looks().values_mut() {
            if look.expires <= now || look.place != place || !look.blobs.contains(blob) {
                continue;
            }
            look.missing.remove(blob);
            if look.missing.is_empty() {
                told.push(look.waiting.job.clone());
            }
        }
        Ok(told)
    }

    async fn settle(&self, task: &str, _: &str) -> Result<()> {
        self.looks().remove(task);
        Ok(())
    }

    async fn waiting(&self, limit: usize, now: Timestamp) -> Result<Vec<PendingScan>> {
        let looks = self.looks();
        let alive = looks.values().filter(|look| look.expires > now);
        let mut waiting: Vec<PendingScan> = alive.map(|look| look.waiting.clone()).collect();
        waiting.sort_by_key(|waiting| waiting.since);
        waiting.truncate(limit);
        Ok(waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_keeps_its_promises() {
        crate::suites::awaited(async || Arc::new(MemoryAwaited::default()) as Arc<dyn Awaited>).await;
    }
}
