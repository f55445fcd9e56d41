//! Tag lists, page by page.
//!
//! Source: distribution-spec, Listing Tags. Observed: `"tags": null` past the end (ghcr), JSON nulls and empty
//! tags (Nexus 3.58), digests among the tags (Artifactory), pages without end (oras-go 30c6307), `n` above 1000 refused (ECR).

use http::{Method, StatusCode};
use serde::Deserialize;
use transship_oci::{Result, Tag, Verb};

use crate::RemoteRepository;
use crate::exchange::Request;
use crate::pages;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<Option<String>>>,
}

impl RemoteRepository {
    /// The tags (after `after`, where the registry sorts), or [`None`] if there are more than `pages` pages of them, or the
    /// registry does not list. A repository that does not exist has none.
    pub async fn list_tags(&self, after: Option<&str>, pages: usize) -> Result<Option<Vec<Tag>>> {
        let mut url = self.url("tags/list")?;
        url.query_pairs_mut().append_pair("n", "1000");
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("last", after);
        }
        let mut tags = Vec::new();
        for _ in 0..pages {
            let operation = Verb::TagsList.on(format_args!("{}/{}", self.registry.host(), self.repository));
            let response = self
                .registry
                .send(Request::new(
                    operation,
                    Method::GET,
                    url.clone(),
                    self.scope(),
                    &self.requests,
                ))
                .await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(Some(tags)),
                StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::BAD_REQUEST => return Ok(None),
                _ => return Err(response.into_error().await),
            }
            let next = pages::next(&response, &url)?;
            let page: Page = pages::read(response).await?;
            tags.extend(
                page.tags
                    .unwrap_or_default()
                    .into_iter()
                    .flatten()
                    .filter_map(|tag| tag.parse::<Tag>().ok()),
            );
            match next {
                None => return Ok(Some(tags)),
                Some(next) => url = next,
            }
        }
        Ok(None)
    }
}
