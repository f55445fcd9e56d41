//! Logins at the registries of a document: from a secret, or a token of Amazon ECR.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use transship_engine::{CredentialsOf, Secrets};
use transship_oci::{Cloud, Code, Error, RegistryHost, Repository, Result, Verb};
use transship_registry::{Anonymous, Credentials, Login};
use transship_rules::{CredentialsRef, Registry};
use transship_runtime::{REFUSED_LOGIN_TTL, SecretLogin};

use crate::Aws;
use crate::ecr::{EcrTokens, Registration, is_ecr};

/// The credentials of a document's registries. Secrets and tokens are kept, and read again after a refusal.
pub fn credentials_of(aws: Aws, secrets: Arc<dyn Secrets>) -> Arc<CredentialsOf> {
    let tokens = Arc::new(EcrTokens::new(aws));
    Arc::new(move |registry| of(registry, &secrets, &tokens))
}

fn of(registry: &Registry, secrets: &Arc<dyn Secrets>, tokens: &Arc<EcrTokens>) -> Arc<dyn Credentials> {
    let ecr = |role: Option<String>| {
        Arc::new(EcrLogin {
            registration: Registration::of(registry, role),
            tokens: Arc::clone(tokens),
        })
    };
    match &registry.credentials {
        None if registry.provider.cloud() == Some(Cloud::Aws) => ecr(None),
        None => Arc::new(Anonymous),
        Some(CredentialsRef::Ecr { role }) => ecr(Some(role.clone())),
        Some(CredentialsRef::Docker) => Arc::new(NotHere),
        Some(CredentialsRef::Secret(reference)) => Arc::new(SecretLogin {
            reference: reference.clone(),
            secrets: Arc::clone(secrets),
        }),
    }
}

/// A token of Amazon ECR.
struct EcrLogin {
    registration: Registration,
    tokens: Arc<EcrTokens>,
}

#[async_trait]
impl Credentials for EcrLogin {
    async fn login(&self, host: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        check_host(host)?;
        self.tokens.login(&self.registration).await
    }

    async fn login_anew(&self, host: &RegistryHost, _: Option<&Repository>) -> Result<Option<Login>> {
        check_host(host)?;
        let login = self.tokens.login_anew(&self.registration, REFUSED_LOGIN_TTL).await;
        login.map(Some)
    }
}

/// A token is valid for every registry that the role may use, so it is sent to hosts of Amazon ECR only, and to this machine.
fn check_host(host: &RegistryHost) -> Result<()> {
    if is_ecr(host.as_str()) || is_loopback(host.as_str()) {
        return Ok(());
    }
    let message = format!("{host} is not a host of Amazon ECR, so it gets no token: set credentials for it");
    Err(Error::new(Code::CredentialsUnavailable, Verb::Login, message))
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
}

/// `docker` in a function, which has no Docker login.
struct NotHere;

#[async_trait]
impl Credentials for NotHere {
    async fn login(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        let message = "docker is a login on one machine: write secretsmanager:NAME or ssm:NAME for this stack";
        Err(Error::new(Code::CredentialsUnavailable, Verb::Login, message))
    }
}
