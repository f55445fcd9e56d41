//! Paged lists of repositories and tags, and the referrers of a manifest.

use axum::body::Body;
use http::{StatusCode, header};
use serde_json::json;
use transship_oci::{Descriptor, Digest, Repository, media_type};

use crate::refusal::{Answer, FILTERS_APPLIED, Refusal, answer};
use crate::registry::{Head, Registry};

impl Registry {
    /// `GET /v2/_catalog?n=&last=`, in byte order. Without a catalog the status is 401, as from a registry that shows it only
    /// to administrators.
    pub(crate) fn catalog(&self, head: &Head) -> Answer {
        if !self.options.catalog {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "access to the catalog is denied",
            ));
        }
        let content = self.store.lock();
        let names = content.repositories.keys().map(AsRef::as_ref);
        self.page("/v2/_catalog", head, names, |page| json!({ "repositories": page }))
    }

    /// `GET /v2/<name>/tags/list?n=&last=`, in byte order.
    pub(crate) fn tags_list(&self, repository: &Repository, head: &Head) -> Answer {
        let content = self.store.lock();
        let tags = &content
            .repositories
            .get(repository)
            .ok_or_else(|| Refusal::not_found("NAME_UNKNOWN", repository))?
            .tags;
        let path = format!("/v2/{repository}/tags/list");
        let names = tags.keys().map(AsRef::as_ref);
        self.page(&path, head, names, |page| json!({ "name": repository, "tags": page }))
    }

    /// The names after `last`, limited by `n` and by the page size of this registry, with a link to the next page.
    fn page<'a>(
        &self,
        path: &str,
        head: &Head,
        names: impl Iterator<Item = &'a str>,
        body: impl Fn(&[&str]) -> serde_json::Value,
    ) -> Answer {
        let asked = head
            .query("n")
            .map(|n| n.parse::<usize>())
            .transpose()
            .map_err(|_| Refusal::bad_request("PAGINATION_NUMBER_INVALID", "n is not a valid number"))?;
        let limit = asked.unwrap_or(usize::MAX).min(self.options.page_size);
        let last = head.query("last").unwrap_or_default();
        let mut after = names.filter(|name| *name > last.as_str());
        let page: Vec<&str> = after.by_ref().take(limit).collect();
        let next = page.last().copied().filter(|_| after.next().is_some());
        let headers = [(header::CONTENT_TYPE, "application/json".to_owned())];
        let mut response = answer(StatusCode::OK, headers, Body::from(body(&page).to_string()));
        if let Some(next) = next
            && let Ok(link) = format!("<{path}?n={limit}&last={next}>; rel=\"next\"").try_into()
        {
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    }

    /// `GET /v2/<name>/referrers/<digest>?artifactType=`. Without the referrers API the status is 404.
    pub(crate) fn referrers_list(&self, repository: &Repository, subject: &Digest, head: &Head) -> Answer {
        if !self.options.referrers_api {
            return Err(Refusal::not_found("UNSUPPORTED", "this path"));
        }
        let filter = head.query("artifactType").filter(|filter| !filter.is_empty());
        let passes = |listed: &Descriptor| filter.is_none() || listed.artifact_type == filter;
        let content = self.store.lock();
        let manifests: Vec<&Descriptor> = content
            .repositories
            .get(repository)
            .into_iter()
            .flat_map(|content| content.manifests.values())
            .filter_map(|manifest| manifest.referrer.as_ref())
            .filter(|(of, listed)| of == subject && passes(listed))
            .map(|(_, listed)| listed)
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests });
        let headers = [(header::CONTENT_TYPE, media_type::OCI_INDEX.to_owned())];
        let mut response = answer(StatusCode::OK, headers, Body::from(index.to_string()));
        if filter.is_some() {
            let applied = header::HeaderValue::from_static("artifactType");
            response.headers_mut().insert(FILTERS_APPLIED, applied);
        }
        Ok(response)
    }
}
