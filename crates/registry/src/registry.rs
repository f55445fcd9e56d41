//! A registry with its connections, authentication, limits and learned behaviour.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use transship_oci::{Code, Error, Limits, Network, RegistryHost, Repository, Result, Verb};
use url::Url;

use crate::adaptive::Adaptive;
use crate::auth::{Auth, Scope};
use crate::clients::Clients;
use crate::exchange::Request;
use crate::heads::Heads;
use crate::limits::Limiter;
use crate::network::Guard;
use crate::pages::PageSize;
use crate::quota::{LastQuota, Quota};
use crate::referrers::ReferrersApi;
use crate::upload::throughput::Throughput;
use crate::{Credentials, Profile, RemoteRepository, Retries, SiteTarget, TlsSource};

/// The longest wait for a response, or for its next bytes, before the connection counts as broken.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Time limit for the acknowledgement of an upload after its last byte. Some registries move the blob in object storage.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_mins(5);
/// How long the refusal of chunks, or of HEAD, is remembered.
const REFUSAL_TTL: Duration = Duration::from_hours(1);

/// Options of a [`Registry`].
pub struct Options {
    /// Endpoint: `https://host[:port]`, or `http` for a registry without TLS.
    pub endpoint: Url,
    /// Other hosts of this registry, which may also be its realm.
    pub names: Vec<RegistryHost>,
    /// Which addresses its names may resolve to.
    pub network: Network,
    /// Its limits.
    pub limits: Limits,
    /// The profile of its provider.
    pub profile: Profile,
    /// Retries of its requests.
    pub retries: Retries,
    /// Its credentials.
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
    pub(crate) adaptive: Adaptive,
    pub(crate) profile: Profile,
    pub(crate) retries: Retries,
    pub(crate) idle_timeout: Duration,
    pub(crate) referrers_api: ReferrersApi,
    pub(crate) tag_pages: PageSize,
    pub(crate) catalog_pages: PageSize,
    pub(crate) heads: Heads,
    pub(crate) chunks_refused: Refused,
    pub(crate) throughput: Throughput,
    /// `OCI-Chunk-Min-Length` in bytes; 0 if it was never sent.
    pub(crate) chunk_min: AtomicU64,
    pause: Mutex<Option<Pause>>,
    /// How many pulls it says are left.
    pub(crate) quota: Mutex<LastQuota>,
}

impl Registry {
    /// Creates a client for the registry at `options.endpoint` without connecting. `INVALID_ENDPOINT` means that the endpoint is
    /// not valid.
    pub fn new(options: Options) -> Result<Self> {
        Self::allowing(options, &[])
    }

    /// Like [`Registry::new`]. `addresses` are allowed as well, as if the endpoint named them.
    pub fn allowing(options: Options, addresses: &[IpAddr]) -> Result<Self> {
        Self::guarded(options, |guard, _| guard.allowing(addresses))
    }

    /// Like [`Registry::allowing`], but every connection to the endpoint's name goes to `target`, without a
    /// proxy. The name is not resolved. Certificates are still those of the endpoint's name.
    pub fn at_site(options: Options, addresses: &[IpAddr], target: SiteTarget) -> Result<Self> {
        Self::guarded(options, |guard, endpoint| {
            guard.allowing(addresses).pinned_to(endpoint, target)
        })
    }

    fn guarded(options: Options, change: impl FnOnce(Guard, &Url) -> Guard) -> Result<Self> {
        let refuse = |why: &str| {
            Error::new(
                Code::InvalidEndpoint,
                Verb::Endpoint,
                format!("the endpoint {why}: expected https://host[:port]"),
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
        let guard = Guard::new(&endpoint, &options.names, options.network);
        let guard = Arc::new(change(guard, &endpoint));
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
            adaptive: Adaptive::new(options.retries.first),
            profile: options.profile,
            retries: options.retries,
            idle_timeout: IDLE_TIMEOUT,
            referrers_api: ReferrersApi::default(),
            tag_pages: PageSize::default(),
            catalog_pages: PageSize::default(),
            heads: Heads::default(),
            chunks_refused: Refused::default(),
            throughput: Throughput::default(),
            chunk_min: AtomicU64::new(0),
            pause: Mutex::new(None),
            quota: Mutex::default(),
        })))
    }

    /// The default endpoint of the host in a reference: `http` for loopback as in Docker, otherwise `https`. Docker Hub's API host
    /// is `registry-1.docker.io`.
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

    /// A repository of this registry.
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
                .because("GET /v2/ returned 404: the endpoint is not a registry")),
            _ => Err(response.into_error().await),
        }
    }

    /// Opens connections for the first of `count` requests that follow soon, without waiting for them.
    pub fn expect_requests(&self, count: usize) {
        while self.open_ahead(Some(count)) {}
    }

    /// Opens a connection in the background if one more will be needed soon, and is true if so: for `expected` requests, or ([`None`])
    /// for those that wait for their turn.
    pub(crate) fn open_ahead(&self, expected: Option<usize>) -> bool {
        if self.paused().is_some() || self.0.limiter.has_rate() || self.0.guard.check(&self.0.base).is_err() {
            return false;
        }
        let Some(wait) = self.0.adaptive.open_ahead(expected) else {
            return false;
        };
        let registry = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if registry.0.adaptive.is_near() {
                return;
            }
            if let Err(error) = registry.0.clients.open_ahead(&registry.0.base).await {
                tracing::debug!(code = error.code(), "no connection was opened ahead");
            }
        });
        true
    }

    /// Pauses all requests of this process to the registry for this time.
    pub fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        if let Ok(mut pause) = self.0.pause.lock()
            && pause.is_none_or(|known| known.until < until)
        {
            *pause = Some(Pause {
                until,
                is_shared: false,
            });
        }
    }

    /// The pause that this process knows is known to all workers now, so [`Self::resume`] may end it.
    pub fn pause_was_shared(&self) {
        if let Ok(mut pause) = self.0.pause.lock()
            && let Some(pause) = pause.as_mut()
        {
            pause.is_shared = true;
        }
    }

    /// Ends a pause that was shared, after an operator ended it for all workers. One that was not shared yet is newer.
    pub fn resume(&self) {
        if let Ok(mut pause) = self.0.pause.lock() {
            *pause = pause.filter(|pause| !pause.is_shared);
        }
    }

    /// How many pulls are left, if the registry said so lately.
    pub fn quota(&self) -> Option<Quota> {
        let quota = self.0.quota.lock().unwrap_or_else(PoisonError::into_inner);
        quota.get(Instant::now())
    }

    /// Remaining time of the pause.
    pub fn paused(&self) -> Option<Duration> {
        let pause = (*self.0.pause.lock().ok()?)?;
        pause
            .until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }
}

/// A time in which nothing is sent to the registry.
#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    is_shared: bool,
}

/// `host[:port]` of a URL, as in references.
pub(crate) fn host_of(url: &Url) -> Option<RegistryHost> {
    let host = url.host_str()?;
    match url.port() {
        Some(port) => format!("{host}:{port}").parse().ok(),
        None => host.parse().ok(),
    }
}

/// A rejected feature, cached for a limited time, because the cause may have been temporary, such as a proxy.
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
