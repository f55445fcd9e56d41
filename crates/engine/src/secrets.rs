//! Which adapter reads which secrets: one table of the schemes of references.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_oci::{Code, Error, Persistence, Result, Verb};
use transship_registry::{TlsMaterial, TlsSource};
use transship_rules::{SECRET_SCHEMES, SecretReference, Tls};

use crate::Secrets;

/// [`Secrets`] by the scheme of their reference. Without a resolver for it, a reference is `SECRET_UNAVAILABLE`.
#[derive(Clone, Default)]
pub struct SecretTable {
    resolvers: BTreeMap<&'static str, Arc<dyn Secrets>>,
}

impl SecretTable {
    /// The same table, in which `resolver` reads the references of `scheme`.
    #[must_use]
    pub fn with(mut self, scheme: &'static str, resolver: Arc<dyn Secrets>) -> Self {
        self.resolvers.insert(scheme, resolver);
        self
    }

    fn resolver(&self, reference: &SecretReference) -> Result<&dyn Secrets> {
        let resolver = self.resolvers.get(reference.scheme());
        resolver.map(AsRef::as_ref).ok_or_else(|| {
            let known = SECRET_SCHEMES
                .iter()
                .filter(|scheme| self.resolvers.contains_key(scheme.name));
            let forms: Vec<&str> = known.map(|scheme| scheme.form).collect();
            let advice = match reference.cloud() {
                Some(_) => ", or use it in the stack deployed in its cloud",
                None => "",
            };
            let sentence = format!("{reference} is not read here: write {}{advice}", forms.join(" or "));
            Error::of(Code::SecretUnavailable, Verb::Secret.on("read"))
                .because(sentence)
                .with_persistence(Persistence::Persistent)
        })
    }
}

#[async_trait]
impl Secrets for SecretTable {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        self.resolver(reference)?.secret(reference).await
    }

    async fn secret_anew(&self, reference: &SecretReference, age: Duration) -> Result<Option<SecretString>> {
        self.resolver(reference)?.secret_anew(reference, age).await
    }
}

/// The certificates of a registry, out of the secrets that its entry in the document refers to.
pub(crate) struct ReferredTls {
    pub(crate) tls: Tls,
    pub(crate) secrets: Arc<dyn Secrets>,
}

impl ReferredTls {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        let secret = self.secrets.secret(reference).await;
        secret.map_err(|error| Error::new(Code::CredentialsUnavailable, Verb::Client, error.message().to_owned()))
    }
}

#[async_trait]
impl TlsSource for ReferredTls {
    async fn read(&self) -> Result<TlsMaterial> {
        let authorities = match &self.tls.authorities {
            Some(reference) => Some(self.secret(reference).await?),
            None => None,
        };
        let identity = match &self.tls.identity {
            Some(identity) => Some((
                self.secret(&identity.certificate).await?,
                self.secret(&identity.key).await?,
            )),
            None => None,
        };
        Ok(TlsMaterial { authorities, identity })
    }
}
