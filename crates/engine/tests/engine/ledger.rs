//! A ledger that can be made to fail, or to let something happen at a chosen moment.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::{
    Begin, Error, ErrorKind, Execution, ExecutionRecord, Ledger, Outcome, Replica, Result, Task, TaskFilter, TaskRecord,
};
use transship_oci::{Digest, Repository, Tag};
use transship_testkit::memory::MemoryLedger;

type Happening = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
type Hook = Arc<dyn Fn(&str, Option<&Replica>) -> Happening + Send + Sync>;

/// A ledger in memory, and what happens before each of its calls.
#[derive(Default)]
pub struct WatchedLedger {
    inner: MemoryLedger,
    hook: Mutex<Option<Hook>>,
}

impl WatchedLedger {
    /// From now on, `hook` is called with the name of every call (and the replica that is written) before it.
    pub fn before(&self, hook: impl Fn(&str, Option<&Replica>) -> Happening + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(hook));
    }

    /// From now on, calls for which `is_down` is true fail.
    pub fn fail(&self, is_down: impl Fn(&str, Option<&Replica>) -> bool + Send + Sync + 'static) {
        self.before(move |call, replica| {
            let is_down = is_down(call, replica);
            let operation = format!("ledger {call}");
            Box::pin(async move {
                if is_down {
                    return Err(Error::new(ErrorKind::LedgerUnavailable("it is down".into()), operation));
                }
                Ok(())
            })
        });
    }

    /// Nothing happens any more.
    pub fn heal(&self) {
        *self.hook.lock().unwrap() = None;
    }

    async fn call(&self, name: &str, replica: Option<&Replica>) -> Result<()> {
        let hook = self.hook.lock().unwrap().clone();
        match hook {
            Some(hook) => hook(name, replica).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Ledger for WatchedLedger {
    async fn record(&self, execution: &Execution, tasks: &[Task]) -> Result<()> {
        self.call("record", None).await?;
        self.inner.record(execution, tasks).await
    }

    async fn begin(&self, task: &Task, now: Timestamp) -> Result<Begin> {
        self.call("begin", None).await?;
        self.inner.begin(task, now).await
    }

    async fn wait(&self, id: &str, code: &str, message: &str, next: Timestamp) -> Result<()> {
        self.call("wait", None).await?;
        self.inner.wait(id, code, message, next).await
    }

    async fn finish(&self, id: &str, outcome: &Outcome) -> Result<bool> {
        self.call("finish", None).await?;
        self.inner.finish(id, outcome).await
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>> {
        self.inner.tasks(filter).await
    }

    async fn executions(&self, limit: usize) -> Result<Vec<ExecutionRecord>> {
        self.inner.executions(limit).await
    }

    async fn is_busy(&self, registry: &str, repository: &Repository) -> Result<bool> {
        self.call("is_busy", None).await?;
        self.inner.is_busy(registry, repository).await
    }

    async fn replica(&self, registry: &str, repository: &Repository, tag: &Tag) -> Result<Option<Replica>> {
        self.call("replica", None).await?;
        self.inner.replica(registry, repository, tag).await
    }

    async fn replica_put(&self, replica: &Replica) -> Result<()> {
        self.call("replica_put", Some(replica)).await?;
        self.inner.replica_put(replica).await
    }

    async fn replicas_holding(
        &self,
        registry: &str,
        repository: &Repository,
        manifest: &Digest,
    ) -> Result<Vec<Replica>> {
        self.call("replicas_holding", None).await?;
        self.inner.replicas_holding(registry, repository, manifest).await
    }

    async fn lease_take(&self, key: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<bool> {
        self.call("lease_take", None).await?;
        self.inner.lease_take(key, holder, now, ttl).await
    }

    async fn lease_release(&self, key: &str, holder: &str) -> Result<()> {
        self.call("lease_release", None).await?;
        self.inner.lease_release(key, holder).await
    }

    async fn locations_find(&self, host: &str, digests: &[Digest]) -> Result<HashMap<Digest, Vec<Repository>>> {
        self.call("locations_find", None).await?;
        self.inner.locations_find(host, digests).await
    }

    async fn locations_add(&self, host: &str, digests: &[Digest], repository: &Repository) -> Result<()> {
        self.call("locations_add", None).await?;
        self.inner.locations_add(host, digests, repository).await
    }

    async fn location_remove(&self, host: &str, digest: &Digest, repository: &Repository) -> Result<()> {
        self.call("location_remove", None).await?;
        self.inner.location_remove(host, digest, repository).await
    }

    async fn pause(&self, host: &str, until: Timestamp) -> Result<()> {
        self.call("pause", None).await?;
        self.inner.pause(host, until).await
    }

    async fn paused_until(&self, host: &str, now: Timestamp) -> Result<Option<Timestamp>> {
        self.call("paused_until", None).await?;
        self.inner.paused_until(host, now).await
    }
}
