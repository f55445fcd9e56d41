//! Two registries, a client of each, and the copies between them: `core/app:v1` to `copy/app:v1` unless said otherwise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use transship_copy::{
    Arrival, BlobLocation, BlobLocations, Continuations, NoProgress, Options, Owner, Replicas, Report, Request,
    Selected, TagClaim, TimeBudget, copy,
};
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_embedded_registry::{Builder, EmbeddedRegistry, RequestRecord};
use transship_oci::{Digest, Error, Limits, Manifest, Network, Provider, Repository, Result, Tag, Target};
use transship_registry::{Anonymous, Credentials, Profile, Registry, Retries};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::Sample;

use crate::kept::Kept;

/// Waits too short to notice.
pub const QUICK: Retries = Retries {
    times: 5,
    max_wait: Duration::from_secs(5),
    first: Duration::from_millis(1),
};

/// The size at which a blob is asked for before it is sent.
pub const LARGE: usize = 4 * 1024 * 1024;

pub fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// The options of a client that waits little.
pub fn options_of(registry: &EmbeddedRegistry) -> transship_registry::Options {
    transship_registry::Options {
        endpoint: registry.url().parse().unwrap(),
        names: Vec::new(),
        network: Network::Public,
        limits: Limits::default(),
        profile: Profile::of(Provider::Distribution),
        retries: QUICK,
        credentials: Arc::new(Anonymous),
        tls: None,
    }
}

pub fn client(registry: &EmbeddedRegistry) -> Registry {
    Registry::new(options_of(registry)).unwrap()
}

pub fn client_as(registry: &EmbeddedRegistry, credentials: Arc<dyn Credentials>) -> Registry {
    Registry::new(transship_registry::Options {
        credentials,
        ..options_of(registry)
    })
    .unwrap()
}

/// A source, a destination, clients of both, and what is remembered between copies.
pub struct World {
    pub source: Arc<EmbeddedRegistry>,
    pub destination: Arc<EmbeddedRegistry>,
    pub from: Registry,
    pub to: Registry,
    pub locations: Known,
    pub ours: Ours,
}

/// One copy that is not the usual one.
pub struct Job {
    pub from: (Repository, Target),
    pub to: (Repository, Target),
    pub options: Options,
    pub continuations: Option<Arc<Kept>>,
    pub budget: Option<TimeBudget>,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            from: (name("core/app"), Target::Tag(tag("v1"))),
            to: (name("copy/app"), Target::Tag(tag("v1"))),
            options: Options::default(),
            continuations: None,
            budget: None,
        }
    }
}

impl World {
    pub async fn new() -> Self {
        Self::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder()).await
    }

    pub async fn of(source: Builder, destination: Builder) -> Self {
        let source = source.start().await.unwrap();
        let destination = destination.start().await.unwrap();
        Self {
            from: client(&source),
            to: client(&destination),
            source: Arc::new(source),
            destination: Arc::new(destination),
            locations: Known::default(),
            ours: Ours::default(),
        }
    }

    /// With this sample at the source.
    pub async fn with(sample: &Sample) -> Self {
        let world = Self::new().await;
        world.seed(sample);
        world
    }

    pub fn seed(&self, sample: &Sample) {
        sample.seed_into(&self.source, &name("core/app"), &tag("v1"));
    }

    /// Everything of `sample` is said to lie in `repository` of the destination, and was read from `core/app` before.
    pub fn claim(&self, sample: &Sample, repository: &Repository) {
        let source = format!("{}/core/app", self.source.host());
        self.locations.claim(sample, repository, Some(&source));
    }

    /// Everything of `sample` is said to lie in `repository` of the destination. Whether the source has it is not known.
    pub fn claim_unproven(&self, sample: &Sample, repository: &Repository) {
        self.locations.claim(sample, repository, None);
    }

    pub async fn run(&self, job: Job) -> Result<Report> {
        let source = self.from.repository(job.from.0);
        let destination = self.to.repository(job.to.0).for_writing();
        copy(Request {
            source: &source,
            from: job.from.1,
            destination: &destination,
            to: job.to.1,
            options: job.options,
            locations: &self.locations,
            replicas: &self.ours,
            lease: None,
            continuations: job.continuations.as_deref().map(|kept| kept as &dyn Continuations),
            budget: job.budget,
            progress: Arc::new(NoProgress),
        })
        .await
    }

    pub async fn copy(&self) -> Result<Report> {
        self.run(Job::default()).await
    }

    pub async fn copy_with(&self, options: Options) -> Result<Report> {
        self.run(Job {
            options,
            ..Job::default()
        })
        .await
    }

    /// The error of a copy that must fail.
    pub async fn fails(&self) -> Error {
        self.copy().await.map(|report| report.state).unwrap_err()
    }

    pub fn reset_requests(&self) {
        self.source.reset_requests();
        self.destination.reset_requests();
    }

    /// Requests at both ends, pings aside.
    pub fn requests(&self) -> u64 {
        self.source.traffic().total.requests + self.destination.traffic().total.requests
    }

    /// What `copy/app:v1` names.
    pub fn arrived(&self) -> Option<Digest> {
        self.destination.digest(&name("copy/app"), &tag("v1"))
    }

    /// Nothing at all is visible in `copy/app`.
    pub fn assert_nothing_visible(&self) {
        assert_eq!(self.destination.tags(&name("copy/app")), []);
        assert_eq!(self.destination.manifests(&name("copy/app")), []);
    }

    pub fn assert_equal(&self, sample: &Sample) {
        assert_arrived(sample, &self.destination, &name("copy/app"), &tag("v1"));
    }
}

/// Every part of `sample` lies in `repository`, byte for byte, and is listed where it refers to something.
pub fn assert_arrived(sample: &Sample, registry: &EmbeddedRegistry, repository: &Repository, root: &Tag) {
    assert_eq!(
        registry.digest(repository, root).as_ref(),
        Some(&sample.root),
        "{repository}:{root}"
    );
    for (digest, bytes) in &sample.blobs {
        assert_eq!(
            registry.blob(repository, digest).as_ref(),
            Some(bytes),
            "{repository}@{digest}"
        );
    }
    for manifest in &sample.manifests {
        let held = registry.manifest(repository, &Target::Digest(manifest.digest.clone()));
        let sent = (manifest.media_type.clone(), manifest.bytes.clone());
        assert_eq!(held.as_ref(), Some(&sent), "{repository}@{}", manifest.digest);
        if let Some(own) = &manifest.tag {
            assert_eq!(
                registry.digest(repository, own).as_ref(),
                Some(&manifest.digest),
                "{own}"
            );
        }
    }
    if registry.lists_referrers() {
        return;
    }
    for fallback in sample.fallbacks() {
        let tag = fallback.tag.unwrap();
        let (_, held) = registry.manifest(repository, &Target::Tag(tag.clone())).unwrap();
        assert_eq!(children(held), children(fallback.bytes), "{tag}");
    }
}

/// The digests an index lists.
pub fn children(index: Bytes) -> Vec<Digest> {
    let index = Manifest::parse(index, None).unwrap();
    index.children().iter().map(|child| child.digest.clone()).collect()
}

/// A script of one fault.
pub fn script(method: &str, path: &str, action: Action) -> Arc<Script> {
    Arc::new(Script::new([Fault::new(method, path, action).unwrap()]))
}

/// A script of one fault that strikes always.
pub fn always(method: &str, path: &str, action: Action) -> Arc<Script> {
    Arc::new(Script::new([Fault::new(method, path, action).unwrap().always()]))
}

/// An answer with headers.
pub fn answer(code: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Action {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Action::Status {
        code,
        headers: headers.collect(),
        body: body.into(),
    }
}

/// The records of `method` whose path and query hold `part`.
pub fn asked(registry: &EmbeddedRegistry, method: &str, part: &str) -> Vec<RequestRecord> {
    let is_meant = |record: &RequestRecord| {
        let address = format!("{}?{}", record.path, record.query.as_deref().unwrap_or_default());
        record.method == method && address.contains(part)
    };
    registry.requests().into_iter().filter(is_meant).collect()
}

/// Looks at every request before it is handled, and may act.
pub struct Watch<F>(pub F);

impl<F> Faults for Watch<F>
where
    F: Fn(&RequestHead<'_>) -> Option<Action> + Send + Sync,
{
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        self.0(request)
    }
}

/// Lets `look` see every request to `registry`.
pub fn watch(registry: &EmbeddedRegistry, look: impl Fn(&RequestHead<'_>) -> Option<Action> + Send + Sync + 'static) {
    registry.set_faults(Some(Arc::new(Watch(look))));
}

/// Blob locations in memory.
#[derive(Default)]
pub struct Known(pub Mutex<HashMap<Digest, BlobLocation>>);

impl Known {
    /// Everything of `sample` is said to lie in `repository`, and to be at `source`.
    fn claim(&self, sample: &Sample, repository: &Repository, source: Option<&String>) {
        let mut known = self.0.lock().unwrap();
        for digest in sample.blobs.keys() {
            let location = known.entry(digest.clone()).or_default();
            location.repositories.push(repository.clone());
            location.sources.extend(source.cloned());
        }
    }

    pub fn of(&self, digest: &Digest) -> Vec<Repository> {
        let known = self.0.lock().unwrap();
        known.get(digest).cloned().unwrap_or_default().repositories
    }
}

#[async_trait]
impl BlobLocations for Known {
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, BlobLocation> {
        let known = self.0.lock().unwrap();
        let found = digests.iter().filter_map(|digest| known.get_key_value(digest));
        found.map(|(digest, held)| (digest.clone(), held.clone())).collect()
    }

    async fn add(&self, arrivals: &[Arrival], repository: &Repository) {
        let mut known = self.0.lock().unwrap();
        for arrival in arrivals {
            let held = known.entry(arrival.digest.clone()).or_default();
            held.repositories.retain(|other| other != repository);
            held.repositories.insert(0, repository.clone());
            held.sources.extend(arrival.source.clone());
        }
    }

    async fn remove(&self, digest: &Digest, repository: &Repository) {
        if let Some(held) = self.0.lock().unwrap().get_mut(digest) {
            held.repositories.retain(|other| other != repository);
        }
    }
}

/// What we wrote, in memory.
#[derive(Default)]
pub struct Ours(pub Mutex<HashMap<Tag, Vec<Digest>>>, pub Mutex<Option<Selected>>);

#[async_trait]
impl Replicas for Ours {
    async fn withdraw(&self, tag: &Tag, digest: &Digest) -> Result<()> {
        let mut written = self.0.lock().unwrap();
        written.entry(tag.clone()).or_default().retain(|known| known != digest);
        Ok(())
    }

    async fn selected(&self, _: &Tag) -> Result<Option<Selected>> {
        Ok(self.1.lock().unwrap().clone())
    }

    async fn owner(&self, tag: &Tag, found: &Digest) -> Result<Owner> {
        let written = self.0.lock().unwrap();
        let is_ours = written.get(tag).is_some_and(|written| written.contains(found));
        Ok(if is_ours { Owner::Ours } else { Owner::Unknown })
    }

    async fn claim(&self, tag: &Tag, digest: &Digest) -> Result<TagClaim> {
        let mut written = self.0.lock().unwrap();
        written.entry(tag.clone()).or_default().insert(0, digest.clone());
        Ok(TagClaim::Granted)
    }
}
