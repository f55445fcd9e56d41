//! A bucket in memory, the events of its uploads, and the setup that imports from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use transship_copy::{ByteStream, Clock as _};
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::ledger::PendingBlobs;
use transship_engine::{ImportIntake, SourceCache, StoreName, Stores, TaskRecord, TaskState, Uploaded};
use transship_layout::{MemoryStore, Object, ObjectStore, Page, Part, Put};
use transship_oci::{Code, Digest, Error, Result, Verb};
use transship_testkit::images::Sample;

use crate::fixture::Fixture;

/// The name of the bucket as a store.
pub const STORE: &str = "s3://layouts";

/// No rule, and one import of what lies below `to-b/`.
const IMPORT: &str = "  []\nimports:\n  - { name: seed, bucket: layouts, prefix: to-b/, destination: { registry: b, namespace: core } }\n";

/// Objects by their keys.
pub type Objects = BTreeMap<String, Bytes>;

/// A store that can refuse, or not answer.
#[derive(Default)]
pub struct Store {
    inner: MemoryStore,
    pub is_forbidden: AtomicBool,
    pub is_silent: AtomicBool,
    pub reads: AtomicU64,
}

impl Store {
    fn permitted(&self) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.is_forbidden.load(Ordering::Relaxed) {
            return Err(Error::of(Code::ObjectRefused, Verb::Read));
        }
        Ok(())
    }

    /// Puts an object there, in place of what was.
    pub async fn put(&self, key: &str, bytes: Bytes) {
        match self.inner.head(key).await.unwrap().and_then(|held| held.etag) {
            Some(etag) => drop(self.inner.put_if_match(key, bytes, &etag).await.unwrap()),
            None => drop(self.inner.put_if_absent(key, bytes).await.unwrap()),
        }
    }
}

#[async_trait]
impl ObjectStore for Store {
    fn name(&self) -> String {
        STORE.into()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        if self.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.permitted()?;
        self.inner.head(key).await
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        self.permitted()?;
        self.inner.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        self.permitted()?;
        self.inner.list(prefix, after, max).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put> {
        self.inner.put_if_absent(key, bytes).await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put> {
        self.inner.put_if_match(key, bytes, etag).await
    }
}

struct Only(Arc<Store>);

impl Stores for Only {
    fn store(&self, name: &StoreName) -> Result<Arc<dyn ObjectStore>> {
        assert_eq!(name.as_str(), STORE);
        Ok(Arc::clone(&self.0) as _)
    }
}

pub struct Bucket {
    pub fixture: Fixture,
    pub store: Arc<Store>,
    pub pending: PendingBlobs,
    pub intake: Arc<ImportIntake>,
    writes: AtomicU64,
}

impl Bucket {
    pub async fn new() -> Self {
        Self::of(IMPORT).await
    }

    /// `document` is what follows `rules:`.
    pub async fn of(document: &str) -> Self {
        let mut fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), document).await;
        let store = Arc::new(Store::default());
        let pending = PendingBlobs::new(Arc::clone(&fixture.ledger) as _);
        fixture.import_from(SourceCache::new(Arc::new(Only(Arc::clone(&store))), pending.clone()));
        let intake = Arc::new(ImportIntake {
            configuration: fixture.configuration.clone(),
            queue: Arc::clone(&fixture.queue) as _,
            history: Arc::clone(&fixture.ledger) as _,
            pending: pending.clone(),
            clock: Arc::new(fixture.clock.clone()),
        });
        Self {
            fixture,
            store,
            pending,
            intake,
            writes: AtomicU64::new(0),
        }
    }

    /// Writes an object; what tells of it.
    pub async fn write(&self, key: &str, bytes: Bytes) -> Uploaded {
        self.store.put(key, bytes).await;
        Uploaded {
            bucket: "layouts".into(),
            key: key.into(),
            version: self.writes.fetch_add(1, Ordering::Relaxed).to_string(),
        }
    }

    /// Writes an object and tells of it; how many looks that called for.
    pub async fn upload(&self, key: &str, bytes: Bytes) -> usize {
        let told = self.write(key, bytes).await;
        self.intake.uploaded(&[told]).await.unwrap()
    }

    /// Number of scans that wait.
    pub async fn waiting(&self) -> usize {
        let now = Timestamp::try_from(self.fixture.clock.now()).unwrap();
        self.pending.waiting(usize::MAX, now).await.unwrap().len()
    }

    /// `hook` runs once, before the first call to the ledger that is named `call`. The flag says whether it ran.
    pub fn once_before<F: Future<Output = ()> + Send + 'static>(
        &self,
        call: &'static str,
        hook: impl Fn() -> F + Send + Sync + 'static,
    ) -> Arc<AtomicBool> {
        let has_run = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&has_run);
        self.fixture.ledger.before(move |named, _| {
            let happening = (named == call && !flag.swap(true, Ordering::Relaxed)).then(&hook);
            Box::pin(async move {
                if let Some(happening) = happening {
                    happening.await;
                }
                Ok(())
            })
        });
        has_run
    }

    pub async fn upload_all(&self, objects: &Objects) {
        for (key, bytes) in objects {
            self.upload(key, bytes.clone()).await;
        }
    }

    pub async fn put_all(&self, objects: &Objects) {
        for (key, bytes) in objects {
            self.store.put(key, bytes.clone()).await;
        }
    }

    /// `source -> destination state code` of every task, in the order of their texts. Sources and listings that became tasks, or
    /// wait, are left out: see [`Bucket::sources`].
    pub async fn told(&self) -> Vec<String> {
        self.lines(|task| !is_source(task)).await
    }

    /// The same of the sources and listings that became tasks, or wait.
    pub async fn sources(&self) -> Vec<String> {
        self.lines(is_source).await
    }

    async fn lines(&self, is_wanted: fn(&TaskRecord) -> bool) -> Vec<String> {
        let tasks = self.fixture.tasks().await;
        let mut told: Vec<String> = tasks
            .iter()
            .filter(|task| is_wanted(task))
            .map(|task| {
                let code = task.code.as_deref().unwrap_or_default();
                let line = format!("{} -> {} {} {code}", task.source, task.destination, task.state);
                line.trim_end().to_owned()
            })
            .collect();
        told.sort();
        told
    }

    /// Requests to `b` that write.
    pub fn writes(&self) -> usize {
        let requests = self.fixture.b.requests();
        requests
            .iter()
            .filter(|request| matches!(request.method.as_str(), "PUT" | "POST" | "PATCH"))
            .count()
    }
}

fn is_source(task: &TaskRecord) -> bool {
    task.digest.is_none() && matches!(task.state, TaskState::Succeeded | TaskState::Waiting)
}

/// The objects of a layout at `key` that holds `samples` by their names.
pub fn layout(key: &str, samples: &[(&str, &Sample)]) -> Objects {
    let folder = tempfile::tempdir().unwrap();
    for (name, sample) in samples {
        sample.write_layout(folder.path(), name).unwrap();
    }
    let mut objects = Objects::new();
    collect(folder.path(), key, &mut objects);
    objects
}

/// The objects of a registry's storage at `root` that holds `sample` as `repository:tag`.
pub fn tree(root: &str, repository: &str, tag: &str, sample: &Sample) -> Objects {
    let root = format!("{root}docker/registry/v2");
    let hex = |digest: &Digest| digest.hex().to_owned();
    let data = |digest: &Digest| format!("{root}/blobs/sha256/{}/{}/data", &hex(digest)[..2], hex(digest));
    let link = |place: String, digest: &Digest| {
        let key = format!("{root}/repositories/{repository}/{place}/link");
        (key, Bytes::from(digest.to_string()))
    };
    let mut objects = Objects::new();
    for (digest, bytes) in &sample.blobs {
        objects.insert(data(digest), bytes.clone());
        objects.extend([link(format!("_layers/sha256/{}", hex(digest)), digest)]);
    }
    for manifest in &sample.manifests {
        let digest = &manifest.digest;
        objects.insert(data(digest), manifest.bytes.clone());
        objects.extend([link(format!("_manifests/revisions/sha256/{}", hex(digest)), digest)]);
    }
    objects.extend([link(format!("_manifests/tags/{tag}/current"), &sample.root)]);
    objects
}

fn collect(folder: &Path, key: &str, objects: &mut Objects) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let key = format!("{key}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &key, objects);
        } else {
            objects.insert(key, std::fs::read(&path).unwrap().into());
        }
    }
}
