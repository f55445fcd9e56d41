//! Registries that the command line names only by host. There is one client for each host, so that a copy within one
//! registry shares connections, tokens and what was learned about it.

use std::collections::HashMap;
use std::sync::Arc;

use transship_oci::{Limits, Network, RegistryHost, Repository, Result};
use transship_registry::{Credentials, Options, Profile, Registry, Retries};

/// Clients by host.
pub(crate) struct Registries {
    credentials: Arc<dyn Credentials>,
    clients: HashMap<RegistryHost, Registry>,
}

impl Registries {
    /// Registries with these credentials.
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self {
            credentials,
            clients: HashMap::new(),
        }
    }

    /// The client for `host`.
    pub(crate) fn client(&mut self, host: &RegistryHost) -> Result<Registry> {
        if let Some(client) = self.clients.get(host) {
            return Ok(client.clone());
        }
        let client = Registry::new(Options {
            endpoint: Registry::default_endpoint(host)?,
            names: vec![host.clone()],
            // The user named this host explicitly, so it may resolve to any address.
            network: Network::Private,
            limits: Limits::default(),
            profile: Profile::of_host(host.hostname()),
            retries: Retries::default(),
            credentials: Arc::new(UnderName {
                name: host.clone(),
                credentials: Arc::clone(&self.credentials),
            }),
            tls: None,
        })?;
        self.clients.insert(host.clone(), client.clone());
        Ok(client)
    }
}

/// Looks up credentials by the host of the reference, because Docker Hub's API host differs from the host of its stored
/// logins.
struct UnderName {
    name: RegistryHost,
    credentials: Arc<dyn Credentials>,
}

#[async_trait::async_trait]
impl Credentials for UnderName {
    async fn login(&self, _: &RegistryHost, repository: Option<&Repository>) -> Result<transship_registry::Login> {
        self.credentials.login(&self.name, repository).await
    }
}
