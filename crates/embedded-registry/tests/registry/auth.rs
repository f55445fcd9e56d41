//! Basic and Bearer.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_oci::Digest;

use crate::client::{Subject, header};

fn bearer(expiry: Duration) -> Auth {
    Auth::Bearer {
        user: "ada".into(),
        password: "secret".into(),
        expiry,
    }
}

async fn token(subject: &Subject, scopes: &[&str]) -> String {
    let scopes: Vec<(&str, &str)> = scopes.iter().map(|scope| ("scope", *scope)).collect();
    let request = subject.request("GET", "/token").query(&scopes);
    let answer = request.basic_auth("ada", Some("secret")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["token"], body["access_token"]);
    body["token"].as_str().unwrap().to_owned()
}

async fn with_token(subject: &Subject, method: &str, path: &str, token: &str) -> Response {
    subject.request(method, path).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn basic_lets_in_the_one_user_only() {
    let auth = Auth::Basic {
        user: "ada".into(),
        password: "secret".into(),
    };
    let subject = Subject::of(EmbeddedRegistry::builder().auth(auth)).await;
    let refused = subject.send("GET", "").await;
    assert_eq!(refused.status(), 401);
    assert!(header(&refused, "www-authenticate").starts_with("Basic "));
    for (password, status) in [("secret", 200), ("wrong", 401)] {
        let request = subject.request("GET", "").basic_auth("ada", Some(password));
        assert_eq!(request.send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn a_challenge_names_realm_service_and_the_scope_needed() {
    let subject = Subject::of(EmbeddedRegistry::builder().auth(bearer(Duration::from_mins(1)))).await;
    let url = subject.registry.url();
    let refused = subject.send("GET", "a/b/tags/list").await;
    assert_eq!(
        header(&refused, "www-authenticate"),
        format!("Bearer realm=\"{url}/token\",service=\"embedded registry\",scope=\"repository:a/b:pull\"")
    );
    let refused = subject.send("POST", "a/b/blobs/uploads/").await;
    assert!(header(&refused, "www-authenticate").contains("scope=\"repository:a/b:pull,push\""));
    let refused = subject.send("GET", "").await;
    assert!(!header(&refused, "www-authenticate").contains("scope"));
}

#[tokio::test]
async fn a_token_is_good_for_its_scope_and_no_other() {
    let subject = Subject::of(EmbeddedRegistry::builder().auth(bearer(Duration::from_mins(1)))).await;
    subject.seed(b"x");
    let blob = format!("a/b/blobs/{}", Digest::sha256(b"x"));
    let pull = token(&subject, &["repository:a/b:pull"]).await;
    assert_eq!(with_token(&subject, "GET", &blob, &pull).await.status(), 200);
    assert_eq!(with_token(&subject, "GET", "", &pull).await.status(), 200);
    let refused = with_token(&subject, "POST", "a/b/blobs/uploads/", &pull).await;
    assert_eq!(refused.status(), 401);
    assert!(header(&refused, "www-authenticate").contains("insufficient_scope"));
    let both = token(&subject, &["repository:a/b:pull,push"]).await;
    assert_eq!(
        with_token(&subject, "POST", "a/b/blobs/uploads/", &both).await.status(),
        202
    );
    assert_eq!(with_token(&subject, "DELETE", &blob, &both).await.status(), 401);
    assert_eq!(with_token(&subject, "GET", "c/tags/list", &both).await.status(), 401);
}

#[tokio::test]
async fn a_mount_needs_pull_at_its_source() {
    let subject = Subject::of(EmbeddedRegistry::builder().auth(bearer(Duration::from_mins(1)))).await;
    subject.seed(b"x");
    let mount = format!("c/blobs/uploads/?mount={}&from=a/b", Digest::sha256(b"x"));
    let target_only = token(&subject, &["repository:c:pull,push"]).await;
    assert_eq!(with_token(&subject, "POST", &mount, &target_only).await.status(), 202);
    let both = token(&subject, &["repository:c:pull,push", "repository:a/b:pull"]).await;
    assert_eq!(with_token(&subject, "POST", &mount, &both).await.status(), 201);
}

#[tokio::test]
async fn a_token_ends() {
    let subject = Subject::of(EmbeddedRegistry::builder().auth(bearer(Duration::from_mins(1)))).await;
    let held = token(&subject, &[]).await;
    assert_eq!(with_token(&subject, "GET", "", &held).await.status(), 200);
    subject.registry.expire_tokens();
    let refused = with_token(&subject, "GET", "", &held).await;
    assert!(header(&refused, "www-authenticate").contains("invalid_token"));

    let brief = Subject::of(EmbeddedRegistry::builder().auth(bearer(Duration::ZERO))).await;
    let held = token(&brief, &[]).await;
    assert_eq!(with_token(&brief, "GET", "", &held).await.status(), 401);
}

#[tokio::test]
async fn the_token_endpoint_refuses_strangers() {
    let subject = Subject::of(EmbeddedRegistry::builder().auth(bearer(Duration::from_mins(1)))).await;
    let request = subject.request("GET", "/token").basic_auth("ada", Some("wrong"));
    assert_eq!(request.send().await.unwrap().status(), 401);
    assert_eq!(subject.send("GET", "/token").await.status(), 401);
}
