//! Listings in pages: the names of a page, its size, and `Link: <…>; rel="next"`, by which a page names the next one.
//!
//! Source: RFC 8288, distribution-spec section Listing Tags. A list that cannot be read whole is an error, never a shorter
//! list. Requests stay on our origin: of a link to another origin only the query is used, on the path of the current page
//! (a registry behind a proxy names its own host, oras-project/artifacts-spec#93; following such a link would send
//! requests anywhere, go-containerregistry 02649ea).

use std::sync::atomic::{AtomicU32, Ordering};

use http::header::LINK;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use transship_oci::{Code, Error, Operation, Result};
use url::Url;

use crate::Registry;
use crate::exchange::{Request, Response};

/// The largest page of names. A page of 1000 repositories of 255 characters is 260 KB, one of 1000 tags is 130 KB, and
/// registries that ignore `n` send everything at once.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;
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

/// The page after `page`, which was answered by `response`; [`None`] if it was the last. `LIST_ABORTED` if a page links to
/// itself, or names a next page that cannot be requested.
pub(crate) fn next(response: &Response, page: &Url) -> Result<Option<Url>> {
    let next = linked(response.headers(), response.url(), page).map_err(|why| aborted(&response.operation, why))?;
    let is_same = |next: &Url| next == page || next.query().is_some() && next.query() == page.query();
    if next.as_ref().is_some_and(is_same) {
        return Err(aborted(&response.operation, "a page links to itself"));
    }
    Ok(next)
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

#[derive(Deserialize)]
struct Names {
    #[serde(default, alias = "tags", alias = "repositories")]
    names: Option<Vec<Option<String>>>,
    #[serde(default)]
    errors: Option<IgnoredAny>,
}

/// The names of a page. Its content decides and not its type; `null` is an empty list, also in place of a name.
pub(crate) async fn read(response: Response) -> Result<impl Iterator<Item = String>> {
    let operation = response.operation.clone();
    let body = response.body(MAX_PAGE_BYTES).await?;
    let page: Names =
        serde_json::from_slice(&body).map_err(|error| Error::of(Code::ResponseInvalid, &operation).because(error))?;
    if page.names.is_none() && page.errors.is_some() {
        return Err(Error::of(Code::ResponseInvalid, operation).because("it is a list of errors"));
    }
    Ok(page.names.unwrap_or_default().into_iter().flatten())
}

/// The URL of the next page; [`None`] if there is none. The error says why it cannot be used.
fn linked(headers: &HeaderMap, answered: &Url, page: &Url) -> Result<Option<Url>, &'static str> {
    let target = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(links)
        .find_map(target_of_next);
    let Some(target) = target else { return Ok(None) };
    let mut next = answered
        .join(target)
        .map_err(|_| "the link to the next page is not a valid URL")?;
    next.set_fragment(None);
    if next.origin() == page.origin() && next.username().is_empty() && next.password().is_none() {
        return Ok(Some(next));
    }
    let query = next.query().filter(|query| !query.is_empty());
    let query = query.ok_or("the link to the next page names another host and has no query")?;
    let mut ours = page.clone();
    ours.set_query(Some(query));
    Ok(Some(ours))
}

/// The links of a header: divided by commas, but not by those inside `<…>` or quotes.
fn links(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_target, mut is_quoted) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            '<' if !is_quoted => is_target = true,
            '>' if !is_quoted => is_target = false,
            '"' if !is_target => is_quoted = !is_quoted,
            ',' if !is_target && !is_quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The target of a link whose relation is `next`, with `<…>` or, as some registries write it, without.
fn target_of_next(link: &str) -> Option<&str> {
    let link = link.trim();
    let (target, parameters) = match link.strip_prefix('<') {
        Some(rest) => rest.split_once('>')?,
        None => link.split_once(';')?,
    };
    let is_next = parameters.split(';').any(|parameter| {
        parameter.trim().split_once('=').is_some_and(|(name, value)| {
            let relations = value.trim().trim_matches(['"', '\'']);
            name.trim().eq_ignore_ascii_case("rel")
                && relations
                    .split_whitespace()
                    .any(|relation| relation.eq_ignore_ascii_case("next"))
        })
    });
    is_next.then(|| target.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<String>, &'static str> {
        let page = Url::parse("https://r.example/v2/a/tags/list?n=2").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(LINK, text.parse().unwrap());
        linked(&headers, &page, &page).map(|next| next.map(String::from))
    }

    fn found(text: &str) -> String {
        of(text).unwrap().unwrap()
    }

    #[test]
    fn the_next_page_is_found_as_registries_write_it() {
        let next = "https://r.example/v2/a/tags/list?n=2&last=b";
        for text in [
            r#"</v2/a/tags/list?n=2&last=b>; rel="next""#,
            "</v2/a/tags/list?n=2&last=b>; rel=next",
            "</v2/a/tags/list?n=2&last=b>; REL='NEXT'",
            r#"</v2/a/tags/list?n=2&last=b>; title="a, b"; rel="last next""#,
            r#"</x>; rel="prev", <?n=2&last=b>; rel="next""#,
            r#"/v2/a/tags/list?n=2&last=b; rel="next""#,
        ] {
            assert_eq!(found(text), next, "{text}");
        }
        assert_eq!(
            found(r#"</v2/a/tags/list?last=x,y>; rel="next""#),
            "https://r.example/v2/a/tags/list?last=x,y"
        );
        assert_eq!(found(r"<https://r.example/x>; rel=next"), "https://r.example/x");
        for none in [r#"</x>; rel="prev""#, "</x>", "garbage"] {
            assert_eq!(of(none), Ok(None), "{none}");
        }
    }

    #[test]
    fn of_a_link_to_another_origin_the_query_is_used_on_our_path() {
        for text in [
            r#"<https://upstream.example/v2/other/tags/list?n=2&last=b>; rel="next""#,
            r#"<http://r.example/v2/a/tags/list?n=2&last=b>; rel="next""#,
            r#"<https://r.example:8443/?n=2&last=b>; rel="next""#,
            r#"<https://user:secret@r.example/?n=2&last=b>; rel="next""#,
        ] {
            assert_eq!(found(text), "https://r.example/v2/a/tags/list?n=2&last=b", "{text}");
        }
    }

    #[test]
    fn a_next_page_that_cannot_be_requested_does_not_end_the_list() {
        for text in [r#"<https://evil.example/x>; rel="next""#, r#"<http://[>; rel="next""#] {
            assert!(of(text).is_err(), "{text}");
        }
    }

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
