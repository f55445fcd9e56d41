//! The login in a secret.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_engine::Secrets;
use transship_oci::{Code, Error, Persistence, RegistryHost, Repository, Result, Verb};
use transship_registry::{Credentials, Login};
use transship_rules::SecretReference;

/// The greatest age of a login after a registry refused it. Parallel requests are refused at the same time and share the
/// next login.
pub const REFUSED_LOGIN_TTL: Duration = Duration::from_secs(2);

/// [`Credentials`] in the secret that a reference names.
pub struct SecretLogin {
    /// The reference.
    pub reference: SecretReference,
    /// Reads the secret.
    pub secrets: Arc<dyn Secrets>,
}

impl SecretLogin {
    fn login_of(&self, secret: &SecretString) -> Result<Login> {
        Login::from_secret(secret).map_err(|error| unavailable(format!("{}: {error}", self.reference)))
    }
}

#[async_trait]
impl Credentials for SecretLogin {
    async fn login(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        let secret = self.secrets.secret(&self.reference).await.map_err(unread)?;
        self.login_of(&secret)
    }

    async fn login_anew(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Option<Login>> {
        let secret = self.secrets.secret_anew(&self.reference, REFUSED_LOGIN_TTL).await;
        secret.map_err(unread)?.map(|secret| self.login_of(&secret)).transpose()
    }
}

/// A secret that cannot be read now is a login that is not available now.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn unread(error: Error) -> Error {
    let unread = unavailable(error.message().to_owned());
    match error.persistence() {
        Persistence::Temporary(_) => unread.with_persistence(Persistence::Temporary(None)),
        _ => unread,
    }
}

/// `CREDENTIALS_UNAVAILABLE`. The message names where the login should be, never what is there.
fn unavailable(message: String) -> Error {
    Error::new(Code::CredentialsUnavailable, Verb::Login, message)
}
