//! The catalog: pages as the registry links them, and the many ways in which registries refuse it.

use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::Digest;
use transship_registry::{Listing, PageCursor, Registry};

use crate::auth::{Logins, bearer};
use crate::world::{always, answer, asked, client, client_as, name, tag};

async fn registry_of(builder: transship_embedded_registry::Builder, repositories: &[&str]) -> EmbeddedRegistry {
    let registry = builder.start().await.unwrap();
    for repository in repositories {
        registry.tag(&name(repository), &tag("v1"), &Digest::sha256(b"x"));
    }
    registry
}

/// All pages, in order.
async fn pages(client: &Registry) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut page = None;
    loop {
        let Listing::Page(listed) = client.catalog_page(page.as_ref()).await.unwrap() else {
            return pages;
        };
        let repositories = listed.select(usize::MAX, |_| true);
        pages.push(repositories.iter().map(ToString::to_string).collect());
        match listed.next() {
            Some(next) => page = Some(next.clone()),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn every_page_is_asked_for_as_the_one_before_it_says() {
    let all = ["a", "a-b", "a/b", "c", "d/e"];
    let registry = registry_of(EmbeddedRegistry::builder().page_size(2), &all).await;
    assert_eq!(
        pages(&client(&registry)).await,
        [&["a", "a-b"][..], &["a/b", "c"], &["d/e"]]
    );
    let queries: Vec<_> = asked(&registry, "GET", "_catalog")
        .into_iter()
        .map(|request| request.query.unwrap())
        .collect();
    assert_eq!(queries, ["n=1000", "n=2&last=a-b", "n=2&last=c"]);
}

#[tokio::test]
async fn a_token_for_the_catalog_is_asked_for_by_its_own_scope() {
    let registry = registry_of(EmbeddedRegistry::builder().auth(bearer()), &["a"]).await;
    let client = client_as(&registry, Logins::right());
    assert_eq!(pages(&client).await, [["a"]]);
    let [token] = asked(&registry, "GET", "/token").try_into().unwrap();
    assert!(token.query.unwrap().contains("scope=registry%3Acatalog%3A*"));
}

#[tokio::test]
async fn a_registry_that_refuses_its_catalog_says_how_and_is_no_error() {
    let registry = registry_of(EmbeddedRegistry::builder(), &["a"]).await;
    for code in [400, 401, 403, 404, 405, 410, 501] {
        registry.set_faults(Some(always("GET", "_catalog", answer(code, &[], ""))));
        let told = client(&registry).catalog_page(None).await.unwrap();
        assert!(matches!(told, Listing::Refused(_)), "{code}: {told:?}");
    }
    registry.set_faults(Some(always("GET", "_catalog", answer(503, &[], ""))));
    let error = client(&registry).catalog_page(None).await.unwrap_err();
    assert_eq!(error.code(), "REGISTRY_UNAVAILABLE");
}

#[tokio::test]
async fn names_that_are_none_are_left_out_and_pages_that_do_not_end_are_refused() {
    let registry = registry_of(EmbeddedRegistry::builder(), &[]).await;
    for (link, body, expected) in [
        (
            "",
            r#"{"repositories":["a",null,"","UPPER","../x","b/c"]}"#,
            Ok((2, None)),
        ),
        ("", r#"{"repositories":null}"#, Ok((0, None))),
        ("", "{}", Ok((0, None))),
        ("", r#"{"errors":[{"code":"DENIED"}]}"#, Err("RESPONSE_INVALID")),
        ("", "no json", Err("RESPONSE_INVALID")),
        (
            r#"</v2/_catalog?n=1000>; rel="next""#,
            r#"{"repositories":["a"]}"#,
            Err("LIST_ABORTED"),
        ),
        (
            r#"<http://elsewhere.example/v2/_catalog?last=a>; rel="next""#,
            r#"{"repositories":["a"]}"#,
            Ok((1, Some("last=a"))),
        ),
        (
            r#"<http://elsewhere.example/v2/_catalog>; rel="next""#,
            r#"{"repositories":["a"]}"#,
            Err("LIST_ABORTED"),
        ),
        (
            r#"</v2/_catalog/2>; rel="next""#,
            r#"{"repositories":["a"]}"#,
            Err("LIST_ABORTED"),
        ),
    ] {
        registry.set_faults(Some(always(
            "GET",
            "_catalog",
            answer(200, &[("link", link)], body.to_owned()),
        )));
        let told = client(&registry).catalog_page(None).await;
        match (told, expected) {
            (Ok(Listing::Page(page)), Ok(expected)) => {
                let found = page.select(9, |_| true).len();
                assert_eq!((found, page.next().map(PageCursor::query)), expected, "{body}");
            }
            (Err(error), Err(code)) => assert_eq!(error.code(), code, "{body}"),
            (told, expected) => panic!("{body}: {told:?} where {expected:?} is right"),
        }
    }
    let long = format!("</v2/_catalog?next={}>; rel=\"next\"", "x".repeat(5000));
    registry.set_faults(Some(always("GET", "_catalog", answer(200, &[("link", &long)], "{}"))));
    let error = client(&registry).catalog_page(None).await.unwrap_err();
    assert_eq!(error.code(), "RESPONSE_INVALID", "it would not fit into a message");
}

#[tokio::test]
async fn a_page_that_is_missing_in_the_middle_is_not_the_end() {
    let registry = registry_of(EmbeddedRegistry::builder().page_size(2), &["a", "b", "c"]).await;
    let client = client(&registry);
    let Listing::Page(first) = client.catalog_page(None).await.unwrap() else {
        panic!("the catalog was refused")
    };
    for code in [400, 404, 410, 501] {
        registry.set_faults(Some(always("GET", "_catalog", answer(code, &[], ""))));
        let error = client.catalog_page(first.next()).await.unwrap_err();
        assert_eq!(error.code(), "LIST_ABORTED", "{code}");
        assert!(error.persistence().is_temporary());
    }
}
