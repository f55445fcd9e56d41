//! The port through which a registry learns who we are there.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use transship_oci::{RegistryHost, Result};

/// Who we are at a registry. Cannot be printed with its secret.
#[derive(Debug, Clone)]
pub enum Login {
    /// Nobody.
    Anonymous,
    /// A user with a password or access token.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A refresh token, exchanged at the realm (`identitytoken` in Docker's configuration).
    IdentityToken(SecretString),
}

impl Login {
    /// True if it would be refused just as `other` was.
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

/// Tells who we are at a registry. Asked when a challenge arrives and again after a refusal, so that a rotated secret is
/// picked up; an adapter may cache.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The login for `host`. `CREDENTIALS_UNAVAILABLE` if one is configured and cannot be read.
    async fn login(&self, host: &RegistryHost) -> Result<Login>;

    /// The login read past whatever is remembered, because a remembered one was refused. [`None`]: nothing is remembered
    /// here, so [`Credentials::login`] says all there is.
    async fn login_anew(&self, _: &RegistryHost) -> Result<Option<Login>> {
        Ok(None)
    }
}

/// Nobody, everywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl Credentials for Anonymous {
    async fn login(&self, _: &RegistryHost) -> Result<Login> {
        Ok(Login::Anonymous)
    }
}
