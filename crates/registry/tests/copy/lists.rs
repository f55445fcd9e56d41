//! Tag lists: page sizes that registries refuse, links as they write them, and lists that cannot be read to their end.

use std::sync::{Arc, Mutex};

use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::{Action, RequestHead};
use transship_oci::{Digest, Result, Tag};
use transship_registry::{Listing, PageCursor, Registry};

use crate::world::{always, answer, asked, client, name, tag, watch};

/// A registry with `count` tags in `core/app`, which lists them with at most `page` in a response.
async fn registry_of(count: usize, page: usize) -> EmbeddedRegistry {
    let registry = EmbeddedRegistry::builder().page_size(page).start().await.unwrap();
    for number in 0..count {
        registry.tag(&name("core/app"), &tag(&format!("v{number:03}")), &Digest::sha256(b"x"));
    }
    registry
}

/// Every page, in order; [`None`] if the registry does not list.
async fn tags(client: &Registry) -> Result<Option<Vec<Tag>>> {
    let repository = client.repository(name("core/app"));
    let (mut tags, mut page) = (Vec::new(), None);
    loop {
        let Listing::Page(listed) = repository.tags_page(page.as_ref()).await? else {
            return Ok(None);
        };
        tags.extend(listed.select(usize::MAX, |_| true));
        page = listed.next().cloned();
        if page.is_none() {
            return Ok(Some(tags));
        }
    }
}

async fn count(client: &Registry) -> Option<usize> {
    tags(client).await.unwrap().map(|tags| tags.len())
}

/// The `n` of a request.
fn names(query: Option<&str>) -> Option<u32> {
    let mut pairs = query?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("n=")?.parse().ok())
}

fn queries(registry: &EmbeddedRegistry, path: &str) -> Vec<String> {
    let asked = asked(registry, "GET", path).into_iter();
    asked.map(|record| record.query.unwrap_or_default()).collect()
}

/// Refuses pages of more than `limit` names with `refusal`, as the registry does for `path`.
fn limited(limit: u32, path: &'static str, refusal: Action) -> impl Fn(&RequestHead<'_>) -> Option<Action> {
    move |request| {
        let is_refused = request.path.contains(path) && names(request.query).is_some_and(|n| n > limit);
        is_refused.then(|| refusal.clone())
    }
}

#[tokio::test]
async fn a_page_size_that_is_refused_becomes_smaller_and_is_remembered() {
    for (limit, page, refusal, expected) in [
        // quay.io: go-containerregistry#1963.
        (
            100,
            100,
            answer(413, &[], r#"{"errors":[{"code":"TOO_MANY_TAGS_REQUESTED"}]}"#),
            "n=100",
        ),
        // distribution-spec#470.
        (50, 50, answer(413, &[("oci-tag-limit", "50")], ""), "n=50"),
        // distribution#4856.
        (
            100,
            100,
            answer(400, &[], r#"{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}"#),
            "n=100",
        ),
        (20, 20, answer(400, &[], ""), ""),
        (20, 20, answer(413, &[("oci-tag-limit", "soon")], ""), ""),
    ] {
        let registry = registry_of(110, page).await;
        watch(&registry, limited(limit, "/tags/list", refusal));
        let client = client(&registry);
        assert_eq!(count(&client).await, Some(110), "{expected}");
        assert_eq!(queries(&registry, "/tags/list")[0], "n=1000");
        registry.reset_requests();
        assert_eq!(count(&client).await, Some(110));
        assert_eq!(queries(&registry, "/tags/list")[0], expected, "it is not refused again");
    }
}

#[tokio::test]
async fn the_catalog_has_a_page_size_of_its_own() {
    let registry = registry_of(3, 2).await;
    registry.tag(&name("core/b"), &tag("v1"), &Digest::sha256(b"x"));
    watch(&registry, limited(100, "_catalog", Action::status(413)));
    let client = client(&registry);
    for _ in 0..2 {
        let told = client.catalog_page(None).await.unwrap();
        assert!(matches!(told, Listing::Page(page) if page.select(9, |_| true).len() == 2));
    }
    assert_eq!(count(&client).await, Some(3));
    assert_eq!(queries(&registry, "_catalog"), ["n=1000", "n=100", "n=100"]);
    assert_eq!(queries(&registry, "/tags/list")[0], "n=1000");
}

#[tokio::test]
async fn a_refusal_that_is_not_about_the_size_is_a_refusal() {
    let registry = registry_of(3, 100).await;
    registry.set_faults(Some(always("GET", "/tags/list", Action::status(400))));
    let client = client(&registry);
    assert_eq!(count(&client).await, None);
    assert_eq!(queries(&registry, "/tags/list"), ["n=1000", "n=100", ""]);
    registry.set_faults(None);
    registry.reset_requests();
    assert_eq!(count(&client).await, Some(3));
    assert_eq!(queries(&registry, "/tags/list"), ["n=1000"], "nothing was learned");
}

/// Sends the pages of the registry with this host in their links.
fn linked_by(registry: &EmbeddedRegistry, host: &'static str) {
    let seen: Arc<Mutex<usize>> = Arc::default();
    watch(registry, move |request| {
        if !request.path.contains("/tags/list") {
            return None;
        }
        *seen.lock().unwrap() += 1;
        let (link, body) = match request.query {
            Some("n=1000") => ("last=b", r#"{"tags":["a","b"]}"#),
            Some("last=b") => ("last=d", r#"{"tags":["c","d"]}"#),
            _ => return Some(answer(200, &[], r#"{"tags":["e"]}"#)),
        };
        let link = format!("<{host}/v2/upstream/app/tags/list?{link}>; rel=\"next\"");
        Some(answer(200, &[("link", &link)], body))
    });
}

#[tokio::test]
async fn a_link_to_another_host_is_followed_on_our_own() {
    for host in [
        "http://upstream.example",
        "https://127.0.0.1:1",
        "//upstream.example:8443",
    ] {
        let registry = registry_of(1, 100).await;
        linked_by(&registry, host);
        assert_eq!(count(&client(&registry)).await, Some(5), "{host}");
        let paths = asked(&registry, "GET", "/tags/list");
        assert!(paths.iter().all(|record| record.path == "/v2/core/app/tags/list"));
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_read_to_its_end_is_not_a_shorter_list() {
    for code in [400, 401, 403, 404, 405, 413] {
        let registry = registry_of(5, 2).await;
        watch(&registry, move |request| {
            let is_later = request.query.is_some_and(|query| query.contains("last="));
            (is_later && request.path.contains("/tags/list")).then(|| Action::status(code))
        });
        let error = tags(&client(&registry)).await.unwrap_err();
        let expected = if code == 401 { "AUTH_FAILED" } else { "LIST_ABORTED" };
        assert_eq!(error.code(), expected, "{code}");
    }
    for link in ["<http://elsewhere.example/x>; rel=next", "<http://[>; rel=next"] {
        let registry = registry_of(5, 2).await;
        let page = answer(200, &[("link", link)], r#"{"tags":["a"]}"#);
        registry.set_faults(Some(always("GET", "/tags/list", page)));
        assert_eq!(
            tags(&client(&registry)).await.unwrap_err().code(),
            "LIST_ABORTED",
            "{link}"
        );
    }
}

#[tokio::test]
async fn a_tag_list_is_known_by_its_content() {
    let registry = registry_of(1, 100).await;
    for (content_type, body, expected) in [
        ("text/plain", r#"{"tags":["a"]}"#, Ok(Some(1))),
        ("application/json", r#"{"name":"core/app","tags":null}"#, Ok(Some(0))),
        (
            "application/json",
            r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#,
            Err("RESPONSE_INVALID"),
        ),
        ("text/html", "<html>log in</html>", Err("RESPONSE_INVALID")),
    ] {
        let page = answer(200, &[("content-type", content_type)], body);
        registry.set_faults(Some(always("GET", "/tags/list", page)));
        let told = tags(&client(&registry)).await;
        let told = told
            .map(|tags| tags.map(|tags| tags.len()))
            .map_err(|error| error.code());
        assert_eq!(told, expected, "{body}");
    }
}

#[tokio::test]
async fn a_404_that_does_not_speak_of_the_repository_is_no_empty_list() {
    let registry = registry_of(1, 100).await;
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;
    for (body, expected) in [(unknown, Some(0)), ("<html>not found</html>", None), ("", None)] {
        registry.set_faults(Some(always("GET", "/tags/list", answer(404, &[], body))));
        assert_eq!(count(&client(&registry)).await, expected, "{body}");
    }
}

#[tokio::test]
async fn pages_that_repeat_or_do_not_end_are_aborted() {
    let registry = registry_of(1, 100).await;
    watch(&registry, |request| {
        let is_list = request.path.contains("/tags/list");
        let next = if request.query == Some("at=1") { "at=2" } else { "at=1" };
        let link = format!("</v2/core/app/tags/list?{next}>; rel=next");
        is_list.then(|| answer(200, &[("link", &link)], r#"{"tags":["a"]}"#))
    });
    assert_eq!(tags(&client(&registry)).await.unwrap_err().code(), "LIST_ABORTED");
    assert!(asked(&registry, "GET", "/tags/list").len() < 10);
}

#[tokio::test]
async fn a_list_goes_on_from_a_cursor_that_was_stored() {
    let registry = registry_of(7, 3).await;
    let repository = client(&registry).repository(name("core/app"));
    let Listing::Page(first) = repository.tags_page(None).await.unwrap() else {
        panic!("it is refused");
    };
    let stored = serde_json::to_string(first.next().unwrap()).unwrap();
    drop(first);
    let cursor: PageCursor = serde_json::from_str(&stored).unwrap();
    let Listing::Page(second) = repository.tags_page(Some(&cursor)).await.unwrap() else {
        panic!("it is refused");
    };
    assert_eq!(second.select(9, |_| true), ["v003", "v004", "v005"].map(tag));
}
