//! The connections to a registry: with TLS and without, each made when it is first needed.
//!
//! Reading the machine's root certificates takes some 10 ms; a registry that speaks plain HTTP pays that only if it
//! redirects to a storage that speaks HTTPS.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Client;
use url::Url;

use crate::network::{Guard, GuardedResolver};
use transship_oci::{Code, Error, Result, Verb};

/// Both kinds of connections, pooled.
pub(crate) struct Clients {
    guard: Arc<Guard>,
    plain: OnceLock<Client>,
    tls: OnceLock<Client>,
}

impl Clients {
    pub(crate) const fn new(guard: Arc<Guard>) -> Self {
        Self {
            guard,
            plain: OnceLock::new(),
            tls: OnceLock::new(),
        }
    }

    /// The client for `url`, by its scheme. `TLS_ERROR` if the machine's certificates cannot be read.
    pub(crate) fn of(&self, url: &Url) -> Result<&Client> {
        let is_tls = url.scheme() == "https";
        let kept = if is_tls { &self.tls } else { &self.plain };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        let client = self.make(is_tls)?;
        Ok(kept.get_or_init(|| client))
    }

    fn make(&self, is_tls: bool) -> Result<Client> {
        use_ring();
        let mut builder = Client::builder()
            .user_agent(concat!("transship/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // Parallel connections each have their own congestion window; one multiplexed connection does not.
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_secs(20))
            .dns_resolver(GuardedResolver(Arc::clone(&self.guard)));
        if self.guard.is_literal() {
            builder = builder.no_proxy();
            // Elsewhere a proxy may stand, which may be reached by TLS whatever the registry speaks.
            if !is_tls {
                builder = builder.tls_certs_only(std::iter::empty());
            }
        }
        builder
            .build()
            .map_err(|error| Error::of(Code::Tls, Verb::Client).because(error))
    }
}

/// Lets every TLS connection of this process be made by *ring*, unless something else was chosen before: a `reqwest` client
/// must not be built earlier. Here because a function that is loaded at each cold start should not bring two implementations,
/// and the other one is four times as large.
pub fn use_ring() {
    // It was chosen before, perhaps by us.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
