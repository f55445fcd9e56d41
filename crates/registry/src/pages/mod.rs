//! Listings in pages: the size of a page, its names, and the link to the next page.
//!
//! Source: distribution-spec section Listing Tags. A list that cannot be read whole is an error, never a shorter list. One page
//! is read at a time, and its names are not kept: a registry may list any number of them.

mod cursor;
mod link;
mod page;

use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, StatusCode};
use transship_oci::{Code, Error, Operation, Result};
use url::Url;

pub use cursor::PageCursor;
pub use page::{Listing, Page};

use crate::Registry;
use crate::exchange::{Request, Response};

/// Names to request per page: the maximum of most registries (ECR, Harbor, distribution).
const PAGE_NAMES: u32 = 1000;
/// Names to request per page where that is refused without a limit. quay.io allows 100 (go-containerregistry#1963).
const SMALL_PAGE_NAMES: u32 = 100;
/// The header with which a registry says how many names it allows (distribution-spec#470).
const LIMIT: &str = "oci-tag-limit";

/// How many names a page of a registry may have, as learned from its refusals.
pub(crate) struct PageSize(AtomicU32);

impl Default for PageSize {
    fn default() -> Self {
        Self(AtomicU32::new(PAGE_NAMES))
    }
}

impl PageSize {
    /// The `n` of a first page; [`None`]: the registry decides.
    fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|n| *n > 0)
    }

    fn learn(&self, n: Option<u32>) {
        self.0.store(n.unwrap_or(0), Ordering::Relaxed);
    }

    /// `url` as the address of a first page.
    pub(crate) fn first_page(&self, url: &Url) -> Url {
        with_names(url, self.get())
    }
}

impl Registry {
    /// Requests the page at `url`. If the registry refuses its size, the next smaller one is requested, and `size` remembers
    /// what was accepted. Returns the address of the page as well.
    pub(crate) async fn page<'r>(
        &self,
        request: impl Fn(Url) -> Request<'r>,
        mut url: Url,
        size: &PageSize,
    ) -> Result<(Response, Url)> {
        let mut was_refused = false;
        loop {
            let response = self.send(request(url.clone())).await?;
            let status = response.status();
            if was_refused && status == StatusCode::OK {
                size.learn(names(&url));
            }
            let smaller = names(&url)
                .filter(|_| may_mean_size(status))
                .map(|refused| smaller(refused, response.headers()));
            let Some(smaller) = smaller else {
                return Ok((response, url));
            };
            tracing::debug!(host = %self.host(), names = ?smaller, "a page of this size is refused");
            response.drain().await;
            url = with_names(&url, smaller);
            was_refused = true;
        }
    }
}

/// quay.io answers 413, distribution 400. Others were not seen.
fn may_mean_size(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// The size to request after `refused`; [`None`]: none.
fn smaller(refused: u32, headers: &HeaderMap) -> Option<u32> {
    let limit = headers
        .get(LIMIT)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    limit
        .filter(|limit| *limit > 0 && *limit < refused)
        .or(Some(SMALL_PAGE_NAMES).filter(|small| *small < refused))
}

/// The `n` of a page's address.
fn names(url: &Url) -> Option<u32> {
    let mut pairs = url.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("n=")?.parse().ok())
}

/// `url` with another `n`. The rest of the query is the registry's and stays as it is written.
fn with_names(url: &Url, n: Option<u32>) -> Url {
    let others = url.query().unwrap_or_default().split('&');
    let others = others.filter(|pair| !pair.is_empty() && !pair.starts_with("n="));
    let n = n.map(|n| format!("n={n}"));
    let query = n.as_deref().into_iter().chain(others).collect::<Vec<_>>().join("&");
    let mut url = url.clone();
    url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
    url
}

/// The URL of the page after the one at `page`, which was answered by `response`; [`None`] if it was the last. `LIST_ABORTED` if
/// a page links to itself, or names a next page that cannot be requested.
pub(crate) fn next_url(response: &Response, page: &Url) -> Result<Option<Url>> {
    let next = link::next(response.headers(), response.url(), page).map_err(|why| aborted(&response.operation, why))?;
    let is_same = |next: &Url| next == page || next.query().is_some() && next.query() == page.query();
    if next.as_ref().is_some_and(is_same) {
        return Err(aborted(&response.operation, "a page links to itself"));
    }
    Ok(next)
}

/// The place of the page after the one at `url`, whose place is `page`, as [`next_url`].
pub(crate) fn next(response: &Response, url: &Url, page: Option<&PageCursor>) -> Result<Option<PageCursor>> {
    let next = next_url(response, url)?;
    next.map(|next| PageCursor::after(page, &next, &response.operation))
        .transpose()
}

/// `LIST_ABORTED`: the list cannot be read to its end.
pub(crate) fn aborted(operation: &Operation, why: &str) -> Error {
    Error::of(Code::ListAborted, operation).because(why)
}

/// The error for a page after the first that was not answered with a page. What was read so far is not the list.
pub(crate) async fn cut_short(response: Response) -> Error {
    let status = response.status().as_u16();
    let operation = response.operation.clone();
    response.drain().await;
    aborted(&operation, &format!("the registry answered {status} to a later page"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_smaller_until_none_is_named() {
        let mut headers = HeaderMap::new();
        assert_eq!(smaller(1000, &headers), Some(100));
        assert_eq!(smaller(100, &headers), None);
        headers.insert(LIMIT, "50".parse().unwrap());
        assert_eq!(smaller(1000, &headers), Some(50));
        assert_eq!(smaller(50, &headers), None);
        headers.insert(LIMIT, "5000".parse().unwrap());
        assert_eq!(smaller(1000, &headers), Some(100));
        let url = Url::parse("https://r.example/l?last=a%2Fb&n=1000&x=%20").unwrap();
        assert_eq!(names(&url), Some(1000));
        assert_eq!(with_names(&url, Some(7)).query(), Some("n=7&last=a%2Fb&x=%20"));
        assert_eq!(with_names(&url, None).query(), Some("last=a%2Fb&x=%20"));
    }
}
