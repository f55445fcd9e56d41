//! Listings in pages, and `Link: <…>; rel="next"`, by which a page names the next one.
//!
//! Source: RFC 8288, distribution-spec section Listing Tags. Only links to the same origin are followed. A link to another
//! origin would make us send requests there (go-containerregistry 02649ea).

use http::HeaderMap;
use http::header::LINK;
use serde::de::DeserializeOwned;
use transship_oci::{Code, Error, Result};
use url::Url;

use crate::exchange::Response;

/// The largest page of names. A page of 1000 repositories of 255 characters is 260 KB, one of 1000 tags is 130 KB, and
/// registries that ignore `n` send everything at once.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// The page after `page`, which was answered by `response`; [`None`] if it was the last. `LIST_ABORTED` if a page links to
/// itself.
pub(crate) fn next(response: &Response, page: &Url) -> Result<Option<Url>> {
    let next = linked(response.headers(), response.url());
    let is_same = |next: &Url| next == page || next.query().is_some() && next.query() == page.query();
    if next.as_ref().is_some_and(is_same) {
        return Err(Error::of(Code::ListAborted, &response.operation).because("a page links to itself"));
    }
    Ok(next)
}

/// The content of a page of names.
pub(crate) async fn read<T: DeserializeOwned>(response: Response) -> Result<T> {
    let operation = response.operation.clone();
    let body = response.body(MAX_PAGE_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| Error::of(Code::ResponseInvalid, operation).because(error))
}

/// The URL of the next page, resolved against the current page; [`None`] if there is none, or if it has another origin.
fn linked(headers: &HeaderMap, page: &Url) -> Option<Url> {
    headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let is_next = parameters.split(';').any(|parameter| {
                parameter.trim().split_once('=').is_some_and(|(name, value)| {
                    name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
                })
            });
            let url = page.join(target).ok()?;
            (is_next && url.origin() == page.origin()).then_some(url)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_page_of_the_same_origin_is_followed() {
        let page = Url::parse("https://r.example/v2/a/tags/list?n=2").unwrap();
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, text.parse().unwrap());
            linked(&headers, &page).map(String::from)
        };
        assert_eq!(
            of(r#"</v2/a/tags/list?n=2&last=b>; rel="next""#).as_deref(),
            Some("https://r.example/v2/a/tags/list?n=2&last=b")
        );
        assert_eq!(
            of(r"<https://r.example/x>; rel=next").as_deref(),
            Some("https://r.example/x")
        );
        for bad in [
            r#"<https://evil.example/x>; rel="next""#,
            r#"<http://r.example/x>; rel="next""#,
            r#"</x>; rel="prev""#,
            "</x>",
            "garbage",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
