//! A ledger that can be made to fail, or to let something happen at a chosen moment.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::Continuation;
use transship_engine::{
    Begin, Execution, ExecutionRecord, ImageRef, Ledger, Outcome, Replica, TaskEntry, TaskFilter, TaskRecord,
};
use transship_oci::{Code, Digest, Error, Repository, Result, Tag, Verb};
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
            let operation = Verb::Ledger.on(call);
            Box::pin(async move {
                if is_down {
                    return Err(Error::of(Code::LedgerUnavailable, operation).because("it is down"));
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
    async fn record(&self, execution: &Execution, tasks: &[TaskEntry]) -> Result<()> {
        self.call("record", None).await?;
        self.inner.record(execution, tasks).await
    }

    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        self.call("begin", None).await?;
        self.inner.begin(task, now).await
    }

    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        self.call("wait", None).await?;
        self.inner.wait(task, code, message, next).await
    }

    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, replicas: &[Replica]) -> Result<bool> {
        self.call("finish", replicas.first()).await?;
        self.inner.finish(task, outcome, replicas).await
    }

    async fn originals(&self, filter: &TaskFilter) -> Result<Vec<TaskEntry>> {
        self.inner.originals(filter).await
    }

    async fn unfinished(&self, registry: &str, before: Timestamp, limit: usize) -> Result<Vec<TaskEntry>> {
        self.call("unfinished", None).await?;
        self.inner.unfinished(registry, before, limit).await
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

    async fn replica_intend(&self, replica: &Replica) -> Result<()> {
        self.call("replica_intend", Some(replica)).await?;
        self.inner.replica_intend(replica).await
    }

    async fn is_replicated(&self, source: &ImageRef, destination: &ImageRef, manifest: &Digest) -> Result<bool> {
        self.call("is_replicated", None).await?;
        self.inner.is_replicated(source, destination, manifest).await
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

    async fn paused_until(&self, hosts: &[&str], now: Timestamp) -> Result<Option<(String, Timestamp)>> {
        self.call("paused_until", None).await?;
        self.inner.paused_until(hosts, now).await
    }

    async fn continuation(&self, task: &str, blob: &Digest, now: Timestamp) -> Result<Option<Continuation>> {
        self.call("continuation", None).await?;
        self.inner.continuation(task, blob, now).await
    }

    async fn continuation_put(&self, task: &str, continuation: &Continuation, expires: Timestamp) -> Result<()> {
        self.call("continuation_put", None).await?;
        self.inner.continuation_put(task, continuation, expires).await
    }

    async fn continuation_remove(&self, task: &str, blob: &Digest) -> Result<()> {
        self.call("continuation_remove", None).await?;
        self.inner.continuation_remove(task, blob).await
    }
}
