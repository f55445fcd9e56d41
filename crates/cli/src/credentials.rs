//! Credentials of the registries of a document, read when a registry asks for them.

use std::sync::Arc;

use async_trait::async_trait;
use transship_engine::{CredentialsOf, SecretTable, Secrets};
use transship_local::DockerConfig;
use transship_oci::{Code, Error, RegistryHost, Repository, Result, Verb};
use transship_registry::{Anonymous, Credentials, Login};
use transship_rules::CredentialsRef;
use transship_runtime::SecretLogin;

/// Credentials of a document's registries, from `secrets` and Docker's configuration. They are read each time, so that a
/// rotated secret takes effect at once.
pub(crate) fn credentials_of_document(secrets: Arc<dyn Secrets>) -> Arc<CredentialsOf> {
    Arc::new(move |registry| match &registry.credentials {
        None => Arc::new(Anonymous),
        Some(CredentialsRef::Secret(reference)) => Arc::new(SecretLogin {
            reference: reference.clone(),
            secrets: Arc::clone(&secrets),
        }),
        Some(CredentialsRef::Docker) => Arc::new(DockerLogin),
        Some(reference @ CredentialsRef::Ecr { .. }) => Arc::new(InCloudOnly(reference.to_string())),
    })
}

/// The secrets of a document, and the credentials of its registries.
pub(crate) struct Referred {
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) credentials: Arc<CredentialsOf>,
}

impl Referred {
    /// What this machine reads, and what the stack deployed on AWS reads, under the login of the operator. A build without the
    /// feature `aws` reads the former only.
    #[cfg(feature = "aws")]
    pub(crate) async fn everywhere(here: SecretTable) -> Self {
        let aws = transship_aws::Aws::load().await;
        let of_aws = Arc::new(transship_aws::secrets(&aws, Arc::new(transship_copy::SystemClock)));
        let secrets: Arc<dyn Secrets> = Arc::new(
            here.with("secretsmanager", Arc::clone(&of_aws) as _)
                .with("ssm", of_aws),
        );
        let of_stack = transship_aws::credentials_of(aws, Arc::clone(&secrets));
        let credentials: Arc<CredentialsOf> = Arc::new(move |registry| match &registry.credentials {
            Some(CredentialsRef::Docker) => Arc::new(DockerLogin),
            _ => of_stack(registry),
        });
        Self { secrets, credentials }
    }

    /// What this machine reads: this build has no support for AWS.
    #[cfg(not(feature = "aws"))]
    pub(crate) fn everywhere(here: SecretTable) -> std::future::Ready<Self> {
        let secrets: Arc<dyn Secrets> = Arc::new(here);
        let credentials = credentials_of_document(Arc::clone(&secrets));
        std::future::ready(Self { secrets, credentials })
    }
}

/// The login that Docker keeps.
struct DockerLogin;

#[async_trait]
impl Credentials for DockerLogin {
    async fn login(&self, host: &RegistryHost, repository: Option<&Repository>) -> Result<Login> {
        Credentials::login(&DockerConfig::load()?, host, repository).await
    }
}

/// Credentials that only a stack in a cloud reads.
struct InCloudOnly(String);

#[async_trait]
impl Credentials for InCloudOnly {
    async fn login(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        let message = format!(
            "{} is not read here: use env:NAME, file:PATH or docker, or use it in the stack deployed in its cloud",
            self.0
        );
        Err(Error::new(Code::CredentialsUnavailable, Verb::Login, message))
    }
}
