//! Referrers: by the referrers API, or by the fallback tag of a registry without it.
//!
//! Source: distribution-spec, Listing Referrers, Unavailable Referrers API. A registry with the API answers 200 with an
//! index, which may be empty. Any other response means that it has no such API, which is cached. All pages are read, because
//! tools that read one page lose signatures.

use async_trait::async_trait;
use http::{Method, StatusCode, header::CONTENT_TYPE};
use transship_copy::{Manifests, Source};
use transship_oci::manifest::MAX_BYTES;
use transship_oci::media_type::OCI_INDEX;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, MediaType, Result, Tag, Target, Verb};

use crate::RemoteRepository;
use crate::exchange::Request;
use crate::pages;

/// Maximum number of referrers of one manifest.
const MAX_REFERRERS: usize = 10_000;
const MAX_PAGES: usize = 100;

#[async_trait]
impl Source for RemoteRepository {
    /// The referrers of `subject`, each digest once.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let api = &self.registry.0.referrers_api;
        if api.get() != Some(false) {
            if let Some(referrers) = self.api_referrers(subject).await? {
                api.set(true);
                return Ok(referrers);
            }
            api.set(false);
        }
        self.fallback_referrers(subject).await
    }
}

impl RemoteRepository {
    /// [`None`] if the registry has no such API.
    pub(crate) async fn api_referrers(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        let mut url = self.url(&format!("referrers/{subject}"))?;
        let mut found = Vec::new();
        let mut was_reread = false;
        for _ in 0..MAX_PAGES {
            let operation = self.blob_operation(Verb::Referrers, subject);
            let request =
                Request::new(operation, Method::GET, url.clone(), self.scope(), &self.requests).accept(OCI_INDEX);
            let response = self.registry.send(request).await?;
            let is_index = response
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|text| MediaType::new(text).as_str() == OCI_INDEX);
            if response.status() != StatusCode::OK || !is_index {
                let status = response.status();
                let error = response.into_error().await;
                return match status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(error),
                    _ => Ok(None),
                };
            }
            let next = pages::next(&response, &url)?;
            let operation = response.operation.clone();
            let page = match Manifest::parse(response.body(MAX_BYTES).await?, Some(OCI_INDEX)) {
                // A list has no digest that reveals a transmission error, so it is read once more, like content.
                Err(_) if !was_reread => {
                    was_reread = true;
                    continue;
                }
                page => page.map_err(|error: Error| error.during(&operation))?,
            };
            found.extend(page.children().iter().cloned());
            if found.len() > MAX_REFERRERS {
                return Err(
                    Error::of(Code::ListAborted, operation).because(format!("more than {MAX_REFERRERS} referrers"))
                );
            }
            match next {
                None => return Ok(Some(unique(found))),
                Some(next) => url = next,
            }
        }
        Err(
            Error::of(Code::ListAborted, self.blob_operation(Verb::Referrers, subject))
                .because(format!("more than {MAX_PAGES} pages")),
        )
    }

    async fn fallback_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let tag: Tag = subject
            .fallback_tag()
            .parse()
            .map_err(|error: Error| error.during(Verb::Referrers))?;
        let Some(index) = self.manifest_get(&Target::Tag(tag)).await? else {
            return Ok(Vec::new());
        };
        // GitLab resolves the tag to the subject itself, which is then not a list: its children are not referrers.
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
