//! A registry: its connections, its authentication, its limits, and what was learned of it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use transship_oci::{Code, Error, Limits, Network, RegistryHost, Repository, Result, Verb};
use url::Url;

use crate::auth::{Auth, Scope};
use crate::clients::Clients;
use crate::exchange::Request;
use crate::limits::Limiter;
use crate::network::Guard;
use crate::upload::throughput::Throughput;
use crate::{Credentials, Profile, RemoteRepository, Retries, TlsSource};

/// The longest wait for a response, or for its next bytes, before the connection counts as broken.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a registry may take to acknowledge an upload whose last byte was sent: some move the blob in object storage.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_mins(5);
/// How long the refusal of chunks is remembered.
const REFUSAL_TTL: Duration = Duration::from_hours(1);

/// What a [`Registry`] is made of.
pub struct Options {
    /// `https://host[:port]`; `http` where the registry speaks it.
    pub endpoint: Url,
    /// Other hosts that are this registry too: its realm may stand there.
    pub names: Vec<RegistryHost>,
    /// What its names may resolve to.
    pub network: Network,
    /// What we ask of it at most.
    pub limits: Limits,
    /// What is known of its kind.
    pub profile: Profile,
    /// How its requests are repeated.
    pub retries: Retries,
    /// Who we are there.
    pub credentials: Arc<dyn Credentials>,
    /// The certificates of its connections; [`None`]: the default roots, and no client certificate.
    pub tls: Option<Arc<dyn TlsSource>>,
}

/// One registry. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Registry(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) base: Url,
    pub(crate) host: RegistryHost,
    pub(crate) names: Vec<RegistryHost>,
    pub(crate) clients: Clients,
    pub(crate) guard: Arc<Guard>,
    pub(crate) auth: Auth,
    pub(crate) limiter: Limiter,
    pub(crate) profile: Profile,
    pub(crate) retries: Retries,
    pub(crate) idle_timeout: Duration,
    pub(crate) referrers_api: Learned,
    pub(crate) chunks_refused: Refused,
    pub(crate) throughput: Throughput,
    /// `OCI-Chunk-Min-Length`, in bytes; 0 if it never said one.
    pub(crate) chunk_min: AtomicU64,
    paused_until: Mutex<Option<Instant>>,
}

impl Registry {
    /// A client for the registry at `options.endpoint`. Connects to nothing yet. `INVALID_ENDPOINT` if that is no base of a registry.
    pub fn new(options: Options) -> Result<Self> {
        let refuse = |why: &str| {
            Error::new(
                Code::InvalidEndpoint,
                Verb::Endpoint,
                format!("the endpoint {why}: write https://host[:port]"),
            )
        };
        let endpoint = options.endpoint;
        if !matches!(endpoint.scheme(), "https" | "http") {
            return Err(refuse("is neither https nor http"));
        }
        if endpoint.path() != "/"
            || endpoint.query().is_some()
            || endpoint.fragment().is_some()
            || !endpoint.username().is_empty()
            || endpoint.password().is_some()
        {
            return Err(refuse("has a path, a query or a user"));
        }
        let host = host_of(&endpoint).ok_or_else(|| refuse("has no host"))?;
        let guard = Arc::new(Guard::new(&endpoint, options.network));
        let base = endpoint
            .join("v2/")
            .map_err(|error| Error::new(Code::InvalidEndpoint, Verb::Endpoint, error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            auth: Auth::new(host.clone(), options.credentials),
            base,
            clients: Clients::new(
                Arc::clone(&guard),
                std::iter::once(host.clone())
                    .chain(options.names.iter().cloned())
                    .collect(),
                options.tls,
            ),
            host,
            names: options.names,
            guard,
            limiter: Limiter::new(options.limits),
            profile: options.profile,
            retries: options.retries,
            idle_timeout: IDLE_TIMEOUT,
            referrers_api: Learned::default(),
            chunks_refused: Refused::default(),
            throughput: Throughput::default(),
            chunk_min: AtomicU64::new(0),
            paused_until: Mutex::new(None),
        })))
    }

    /// The endpoint a reference's host stands for where no document says otherwise: `http` for loopback, as Docker has it,
    /// else `https`; Docker Hub answers at `registry-1.docker.io`.
    pub fn default_endpoint(host: &RegistryHost) -> Result<Url> {
        let name = host.hostname();
        let loopback = name == "localhost" || name.starts_with("127.") || name == "[::1]";
        let text = match name {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            _ if loopback => format!("http://{host}"),
            _ => format!("https://{host}"),
        };
        Url::parse(&text).map_err(|error| Error::new(Code::InvalidEndpoint, Verb::Endpoint, error.to_string()))
    }

    /// The host of the endpoint.
    pub fn host(&self) -> &RegistryHost {
        &self.0.host
    }

    /// One repository of it.
    pub fn repository(&self, repository: Repository) -> RemoteRepository {
        RemoteRepository::new(self.clone(), repository)
    }

    /// Sends `GET /v2/`, which succeeds if the registry is reachable and accepts the login. For `check --connect`.
    pub async fn ping(&self) -> Result<()> {
        let requests = AtomicU64::new(0);
        let request = Request::new(
            Verb::Ping.on(&self.0.host),
            Method::GET,
            self.0.base.clone(),
            Scope::Base,
            &requests,
        );
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(Error::of(Code::ResponseInvalid, Verb::Ping.on(&self.0.host))
                .because("GET /v2/ is 404: this is no registry")),
            _ => Err(response.into_error().await),
        }
    }

    /// Nobody of this process sends requests there before so long from now.
    pub fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        if let Ok(mut paused) = self.0.paused_until.lock() {
            *paused = Some(paused.map_or(until, |old| old.max(until)));
        }
    }

    /// How long requests must wait still.
    pub fn paused(&self) -> Option<Duration> {
        let until = (*self.0.paused_until.lock().ok()?)?;
        until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }
}

/// `host[:port]` of a URL, as references write it.
pub(crate) fn host_of(url: &Url) -> Option<RegistryHost> {
    let host = url.host_str()?;
    match url.port() {
        Some(port) => format!("{host}:{port}").parse().ok(),
        None => host.parse().ok(),
    }
}

/// Something a registry shows by its answers, remembered while the process lives: yes, no, or not known.
#[derive(Default)]
pub(crate) struct Learned(AtomicU8);

impl Learned {
    pub(crate) fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn set(&self, value: bool) {
        self.0.store(if value { 2 } else { 1 }, Ordering::Relaxed);
    }
}

/// Something a registry refused, remembered for a while: it may have been one broken answer, or a proxy since repaired.
#[derive(Default)]
pub(crate) struct Refused(Mutex<Option<Instant>>);

impl Refused {
    pub(crate) fn get(&self) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < REFUSAL_TTL)
    }

    pub(crate) fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}
