//! Credentials of the registries of a document, read when a registry asks for them.

use std::sync::Arc;

use async_trait::async_trait;
use transship_engine::{CredentialsOf, Secrets};
use transship_local::DockerConfig;
use transship_oci::RegistryHost;
use transship_registry::{Anonymous, Credentials, Error, Login, Result};
use transship_rules::CredentialsRef;

/// Credentials of a document's registries, from `secrets` and Docker's configuration.
pub(crate) fn logins(secrets: Arc<dyn Secrets>) -> Arc<CredentialsOf> {
    Arc::new(move |_, registry| match &registry.credentials {
        None => Arc::new(Anonymous),
        Some(reference) => Arc::new(Referred {
            reference: reference.clone(),
            secrets: Arc::clone(&secrets),
        }),
    })
}

/// Credentials that a reference names. They are read each time, so that a rotated secret takes effect at once.
struct Referred {
    reference: CredentialsRef,
    secrets: Arc<dyn Secrets>,
}

#[async_trait]
impl Credentials for Referred {
    async fn login(&self, host: &RegistryHost) -> Result<Login> {
        if self.reference == CredentialsRef::Docker {
            let docker = DockerConfig::load().map_err(|error| Error::credentials(error.kind.to_string()))?;
            return Credentials::login(&docker, host).await;
        }
        let reference = self.reference.to_string();
        let secret = self.secrets.secret(&reference).await;
        let secret = secret.map_err(|error| Error::credentials(error.kind.to_string()))?;
        Login::from_secret(&secret).map_err(|error| Error::credentials(format!("{reference}: {error}")))
    }
}
