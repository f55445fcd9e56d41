//! The registries of a command line: known by nothing but the host in a reference. One client per host, so that a copy
//! within one registry shares connections, tokens and what was learned.

use std::collections::HashMap;
use std::sync::Arc;

use transship_oci::{Limits, Network, RegistryHost};
use transship_registry::{Credentials, Options, Profile, Registry, Result, Retries};

/// Clients by host.
pub(crate) struct Registries {
    credentials: Arc<dyn Credentials>,
    clients: HashMap<RegistryHost, Registry>,
}

impl Registries {
    /// Registries where we are who `credentials` says.
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
            // Who types a name means it, wherever it resolves to.
            network: Network::Private,
            limits: Limits::default(),
            profile: Profile::of_host(host.hostname()),
            retries: Retries::default(),
            credentials: Arc::new(UnderName {
                name: host.clone(),
                credentials: Arc::clone(&self.credentials),
            }),
        })?;
        self.clients.insert(host.clone(), client.clone());
        Ok(client)
    }
}

/// Logs in under the name of the reference: Docker Hub answers at another host than the one its logins are stored for.
struct UnderName {
    name: RegistryHost,
    credentials: Arc<dyn Credentials>,
}

#[async_trait::async_trait]
impl Credentials for UnderName {
    async fn login(&self, _: &RegistryHost) -> Result<transship_registry::Login> {
        self.credentials.login(&self.name).await
    }
}
