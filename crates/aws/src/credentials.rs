//! Who we are at a registry of the document: a secret's login, or a token of Amazon ECR.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_engine::CredentialsOf;
use transship_oci::{Cloud, Code, Error, Persistence, RegistryHost, Result, Verb};
use transship_registry::{Anonymous, Credentials, Login};
use transship_rules::{CredentialsRef, Registry, SecretReference};

use crate::ecr::{EcrTokens, Registration};
use crate::{Aws, AwsSecrets};
use transship_runtime::FetchError;

/// How old credentials may be that a registry refuses. Requests side by side are refused side by side, and share the
/// answer.
const AGE: Duration = Duration::from_secs(2);

/// The credentials of a document's registries. What a secret or ECR says is remembered, and read anew after a refusal.
pub fn credentials_of(aws: Aws, secrets: Arc<AwsSecrets>) -> Arc<CredentialsOf> {
    let tokens = Arc::new(EcrTokens::new(aws));
    Arc::new(move |_, registry| of(registry, &secrets, &tokens))
}

fn of(registry: &Registry, secrets: &Arc<AwsSecrets>, tokens: &Arc<EcrTokens>) -> Arc<dyn Credentials> {
    let ecr = |role: Option<String>| {
        Arc::new(Fetched {
            registration: Registration::of(registry, role),
            tokens: Arc::clone(tokens),
        })
    };
    match &registry.credentials {
        None if registry.provider.cloud() == Some(Cloud::Aws) => ecr(None),
        None => Arc::new(Anonymous),
        Some(CredentialsRef::Ecr { role }) => ecr(Some(role.clone())),
        Some(CredentialsRef::Docker) => Arc::new(NotHere),
        Some(CredentialsRef::Secret(reference)) => Arc::new(Referred {
            reference: reference.clone(),
            secrets: Arc::clone(secrets),
        }),
    }
}

/// A login behind a reference.
struct Referred {
    reference: SecretReference,
    secrets: Arc<AwsSecrets>,
}

impl Referred {
    fn login_of(&self, secret: &SecretString) -> Result<Login> {
        let invalid = |error| unreadable(format!("{}: {error}", self.reference));
        Login::from_secret(secret).map_err(invalid)
    }
}

#[async_trait]
impl Credentials for Referred {
    async fn login(&self, _: &RegistryHost) -> Result<Login> {
        let secret = self.secrets.read(&self.reference).await.map_err(unavailable)?;
        self.login_of(&secret)
    }

    async fn login_anew(&self, _: &RegistryHost) -> Result<Option<Login>> {
        let secret = self
            .secrets
            .read_anew(&self.reference, AGE)
            .await
            .map_err(unavailable)?;
        secret.map(|secret| self.login_of(&secret)).transpose()
    }
}

/// A token of Amazon ECR.
struct Fetched {
    registration: Registration,
    tokens: Arc<EcrTokens>,
}

#[async_trait]
impl Credentials for Fetched {
    async fn login(&self, _: &RegistryHost) -> Result<Login> {
        self.tokens.login(&self.registration).await.map_err(unavailable)
    }

    async fn login_anew(&self, _: &RegistryHost) -> Result<Option<Login>> {
        let login = self.tokens.login_anew(&self.registration, AGE).await;
        login.map(Some).map_err(unavailable)
    }
}

/// `docker`, where nobody ever logged in.
struct NotHere;

#[async_trait]
impl Credentials for NotHere {
    async fn login(&self, _: &RegistryHost) -> Result<Login> {
        Err(unreadable(
            "docker is what somebody logged in with on one machine: write secretsmanager:NAME or ssm:NAME for this stack",
        ))
    }
}

fn unavailable(unread: FetchError) -> Error {
    let is_temporary = unread.is_temporary;
    let error = unreadable(unread.message);
    if is_temporary {
        error.with_persistence(Persistence::Temporary(None))
    } else {
        error
    }
}

/// `CREDENTIALS_UNAVAILABLE`. The message names where the login should be, never what is there.
fn unreadable(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Code::CredentialsUnavailable, Verb::Login, message)
}
