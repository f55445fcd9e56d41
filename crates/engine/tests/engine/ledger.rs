//! A ledger that can be made to fail, or to let something happen at a chosen moment.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::ledger::{
    Claim, Cursor, ExecutionQuery, Freshness, Hint, Hints, History, Key, Page, Put, Record, Records, Replicas,
    TaskQuery,
};
use transship_engine::{Begin, ExecutionRecord, ImageRef, Outcome, Replica, TaskEntry, TaskRecord};
use transship_oci::{Code, Digest, Error, Repository, Result, Verb};
use transship_testkit::memory::MemoryLedger;

type Happening = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
type Hook = Arc<dyn Fn(&str, Option<&Replica>) -> Happening + Send + Sync>;

/// A ledger in memory, and what happens before each of its calls.
#[derive(Default)]
pub struct WatchedLedger {
    inner: MemoryLedger,
    hook: Mutex<Option<Hook>>,
    lag: Mutex<Duration>,
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

    /// From now on, [`History::lag`] is `lag`. The answers stay exact.
    pub fn set_lag(&self, lag: Duration) {
        *self.lag.lock().unwrap() = lag;
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

    /// A call about hints is named after what the key belongs to: `lease_put_if`, `locations_get`, `missing_put`.
    async fn hint_call(&self, key: Option<&Key>, method: &str) -> Result<()> {
        let family = key.map_or("", |key| key.family.split('#').next().unwrap());
        let subject = match family {
            "B" => "locations",
            "P" => "pause",
            other => other,
        };
        self.call(&format!("{subject}_{method}"), None).await
    }
}

#[async_trait]
impl History for WatchedLedger {
    async fn record(&self, tasks: &[TaskEntry]) -> Result<()> {
        self.call("record", None).await?;
        self.inner.record(tasks).await
    }

    async fn begin(&self, task: &TaskEntry, now: Timestamp) -> Result<Begin> {
        self.call("begin", None).await?;
        self.inner.begin(task, now).await
    }

    async fn wait(&self, task: &TaskEntry, code: &str, message: &str, next: Timestamp) -> Result<()> {
        self.call("wait", None).await?;
        self.inner.wait(task, code, message, next).await
    }

    async fn finish(&self, task: &TaskEntry, outcome: &Outcome, settled: &[Replica], holder: &str) -> Result<bool> {
        self.call("finish", settled.first()).await?;
        self.inner.finish(task, outcome, settled, holder).await
    }

    async fn redriven(&self, task: &TaskEntry, successor: &str) -> Result<()> {
        self.call("redriven", None).await?;
        self.inner.redriven(task, successor).await
    }

    async fn tasks(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskRecord>> {
        self.inner.tasks(query, after, limit).await
    }

    async fn entries(&self, query: &TaskQuery, after: Option<&Cursor>, limit: usize) -> Result<Page<TaskEntry>> {
        self.inner.entries(query, after, limit).await
    }

    async fn executions(
        &self,
        query: &ExecutionQuery,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<ExecutionRecord>> {
        self.inner.executions(query, after, limit).await
    }

    async fn execution(&self, id: &str) -> Result<Option<ExecutionRecord>> {
        self.inner.execution(id).await
    }

    async fn untouched(
        &self,
        origin: &str,
        before: Timestamp,
        latest: Timestamp,
        limit: usize,
    ) -> Result<Vec<TaskEntry>> {
        self.call("untouched", None).await?;
        self.inner.untouched(origin, before, latest, limit).await
    }

    async fn is_busy(&self, origin: &str, repository: &Repository) -> Result<bool> {
        self.call("is_busy", None).await?;
        self.inner.is_busy(origin, repository).await
    }

    fn lag(&self) -> Duration {
        *self.lag.lock().unwrap()
    }
}

#[async_trait]
impl Replicas for WatchedLedger {
    async fn claim(&self, replica: &Replica, holder: &str, now: Timestamp, ttl: Duration) -> Result<Claim> {
        self.call("claim", Some(replica)).await?;
        self.inner.claim(replica, holder, now, ttl).await
    }

    async fn withdraw(&self, destination: &ImageRef, digest: &Digest, holder: &str) -> Result<()> {
        self.call("withdraw", None).await?;
        self.inner.withdraw(destination, digest, holder).await
    }

    async fn release(&self, destination: &ImageRef, holder: &str) -> Result<()> {
        self.call("release", None).await?;
        self.inner.release(destination, holder).await
    }

    async fn settle(&self, replicas: &[Replica], holder: &str, now: Timestamp) -> Result<()> {
        self.call("settle", replicas.first()).await?;
        self.inner.settle(replicas, holder, now).await
    }

    async fn get(&self, destination: &ImageRef) -> Result<Option<Replica>> {
        self.call("replica", None).await?;
        Replicas::get(&self.inner, destination).await
    }

    async fn find(&self, destinations: &[ImageRef]) -> Result<HashMap<ImageRef, Replica>> {
        self.call("replicas", None).await?;
        self.inner.find(destinations).await
    }

    async fn holds(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        manifest: &Digest,
    ) -> Result<bool> {
        self.call("holds", None).await?;
        self.inner.holds(destination, source, manifest).await
    }

    async fn made_of(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        digest: &Digest,
    ) -> Result<Vec<Replica>> {
        self.call("made_of", None).await?;
        self.inner.made_of(destination, source, digest).await
    }
}

#[async_trait]
impl Hints for WatchedLedger {
    async fn get(&self, keys: &[Key], now: Timestamp, freshness: Freshness) -> Result<HashMap<Key, String>> {
        self.hint_call(keys.first(), "get").await?;
        Hints::get(&self.inner, keys, now, freshness).await
    }

    async fn put(&self, hints: &[Hint]) -> Result<()> {
        self.hint_call(hints.first().map(|hint| &hint.key), "put").await?;
        self.inner.put(hints).await
    }

    async fn put_if(&self, hint: &Hint, expected: Option<&str>, now: Timestamp) -> Result<Put> {
        self.hint_call(Some(&hint.key), "put_if").await?;
        Hints::put_if(&self.inner, hint, expected, now).await
    }

    async fn remove(&self, key: &Key, expected: Option<&str>) -> Result<()> {
        self.hint_call(Some(key), "remove").await?;
        self.inner.remove(key, expected).await
    }

    async fn children(&self, family: &str, limit: usize, now: Timestamp) -> Result<Vec<(Key, String)>> {
        self.inner.children(family, limit, now).await
    }
}

#[async_trait]
impl Records for WatchedLedger {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        Records::get(&self.inner, key).await
    }

    async fn put_if(&self, key: &Key, expected: Option<u64>, value: &str) -> Result<Option<u64>> {
        let is_comparison = key.family == "comparing";
        let name = if is_comparison {
            "comparing_put_if"
        } else {
            "record_put_if"
        };
        self.call(name, None).await?;
        Records::put_if(&self.inner, key, expected, value).await
    }

    async fn remove_if(&self, key: &Key, expected: u64) -> Result<bool> {
        self.inner.remove_if(key, expected).await
    }

    async fn list(&self, family: &str, prefix: &str, after: Option<&Cursor>, limit: usize) -> Result<Page<Record>> {
        self.inner.list(family, prefix, after, limit).await
    }
}
