//! Referrers: by the referrers API, or by the fallback tag of a repository without it.
//!
//! Source: distribution-spec, Listing Referrers, Unavailable Referrers API. A registry with the API answers 200 with an
//! index, which may be empty.

mod answer;
mod api;
mod learned;

use async_trait::async_trait;
use transship_copy::{Manifests, Source};
use transship_oci::{Code, Descriptor, Digest, Error, Result, Tag, Target, Verb};

use crate::RemoteRepository;

pub(crate) use learned::ReferrersApi;

#[async_trait]
impl Source for RemoteRepository {
    /// The referrers of `subject`, each digest once.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        if self.registry.0.referrers_api.get(&self.repository) != Some(false)
            && let Some(referrers) = self.api_referrers(subject).await?
        {
            return Ok(unique(referrers));
        }
        self.fallback_referrers(subject).await
    }
}

impl RemoteRepository {
    /// Whether this repository has the referrers API. `subject` is asked about if that is not known. A refused probe counts as
    /// no.
    pub(crate) async fn probe_referrers_api(&self, subject: &Digest) -> Result<bool> {
        let api = &self.registry.0.referrers_api;
        if let Some(known) = api.get(&self.repository) {
            return Ok(known);
        }
        let probe = api.probe(&self.repository);
        let _first = probe.lock().await;
        if let Some(known) = api.get(&self.repository) {
            return Ok(known);
        }
        match self.api_referrers(subject).await {
            Ok(listed) => Ok(listed.is_some()),
            Err(error) if error.persistence().is_permanent() => {
                tracing::warn!(code = error.code(), %error, "the referrers API cannot be asked; the referrers tags are used");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn fallback_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let tag: Tag = subject
            .fallback_tag()
            .parse()
            .map_err(|error: Error| error.during(Verb::Referrers))?;
        let Some(index) = self.manifest_get(&Target::Tag(tag)).await? else {
            return Ok(Vec::new());
        };
        // GitLab answers a tag `sha256-<hex>` with the manifest of that digest (oras-go#1396), whose children are platforms.
        if index.is(subject) {
            return Ok(Vec::new());
        }
        if !index.is_index() {
            tracing::warn!(code = Code::ReferrersTagConflict.as_str(), %subject, "the referrers tag is not an index and is ignored");
        }
        Ok(unique(index.children().to_vec()))
    }
}

fn unique(mut found: Vec<Descriptor>) -> Vec<Descriptor> {
    let mut seen = std::collections::HashSet::new();
    found.retain(|referrer| seen.insert(referrer.digest.clone()));
    found
}
