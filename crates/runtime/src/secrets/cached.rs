//! Secrets of a service, kept for some minutes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_copy::Clock;
use transship_engine::Secrets;
use transship_oci::Result;
use transship_rules::SecretReference;

use crate::fetch_cache::{Cached, FetchCache, Freshness};

/// A secret is used for this long before it is read again.
const SECRET_TTL: Duration = Duration::from_mins(5);

/// [`Secrets`] that are kept for some minutes and read again when they were refused, so a rotated secret is used after the
/// first refusal.
pub struct CachedSecrets {
    secrets: Arc<dyn Secrets>,
    cache: FetchCache<SecretString>,
}

impl CachedSecrets {
    /// Keeps what `secrets` reads.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Self {
        Self {
            secrets,
            cache: FetchCache::new(clock),
        }
    }

    async fn get(&self, reference: &SecretReference, freshness: Freshness) -> Result<SecretString> {
        let fetch = async {
            let value = self.secrets.secret(reference).await?;
            Ok(Cached { value, until: None })
        };
        self.cache.get(&reference.to_string(), freshness, fetch).await
    }
}

#[async_trait]
impl Secrets for CachedSecrets {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        self.get(reference, Freshness::Relaxed(SECRET_TTL)).await
    }

    async fn secret_anew(&self, reference: &SecretReference, age: Duration) -> Result<Option<SecretString>> {
        self.get(reference, Freshness::Strict(age)).await.map(Some)
    }
}
