//! Two registries, a document, and the setup that replicates from one to the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use transship_copy::{Clock as _, NoProgress, TimeBudget};
use transship_embedded_registry::{Builder, EmbeddedRegistry};
use transship_engine::ledger::{By, ExecutionQuery, Ledger, TaskQuery};
use transship_engine::operations::{list_executions, list_tasks};
use transship_engine::{
    Accepted, Configuration, CopyTask, Envelope, ExecutionRecord, Intake, Job, Jobs, Next, Outgoing, ReceivedMessage,
    RetryPolicy, Secrets, SigningKeys, SourceCache, TaskQueue, TaskReceiver, TaskRecord,
};
use transship_notifications::Delivery;
use transship_oci::{Code, Digest, Error, Manifest, Repository, Result, Tag, Target, Verb};
use transship_registry::{Anonymous, Retries};
use transship_rules::{Document, SecretReference};
use transship_testkit::clock::ManualClock;
use transship_testkit::images::Sample;
use transship_testkit::memory::MemoryQueue;

use crate::ledger::WatchedLedger;

/// What the sender of deliveries must know.
pub const SECRET: &str = "Bearer hook-secret";

/// The rule of most tests. Their sweeps also copy what was there before the rule.
pub const RULE: &str = "  - { name: core-images, backfill: true, source: { registry: a, namespace: core }, destination: { registry: b, namespace: copy } }\n";

pub fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// The secrets of the document: `env:HOOK` and nothing else.
pub struct Keys;

#[async_trait]
impl Secrets for Keys {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        if reference.to_string() == "env:HOOK" {
            return Ok(SECRET.to_owned().into());
        }
        Err(Error::of(Code::SecretUnavailable, Verb::Secret).because(reference))
    }
}

/// The sets of keys that a cloud published: the first is cached, the last is in force.
#[derive(Default)]
pub struct Published {
    pub sets: Mutex<Vec<String>>,
    /// The number of fetches.
    pub fetches: AtomicU64,
}

#[async_trait]
impl SigningKeys for Published {
    async fn keys(&self, url: &str) -> Result<Arc<[u8]>> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let sets = self.sets.lock().unwrap();
        let set = sets
            .first()
            .ok_or_else(|| Error::of(Code::Unavailable, Verb::Read.on(url)))?;
        Ok(Arc::from(set.as_bytes()))
    }

    async fn keys_anew(&self, url: &str, _age: Duration) -> Result<Arc<[u8]>> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let sets = self.sets.lock().unwrap();
        let set = sets
            .last()
            .ok_or_else(|| Error::of(Code::Unavailable, Verb::Read.on(url)))?;
        Ok(Arc::from(set.as_bytes()))
    }
}

/// A queue that can be down.
pub struct Queue {
    pub inner: MemoryQueue,
    pub is_down: AtomicBool,
}

#[async_trait]
impl TaskQueue for Queue {
    async fn send(&self, messages: &[Outgoing]) -> Result<()> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Error::of(Code::QueueUnavailable, Verb::Queue.on("send")).because("it is down"));
        }
        self.inner.send(messages).await
    }
}

pub struct Fixture {
    pub a: Arc<EmbeddedRegistry>,
    pub b: Arc<EmbeddedRegistry>,
    /// The last part of the repository's name.
    pub app: String,
    pub configuration: Configuration,
    pub ledger: Arc<WatchedLedger>,
    pub queue: Arc<Queue>,
    /// What the workers read besides registries.
    pub sources: Arc<SourceCache>,
    pub clock: ManualClock,
    pub intake: Intake,
    pub jobs: Arc<Jobs>,
    events: AtomicU64,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), RULE).await
    }

    pub async fn of(a: Builder, b: Builder, rules: &str) -> Self {
        let (a, b) = (a.start().await.unwrap(), b.start().await.unwrap());
        let configuration = Configuration::new(
            document(&a, &b, rules),
            Arc::new(|_| Arc::new(Anonymous)),
            Arc::new(Keys),
            Retries {
                times: 3,
                max_wait: Duration::from_secs(2),
                first: Duration::from_millis(1),
            },
        );
        let clock = ManualClock::default();
        let queue = MemoryQueue::calm(Arc::new(clock.clone()));
        Self::assembled(Arc::new(a), Arc::new(b), configuration, clock, queue)
    }

    /// The same registries and their clients, with a ledger that knows nothing and a queue that is harsh.
    pub fn anew(&self, seed: u64) -> Self {
        let clock = ManualClock::default();
        let queue = MemoryQueue::harsh(Arc::new(clock.clone()), seed);
        let (a, b) = (Arc::clone(&self.a), Arc::clone(&self.b));
        Self {
            app: format!("app-{seed}"),
            ..Self::assembled(a, b, self.configuration.clone(), clock, queue)
        }
    }

    fn assembled(
        a: Arc<EmbeddedRegistry>,
        b: Arc<EmbeddedRegistry>,
        configuration: Configuration,
        clock: ManualClock,
        queue: MemoryQueue,
    ) -> Self {
        let ledger = Arc::new(WatchedLedger::default());
        let queue = Arc::new(Queue {
            inner: queue,
            is_down: AtomicBool::new(false),
        });
        let sources = Arc::new(SourceCache::none());
        let intake = Intake {
            configuration: configuration.clone(),
            queue: Arc::clone(&queue) as _,
            history: Arc::clone(&ledger) as _,
            secrets: Arc::new(Keys),
            keys: Arc::new(Published::default()),
            recent: Arc::default(),
            clock: Arc::new(clock.clone()),
        };
        Self {
            jobs: Arc::new(jobs(
                &configuration,
                (&ledger, &queue, &sources),
                &clock,
                "worker-1",
                RetryPolicy::default(),
            )),
            sources,
            a,
            b,
            app: "app".to_owned(),
            configuration,
            ledger,
            queue,
            clock,
            intake,
            events: AtomicU64::new(0),
        }
    }

    /// Where images are pushed: `core/app`.
    pub fn from(&self) -> Repository {
        name(&format!("core/{}", self.app))
    }

    /// Where they arrive: `copy/app`.
    pub fn to(&self) -> Repository {
        name(&format!("copy/{}", self.app))
    }

    pub fn retry_by(&mut self, policy: RetryPolicy) {
        self.jobs = Arc::new(jobs(
            &self.configuration,
            (&self.ledger, &self.queue, &self.sources),
            &self.clock,
            "worker-1",
            policy,
        ));
    }

    /// From now on the workers read what `sources` has.
    pub fn import_from(&mut self, sources: SourceCache) {
        self.sources = Arc::new(sources);
        self.retry_by(RetryPolicy::default());
    }

    /// Another worker of the fleet, with clients of its own.
    pub fn other_worker(&self) -> Jobs {
        let configuration = Configuration::new(
            self.configuration.current().document.clone(),
            Arc::new(|_| Arc::new(Anonymous)),
            Arc::new(Keys),
            Retries {
                times: 1,
                max_wait: Duration::from_secs(2),
                first: Duration::from_millis(1),
            },
        );
        jobs(
            &configuration,
            (&self.ledger, &self.queue, &self.sources),
            &self.clock,
            "worker-2",
            RetryPolicy::default(),
        )
    }

    /// Puts `sample` to the source as `core/app:v1`.
    pub fn push(&self, sample: &Sample) {
        sample.seed_into(&self.a, &self.from(), &tag("v1"));
    }

    /// Puts it there and says so.
    pub async fn push_and_tell(&self, sample: &Sample) {
        self.push(sample);
        self.tell(&self.event("v1", &sample.root)).await;
    }

    /// An event of its own about `core/app`. `reference`: a tag, or the digest of an untagged manifest.
    pub fn event(&self, reference: &str, digest: &Digest) -> Value {
        let id = format!("event-{}", self.events.fetch_add(1, Ordering::Relaxed));
        let mut target = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "repository": self.from().to_string(),
            "url": format!("{}/v2/{}/manifests/{digest}", self.a.url(), self.from()),
        });
        if !reference.contains(':') {
            target["tag"] = reference.into();
        }
        json!({ "id": id, "timestamp": "2026-01-01T00:00:00Z", "action": "push", "target": target, "request": { "host": self.a.host().as_str() } })
    }

    /// The same without an id: all pushes of this digest within one second have the same event.
    pub fn event_of_second(&self, reference: &str, digest: &Digest) -> Value {
        let mut event = self.event(reference, digest);
        event.as_object_mut().unwrap().remove("id");
        event
    }

    /// Delivers events as the source's sender.
    pub async fn deliver(&self, events: &[Value]) -> Result<Accepted> {
        self.hook("a", Some(SECRET), &json!({ "events": events }).to_string())
            .await
    }

    pub async fn hook(&self, source: &str, secret: Option<&str>, body: &str) -> Result<Accepted> {
        let mut headers = HeaderMap::new();
        if let Some(secret) = secret {
            headers.insert("authorization", HeaderValue::from_str(secret).unwrap());
        }
        let delivery = Delivery {
            headers: &headers,
            body: body.as_bytes(),
            token: None,
        };
        self.intake.accept(source, &delivery).await
    }

    /// Delivers one event, which must make tasks.
    pub async fn tell(&self, event: &Value) {
        let accepted = self.deliver(std::slice::from_ref(event)).await.unwrap();
        assert!(matches!(accepted, Accepted::Tasks { .. }), "{event}");
    }

    /// The copies in the queue now, each given back.
    pub async fn queued(&self) -> Vec<CopyTask> {
        let mut tasks = Vec::new();
        for delivery in self.queue.inner.receive(1000, Duration::from_mins(1)).await.unwrap() {
            if let Job::Copy(task) = Envelope::parse(&delivery.body).unwrap().job {
                tasks.push(task);
            }
            self.queue.inner.retry(&delivery.receipt, Duration::ZERO).await.unwrap();
        }
        tasks
    }

    /// Receives every message there is: its receipt and its body.
    pub async fn queue_messages(&self) -> Vec<(String, String)> {
        let received = self.queue.inner.receive(1000, Duration::from_mins(1)).await.unwrap();
        received
            .into_iter()
            .map(|message| (message.receipt, message.body))
            .collect()
    }

    /// Removes a message that was received.
    pub async fn complete(&self, receipt: &str) {
        self.queue.inner.complete(receipt).await.unwrap();
    }

    /// Lets a message that was received be received again.
    pub async fn give_back(&self, receipt: &str) {
        self.queue.inner.retry(receipt, Duration::ZERO).await.unwrap();
    }

    /// One attempt at the one message that is due.
    pub async fn attempt(&self) -> Next {
        self.attempt_by(&self.jobs).await
    }

    pub async fn attempt_by(&self, worker: &Jobs) -> Next {
        let delivery = self
            .queue
            .inner
            .receive(1, Duration::from_mins(1))
            .await
            .unwrap()
            .remove(0);
        let next = work(worker, &self.queue, &delivery.body, None).await;
        settle(&self.queue, &delivery, &next).await;
        next
    }

    /// Works on one message; what follows it is in the queue afterwards.
    pub async fn work(&self, body: &str, budget: Option<TimeBudget>) -> Next {
        work(&self.jobs, &self.queue, body, budget).await
    }

    /// Works until the queue is empty, four messages side by side; time passes whenever nothing is due. How often a
    /// message was worked on.
    pub async fn drain(&self) -> usize {
        let mut worked = 0;
        while self.queue.inner.depth().await.unwrap() > 0 {
            assert!(
                worked < 5000,
                "the queue does not become empty: {:?}",
                self.tasks().await
            );
            let deliveries = self.queue.inner.receive(4, Duration::from_mins(10)).await.unwrap();
            if deliveries.is_empty() {
                self.clock.advance(Duration::from_mins(1));
                worked += 1;
            }
            let mut running = tokio::task::JoinSet::new();
            for delivery in deliveries {
                worked += 1;
                let (worker, queue) = (Arc::clone(&self.jobs), Arc::clone(&self.queue));
                running.spawn(async move {
                    let next = work(&worker, &queue, &delivery.body, None).await;
                    settle(&queue, &delivery, &next).await;
                });
            }
            while let Some(ended) = running.join_next().await {
                ended.unwrap();
            }
        }
        worked
    }

    /// All tasks, the oldest first.
    pub async fn tasks(&self) -> Vec<TaskRecord> {
        let all = TaskQuery::new(By::Newest);
        let mut tasks = list_tasks(self.ledger.as_ref(), &all, 0).await.unwrap();
        tasks.reverse();
        tasks
    }

    /// All executions, the newest first.
    pub async fn executions(&self) -> Vec<ExecutionRecord> {
        let all = ExecutionQuery::default();
        list_executions(self.ledger.as_ref(), &all, 0).await.unwrap()
    }

    /// Takes the lease `name` as another holder; false if it is held.
    pub async fn take_lease(&self, name: &str, length: Duration) -> bool {
        let now = Timestamp::try_from(self.clock.now()).unwrap();
        let leases = &self.jobs.ledger.leases;
        leases.take(name, "another", now, length).await.unwrap()
    }

    /// The one task there is.
    pub async fn task(&self) -> TaskRecord {
        let [task] = self.tasks().await.try_into().unwrap();
        task
    }

    /// The words of all tasks' states, the oldest first.
    pub async fn states(&self) -> Vec<String> {
        self.tasks().await.iter().map(|task| task.state.to_string()).collect()
    }

    /// What `copy/app:v1` names.
    pub fn arrived(&self) -> Option<Digest> {
        self.b.digest(&self.to(), &tag("v1"))
    }

    /// Every part of `sample` is in `copy/app`, and what refers to something is listed.
    pub fn assert_equal(&self, sample: &Sample) {
        assert_eq!(self.arrived().as_ref(), Some(&sample.root));
        assert_parts(&self.b, &self.to(), sample);
    }
}

/// One attempt at a task.
pub async fn copy(worker: &Jobs, task: &CopyTask) -> Result<Next> {
    worker
        .run(&Envelope::new(task.clone()), Arc::new(NoProgress), None)
        .await
}

/// Works on one message as a worker loop does: what follows it is sent.
pub async fn work(worker: &Jobs, queue: &Queue, body: &str, budget: Option<TimeBudget>) -> Next {
    let envelope = Envelope::parse(body).unwrap();
    match worker.run(&envelope, Arc::new(NoProgress), budget).await.unwrap() {
        Next::Send(messages) => {
            queue.send(&messages).await.unwrap();
            Next::Done
        }
        next => next,
    }
}

/// Every part of `sample` is in `repository`, byte for byte, and what refers to something is listed.
pub fn assert_parts(registry: &EmbeddedRegistry, repository: &Repository, sample: &Sample) {
    for (digest, bytes) in &sample.blobs {
        assert_eq!(registry.blob(repository, digest).as_ref(), Some(bytes), "{digest}");
    }
    for manifest in &sample.manifests {
        let held = registry.manifest(repository, &Target::Digest(manifest.digest.clone()));
        assert_eq!(
            held.map(|(_, bytes)| bytes).as_ref(),
            Some(&manifest.bytes),
            "{}",
            manifest.digest
        );
        if let Some(own) = &manifest.tag {
            assert_eq!(
                registry.digest(repository, own).as_ref(),
                Some(&manifest.digest),
                "{own}"
            );
        }
    }
    for fallback in sample.fallbacks().into_iter().filter(|_| !registry.lists_referrers()) {
        let (_, held) = registry
            .manifest(repository, &Target::Tag(fallback.tag.unwrap()))
            .unwrap();
        let (held, wanted) = (children(held), children(fallback.bytes));
        assert!(
            wanted.iter().all(|digest| held.contains(digest)),
            "{held:?} lacks one of {wanted:?}"
        );
    }
}

/// The digests an index lists.
pub fn children(index: Bytes) -> Vec<Digest> {
    let index = Manifest::parse(index, None).unwrap();
    index.children().iter().map(|child| child.digest.clone()).collect()
}

/// Two registries and `rules`.
pub fn document(a: &EmbeddedRegistry, b: &EmbeddedRegistry, rules: &str) -> Document {
    let text = format!(
        "version: 1\nregistries:\n  a: {{ provider: distribution, endpoint: \"{}\", hosts: [images.example.com], webhook: {{ secret: \"env:HOOK\" }} }}\n  b: {{ provider: distribution, endpoint: \"{}\" }}\n  open: {{ provider: distribution, endpoint: \"http://127.0.0.1:1\", webhook: none }}\n  lost: {{ provider: distribution, endpoint: \"http://127.0.0.1:2\", webhook: {{ secret: \"env:NOWHERE\" }} }}\nrules:\n{rules}",
        a.url(),
        b.url()
    );
    Document::parse(&text)
        .map_err(|errors| errors.to_string())
        .unwrap()
        .document
}

fn jobs(
    configuration: &Configuration,
    (ledger, queue, sources): (&Arc<WatchedLedger>, &Arc<Queue>, &Arc<SourceCache>),
    clock: &ManualClock,
    worker: &str,
    retry_policy: RetryPolicy,
) -> Jobs {
    Jobs {
        configuration: configuration.clone(),
        ledger: Ledger::new(ledger),
        queue: Arc::clone(queue) as _,
        sources: Arc::clone(sources),
        zones: None,
        clock: Arc::new(clock.clone()),
        retry_policy,
        worker: worker.to_owned(),
    }
}

/// What a worker does with a message: one that is tried again is sent on as a new one, which counts the tries.
pub async fn settle(queue: &Queue, message: &ReceivedMessage, next: &Next) {
    if let Next::Again(delay) | Next::AgainWhenResumed(_, delay) = next {
        let again = Envelope::parse(&message.body).unwrap().again(*delay);
        queue.inner.send(&[again]).await.unwrap();
    }
    queue.inner.complete(&message.receipt).await.unwrap();
}
