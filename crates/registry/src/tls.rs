//! The port through which a registry's client gets the certificates of its connections.

use async_trait::async_trait;
use reqwest::{Certificate, ClientBuilder, Identity};
use secrecy::{ExposeSecret as _, SecretString};
use transship_oci::{Code, Error, Result, Verb};

/// Certificates as PEM. Cannot be printed.
#[derive(Clone, Default)]
pub struct TlsMaterial {
    /// Authorities that are trusted in addition to the default roots.
    pub authorities: Option<SecretString>,
    /// The certificate that this client shows, and its private key.
    pub identity: Option<(SecretString, SecretString)>,
}

/// Reads the certificates of one registry. Called before its first connection, and again from time to time, so that a
/// certificate that was renewed is used without a new document.
#[async_trait]
pub trait TlsSource: Send + Sync {
    /// The certificates as they are now. `CREDENTIALS_UNAVAILABLE` if they cannot be read.
    async fn read(&self) -> Result<TlsMaterial>;
}

impl TlsMaterial {
    /// True if both have the same content.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let text = |secret: &Option<SecretString>| secret.as_ref().map(|text| text.expose_secret().to_owned());
        let pair = |identity: &Option<(SecretString, SecretString)>| {
            identity
                .as_ref()
                .map(|(certificate, key)| (certificate.expose_secret().to_owned(), key.expose_secret().to_owned()))
        };
        text(&self.authorities) == text(&other.authorities) && pair(&self.identity) == pair(&other.identity)
    }

    /// Adds them to `builder`; the client certificate only if `shows_identity`. `TLS_ERROR` if they are not PEM of the right kind.
    pub(crate) fn apply(&self, mut builder: ClientBuilder, shows_identity: bool) -> Result<ClientBuilder> {
        let invalid = |what: &str| Error::of(Code::Tls, Verb::Client).because(format!("{what}: expected PEM"));
        if let Some(authorities) = &self.authorities {
            let certificates = Certificate::from_pem_bundle(authorities.expose_secret().as_bytes())
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| invalid("tls.authorities of the registry cannot be used"))?;
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some((certificate, key)) = self.identity.as_ref().filter(|_| shows_identity) {
            let pem = SecretString::from(format!("{}\n{}", certificate.expose_secret(), key.expose_secret()));
            let identity = Identity::from_pem(pem.expose_secret().as_bytes())
                .map_err(|_| invalid("tls.certificate and tls.key of the registry cannot be used"))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}
