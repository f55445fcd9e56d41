//! `Link: <…>; rel="next"`, by which a page names the next one.
//!
//! Source: RFC 8288. Requests stay on our origin: of a link to another origin only the query is used, on the path of the current
//! page (a registry behind a proxy names its own host, oras-project/artifacts-spec#93; following such a link would send
//! requests anywhere, go-containerregistry 02649ea).

use http::HeaderMap;
use http::header::LINK;
use url::Url;

/// The URL of the next page; [`None`] if there is none. The error says why it cannot be used.
pub(super) fn next(headers: &HeaderMap, answered: &Url, page: &Url) -> Result<Option<Url>, &'static str> {
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
    use http::HeaderValue;
    use transship_testkit::mutation::fuzz;

    use super::*;

    fn of(text: &str) -> Result<Option<String>, &'static str> {
        let page = Url::parse("https://r.example/v2/a/tags/list?n=2").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(LINK, text.parse().unwrap());
        next(&headers, &page, &page).map(|next| next.map(String::from))
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
    fn no_link_leads_to_another_origin() {
        let inputs = [
            r#"</v2/a/tags/list?n=2&last=b>; rel="next""#,
            r#"</x>; rel="prev", <?n=2&last=b>; title="a, b"; rel="last next""#,
            "<https://user:secret@upstream.example:8443/v2/other/tags/list?n=2&last=b>; rel=next",
            "//evil.example/?last=b; rel='next'",
            r#"<\\evil.example\?a>; rel="next""#,
        ];
        let page = Url::parse("https://r.example/v2/a/tags/list?n=2").unwrap();
        let moved = Url::parse("https://storage.example/x").unwrap();
        fuzz("links", &inputs.map(|text| text.as_bytes().to_vec()), |_, bytes| {
            let Ok(value) = HeaderValue::from_bytes(bytes) else {
                return;
            };
            let mut headers = HeaderMap::new();
            headers.insert(LINK, value);
            for answered in [&page, &moved] {
                if let Ok(Some(found)) = next(&headers, answered, &page) {
                    assert_eq!(found.origin(), page.origin(), "{found}");
                    assert!(found.username().is_empty() && found.password().is_none(), "{found}");
                }
            }
        });
    }
}
