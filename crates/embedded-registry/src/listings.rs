//! Lists: the tags of a repository, page by page, and the referrers of a manifest.

use axum::body::Body;
use http::{StatusCode, header};
use serde_json::json;
use transship_oci::{Descriptor, Digest, Repository, media_type};

use crate::refusal::{Answer, FILTERS_APPLIED, Refusal, answer};
use crate::registry::{Head, Registry};

impl Registry {
    /// `GET /v2/<name>/tags/list?n=&last=`, in the order of bytes.
    pub(crate) fn tags_list(&self, repository: &Repository, head: &Head) -> Answer {
        let limit = head
            .query("n")
            .map(|n| n.parse::<usize>())
            .transpose()
            .map_err(|_| Refusal::bad_request("PAGINATION_NUMBER_INVALID", "n is the most tags to list"))?;
        let last = head.query("last").unwrap_or_default();
        let content = self.store.lock();
        let tags = &content
            .repositories
            .get(repository)
            .ok_or_else(|| Refusal::not_found("NAME_UNKNOWN", repository))?
            .tags;
        let mut after = tags.keys().map(AsRef::as_ref).filter(|tag: &&str| *tag > last.as_str());
        let page: Vec<&str> = after.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
        let next = page.last().copied().filter(|_| after.next().is_some());
        let body = json!({ "name": repository, "tags": page }).to_string();
        let headers = [(header::CONTENT_TYPE, "application/json".to_owned())];
        let mut response = answer(StatusCode::OK, headers, Body::from(body));
        if let (Some(limit), Some(next)) = (limit, next)
            && let Ok(link) = format!("</v2/{repository}/tags/list?n={limit}&last={next}>; rel=\"next\"").try_into()
        {
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    }

    /// `GET /v2/<name>/referrers/<digest>?artifactType=`. Without the API: 404, as from a registry that never heard of it.
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
