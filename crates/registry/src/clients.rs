//! The connections to a registry: without TLS, with TLS, and with TLS and a client certificate, each made when it is first
//! needed.
//!
//! Reading the machine's root certificates takes some 10 ms; a registry that speaks plain HTTP pays that only if it
//! redirects to a storage that speaks HTTPS. The client certificate of a registry is shown to its own hosts and to no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, ClientBuilder};
use tokio::sync::Mutex;
use transship_oci::{Code, Error, RegistryHost, Result, Verb};
use url::Url;

use crate::network::{Guard, GuardedResolver};
use crate::registry::host_of;
use crate::spares::{self, CONNECT_TIMEOUT, Spares};
use crate::tls::{TlsMaterial, TlsSource};

/// How long certificates are used before they are read again.
const TLS_MAX_AGE: Duration = Duration::from_mins(5);

/// All kinds of connections, pooled.
pub(crate) struct Clients {
    guard: Arc<Guard>,
    /// The hosts that are the registry.
    hosts: Vec<RegistryHost>,
    source: Option<Arc<dyn TlsSource>>,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    plain: Slot,
    /// Shows no client certificate.
    tls: Slot,
    /// Shows the client certificate.
    authenticated: Slot,
    /// What the two with TLS were made of.
    material: TlsMaterial,
    /// When that was read; [`None`]: it must be read before it is used.
    read: Option<Instant>,
}

/// A client, and the one that opens connections for it.
#[derive(Default)]
struct Slot {
    client: Option<Client>,
    opener: Option<Client>,
    spares: Spares,
}

impl Slot {
    const fn is_empty(&self) -> bool {
        self.client.is_none() && self.opener.is_none()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Tls,
    Authenticated,
}

impl Clients {
    pub(crate) fn new(guard: Arc<Guard>, hosts: Vec<RegistryHost>, source: Option<Arc<dyn TlsSource>>) -> Self {
        Self {
            guard,
            hosts,
            source,
            made: Mutex::default(),
        }
    }

    /// The client for `url`, by its scheme and host. `TLS_ERROR` if the certificates cannot be used.
    pub(crate) async fn of(&self, url: &Url) -> Result<Client> {
        let mut made = self.made.lock().await;
        let kind = self.kind(&mut made, url).await?;
        if let Some(client) = &made.slot(kind).client {
            return Ok(client.clone());
        }
        let builder = self.builder(kind, &made.material)?;
        let slot = made.slot(kind);
        let client = slot.client.insert(slot.spares.client(builder).map_err(not_made)?);
        Ok(client.clone())
    }

    /// Begins to open one more connection for requests to `url`, before there is one.
    pub(crate) async fn open_ahead(&self, url: &Url) -> Result<()> {
        let mut made = self.made.lock().await;
        let kind = self.kind(&mut made, url).await?;
        if let Some(opener) = &made.slot(kind).opener {
            spares::open_ahead(opener, url.clone());
            return Ok(());
        }
        let builder = self.builder(kind, &made.material)?;
        let slot = made.slot(kind);
        let opener = slot.opener.insert(slot.spares.opener(builder).map_err(not_made)?);
        spares::open_ahead(opener, url.clone());
        Ok(())
    }

    /// Which client is used for `url`. Certificates are read first, if it is time to.
    async fn kind(&self, made: &mut Made, url: &Url) -> Result<Kind> {
        let is_tls = url.scheme() == "https";
        if is_tls && let Some(source) = &self.source {
            made.refresh(source.as_ref()).await?;
        }
        let is_ours = host_of(url).is_some_and(|host| self.is_ours(&host));
        Ok(match (is_tls, is_ours && made.material.identity.is_some()) {
            (false, _) => Kind::Plain,
            (true, false) => Kind::Tls,
            (true, true) => Kind::Authenticated,
        })
    }

    /// The certificates were not accepted, on either side: they are read again before the next connection.
    pub(crate) async fn tls_failed(&self) {
        self.made.lock().await.read = None;
    }

    fn is_ours(&self, host: &RegistryHost) -> bool {
        self.hosts
            .iter()
            .any(|ours| ours.as_str().eq_ignore_ascii_case(host.as_str()))
    }

    fn builder(&self, kind: Kind, material: &TlsMaterial) -> Result<ClientBuilder> {
        use_ring();
        let mut builder = Client::builder()
            .user_agent(concat!("transship/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // Parallel connections each have their own congestion window; one multiplexed connection does not.
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(20))
            .dns_resolver(GuardedResolver(Arc::clone(&self.guard)));
        if self.guard.is_direct() {
            builder = builder.no_proxy();
            // A proxy may be reached by TLS even if the registry uses plain HTTP.
            if kind == Kind::Plain {
                builder = builder.tls_certs_only(std::iter::empty());
            }
        }
        if kind != Kind::Plain {
            builder = material.apply(builder, kind == Kind::Authenticated)?;
            // The certificate is kept with each response.
            builder = builder.tls_info(self.guard.is_pinned());
        }
        Ok(builder)
    }
}

impl Made {
    const fn slot(&mut self, kind: Kind) -> &mut Slot {
        match kind {
            Kind::Plain => &mut self.plain,
            Kind::Tls => &mut self.tls,
            Kind::Authenticated => &mut self.authenticated,
        }
    }

    /// Reads the certificates if it is time to, and drops the clients that were made of others. Certificates that were read
    /// before stay in use while they cannot be read again.
    async fn refresh(&mut self, source: &dyn TlsSource) -> Result<()> {
        if self.read.is_some_and(|read| read.elapsed() < TLS_MAX_AGE) {
            return Ok(());
        }
        let is_first = self.tls.is_empty() && self.authenticated.is_empty();
        match source.read().await {
            Ok(material) => {
                if !self.material.is_same(&material) {
                    (self.tls, self.authenticated) = (Slot::default(), Slot::default());
                    self.material = material;
                }
            }
            Err(error) if is_first => return Err(error),
            Err(error) => {
                tracing::warn!(code = error.code(), %error, "certificates could not be read again; the last ones stay in use");
            }
        }
        self.read = Some(Instant::now());
        Ok(())
    }
}

fn not_made(error: reqwest::Error) -> Error {
    Error::of(Code::Tls, Verb::Client).because(error)
}

/// Makes *ring* the TLS provider of this process, unless another one was installed before. It must be called before the first
/// `reqwest` client is created. A function is loaded at each cold start and must not contain two implementations; the other
/// one is four times as large.
pub fn use_ring() {
    // A provider is already installed, possibly by an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
