//! Credentials of the registries of a document, read when a registry asks for them.

use std::sync::Arc;

use async_trait::async_trait;
use transship_engine::{CredentialsOf, Secrets};
use transship_local::DockerConfig;
use transship_oci::{Code, Error, RegistryHost, Result, Verb};
use transship_registry::{Anonymous, Credentials, Login};
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
        let reference = match &self.reference {
            CredentialsRef::Secret(reference) => reference,
            CredentialsRef::Docker => {
                let docker = DockerConfig::load()?;
                return Credentials::login(&docker, host).await;
            }
            CredentialsRef::Ecr { .. } => {
                return Err(unreadable(format!(
                    "{} is not read here: use env:NAME, file:PATH or docker, or use it in the stack deployed in its cloud",
                    self.reference
                )));
            }
        };
        let secret = self.secrets.secret(reference).await;
        let secret = secret.map_err(|error| unreadable(error.message().to_owned()))?;
        Login::from_secret(&secret).map_err(|error| unreadable(format!("{reference}: {error}")))
    }
}

/// `CREDENTIALS_UNAVAILABLE`. The message names where the login should be, never what is there.
fn unreadable(message: String) -> Error {
    Error::new(Code::CredentialsUnavailable, Verb::Login, message)
}
