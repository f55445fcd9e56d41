//! `Link: <…>; rel="next"`: the next page of a listing.
//!
//! Source: RFC 8288, distribution-spec section Listing Tags. Only the same origin is followed: a link to elsewhere is an
//! attempt to make us call it (go-containerregistry 02649ea).

use http::HeaderMap;
use http::header::LINK;
use url::Url;

/// The next page, resolved against the page it came with; [`None`] if there is none, or it leads to another origin.
pub(crate) fn next(headers: &HeaderMap, page: &Url) -> Option<Url> {
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
            next(&headers, &page).map(String::from)
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
