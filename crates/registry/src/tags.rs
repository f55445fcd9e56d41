//! Tag lists, page by page.
//!
//! Source: distribution-spec, Listing Tags. Observed: `"tags": null` past the end (ghcr), JSON nulls and empty
//! tags (Nexus 3.58), digests among the tags (Artifactory), pages without end (oras-go 30c6307), `n` above 1000 refused (ECR)
//! and above 100 (quay.io).

use http::{Method, StatusCode};
use transship_oci::{Result, Tag, Verb};
use url::Url;

use crate::RemoteRepository;
use crate::exchange::Request;
use crate::exchange::failure::ErrorBody;
use crate::pages;

impl RemoteRepository {
    /// The tags (after `after`, where the registry sorts), or [`None`] if there are more than `pages` pages of them, or the
    /// registry does not list. A repository that does not exist has none. `LIST_ABORTED` if a later page is missing.
    pub async fn list_tags(&self, after: Option<&str>, pages: usize) -> Result<Option<Vec<Tag>>> {
        let size = &self.registry.0.tag_pages;
        let mut url = size.first_page(&self.url("tags/list")?);
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("last", after);
        }
        let request = |url: Url| {
            let operation = Verb::TagsList.on(format_args!("{}/{}", self.registry.host(), self.repository));
            Request::new(operation, Method::GET, url, self.scope(), &self.requests)
        };
        let mut tags = Vec::new();
        for page in 0..pages {
            let (response, answered) = self.registry.page(request, url, size).await?;
            match response.status() {
                StatusCode::OK => {}
                _ if page > 0 => return Err(pages::cut_short(response).await),
                // A 404 in the form of the specification speaks of the repository, any other of the path.
                StatusCode::NOT_FOUND => {
                    let speaks = ErrorBody::of(&response.into_error().await).is_some();
                    return Ok(speaks.then_some(tags));
                }
                StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE => return Ok(None),
                _ => return Err(response.into_error().await),
            }
            let next = pages::next(&response, &answered)?;
            tags.extend(pages::read(response).await?.filter_map(|tag| tag.parse::<Tag>().ok()));
            match next {
                None => return Ok(Some(tags)),
                Some(next) => url = next,
            }
        }
        Ok(None)
    }
}
