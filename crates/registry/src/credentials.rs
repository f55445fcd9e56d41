//! The port that provides the credentials of a registry.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use transship_oci::{RegistryHost, Repository, Result};

/// Credentials of a registry. The secret cannot be printed.
#[derive(Debug, Clone)]
pub enum Login {
    /// No credentials.
    Anonymous,
    /// A user with a password or access token.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A refresh token that is exchanged at the realm (`identitytoken` in Docker's configuration).
    IdentityToken(SecretString),
}

impl Login {
    /// True if the credentials are the same as `other`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (
                Self::Basic { username, password },
                Self::Basic {
                    username: name,
                    password: word,
                },
            ) => username == name && password.expose_secret() == word.expose_secret(),
            (Self::IdentityToken(token), Self::IdentityToken(other)) => token.expose_secret() == other.expose_secret(),
            _ => false,
        }
    }
}

/// Provides the credentials of registries. It is called when a challenge arrives and again after a rejection, so that a
/// rotated secret is used. An adapter may cache.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The login for `repository` of `host`, or for the registry as a whole. Repositories of one registry may have logins of
    /// their own (containers-auth.json(5)). `CREDENTIALS_UNAVAILABLE` if one is configured and cannot be read.
    async fn login(&self, host: &RegistryHost, repository: Option<&Repository>) -> Result<Login>;

    /// The login without a cache, because a cached one was rejected. [`None`] means that this adapter has no cache.
    async fn login_anew(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Option<Login>> {
        Ok(None)
    }
}

/// No credentials for any registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl Credentials for Anonymous {
    async fn login(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        Ok(Login::Anonymous)
    }
}
