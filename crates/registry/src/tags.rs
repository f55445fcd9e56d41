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
use crate::pages::{self, Listing, Page, PageCursor};

impl RemoteRepository {
    /// One page of the tags: the first, or the one at `page`, which the page before it returned. A repository that does not
    /// exist has none. `LIST_ABORTED` if a later page is missing, or if the list has no end.
    pub async fn tags_page(&self, page: Option<&PageCursor>) -> Result<Listing<Tag>> {
        let size = &self.registry.0.tag_pages;
        let mut url = self.url("tags/list")?;
        match page {
            Some(page) => url.set_query(Some(page.query())),
            None => url = size.first_page(&url),
        }
        let request = |url: Url| {
            let operation = Verb::TagsList.on(format_args!("{}/{}", self.registry.host(), self.repository));
            Request::new(operation, Method::GET, url, self.scope(), &self.requests)
        };
        let (response, answered) = self.registry.page(request, url, size).await?;
        match response.status() {
            StatusCode::OK => {}
            _ if page.is_some() => return Err(pages::cut_short(response).await),
            // A 404 in the form of the specification speaks of the repository, any other of the path.
            StatusCode::NOT_FOUND => {
                let error = response.into_error().await;
                let speaks = ErrorBody::of(&error).is_some();
                return Ok(if speaks {
                    Listing::Page(Page::empty())
                } else {
                    Listing::Refused(error.to_string())
                });
            }
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE => return Ok(Listing::Refused(response.into_error().await.to_string())),
            _ => return Err(response.into_error().await),
        }
        let next = pages::next(&response, &answered, page)?;
        Page::read(response, next).await.map(Listing::Page)
    }
}
