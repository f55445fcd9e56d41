//! The samples in `events/`, posted over HTTP to `serve` as events/README.md says, and what a hostile sender posts.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use transship_testkit::deliveries::{SampleDelivery, document, file};

use crate::serve::Serve;

/// `serve` with the document in `events/`.
struct Fixture {
    _serve: Serve,
    address: String,
    client: Client,
}

impl Fixture {
    fn start(secret: &str) -> Self {
        transship_registry::use_ring();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let hook = folder.path().join("hook");
        std::fs::write(&hook, secret).unwrap();
        let document = document().replace("env:HOOK", &format!("file:{}", hook.display()));
        let mut serve = Serve::start_in(&folder, &document, &["--sweep", "off"]);
        Self {
            address: serve.until_serving(),
            _serve: serve,
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn send(&self, method: Method, path: &str, headers: &BTreeMap<String, String>, body: Vec<u8>) -> Response {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(body).send().await.unwrap()
    }

    /// Status and body of the response to a POST.
    async fn post(&self, path: &str, headers: &BTreeMap<String, String>, body: Vec<u8>) -> (u16, Value) {
        let response = self.send(Method::POST, path, headers, body).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }
}

#[tokio::test]
async fn every_sample_is_accepted_with_its_secret_and_answered_as_promised() {
    let fixture = Fixture::start("right\n");
    for sample in SampleDelivery::all() {
        let (status, body) = fixture.post(&sample.path(), &sample.headers, sample.body.clone()).await;
        if sample.events == 0 {
            assert_eq!(status, 200, "{}", sample.file);
            assert_eq!(
                body,
                json!({ "validationResponse": "5f0b7c62-6d6e-4d10-8a0c-2d7a4c9b1e34" })
            );
        } else {
            assert_eq!(status, 202, "{} {body}", sample.file);
            assert!(body["accepted"].as_u64() >= Some(1), "{} {body}", sample.file);
        }
        let (status, body) = fixture.post(&sample.path(), &sample.headers, Vec::new()).await;
        assert!(
            matches!(status, 400 | 401),
            "{} without a body: {status} {body}",
            sample.file
        );
    }
}

#[tokio::test]
async fn a_body_of_more_than_one_mebibyte_is_refused_in_every_format() {
    let fixture = Fixture::start("right\n");
    for sample in SampleDelivery::all() {
        let mut body = sample.body.clone();
        body.resize((1 << 20) + 1, b' ');
        let (status, answer) = fixture.post(&sample.path(), &sample.headers, body).await;
        assert_eq!(
            (status, &answer["code"]),
            (413, &json!("DELIVERY_TOO_LARGE")),
            "{} {answer}",
            sample.file
        );
    }
}

#[tokio::test]
async fn no_sample_is_accepted_with_another_secret() {
    let fixture = Fixture::start("wrong\n");
    for sample in SampleDelivery::all() {
        let (status, body) = fixture.post(&sample.path(), &sample.headers, sample.body.clone()).await;
        assert_eq!(
            (status, &body["code"]),
            (401, &json!("NOT_AUTHENTIC")),
            "{}",
            sample.file
        );
        let (status, _) = fixture
            .post(
                &format!("/hooks/{}", sample.format),
                &BTreeMap::new(),
                sample.body.clone(),
            )
            .await;
        assert_eq!(status, 401, "{} without a proof", sample.file);
    }
}

#[tokio::test]
async fn a_secret_at_the_end_of_a_url_has_any_characters() {
    let fixture = Fixture::start("a/b+c=%d é\n");
    let none = BTreeMap::new();
    for (token, status) in [
        ("a/b+c=%25d%20%C3%A9", 202),
        ("a%2Fb%2Bc%3D%25d%20%C3%A9", 202),
        ("a/b+c=%25d%20%C3%A9/", 202),
        ("a/b+c=%25d%20%c3%a9", 202),
        ("a/b%20c=%25d%20%C3%A9", 401),
        ("a/b+c=%25d%20%C3%A9/x", 401),
        ("a//b+c=%25d%20%C3%A9", 401),
        ("../dockerhub/a/b+c=%25d%20%C3%A8", 401),
    ] {
        let path = format!("/hooks/dockerhub/{token}");
        let (answered, body) = fixture.post(&path, &none, file("dockerhub-push.json")).await;
        assert_eq!(answered, status, "{token} {body}");
    }
}

#[tokio::test]
async fn event_grid_is_answered_before_its_first_event() {
    let fixture = Fixture::start("right\n");
    let headers = BTreeMap::from([
        ("WebHook-Request-Origin".to_owned(), "eventgrid.azure.net".to_owned()),
        ("WebHook-Request-Rate".to_owned(), "120".to_owned()),
    ]);
    let allowed = fixture
        .send(Method::OPTIONS, "/hooks/azure-eventgrid/right", &headers, Vec::new())
        .await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.headers()["webhook-allowed-origin"], "eventgrid.azure.net");
    assert_eq!(allowed.headers()["webhook-allowed-rate"], "*");
    for (path, headers, status) in [
        ("/hooks/azure-eventgrid/wrong", &headers, 401),
        ("/hooks/azure-eventgrid", &headers, 401),
        ("/hooks/azure-eventgrid/right", &BTreeMap::new(), 400),
        ("/hooks/harbor/right", &headers, 405),
        ("/hooks/nowhere/right", &headers, 404),
    ] {
        let refused = fixture.send(Method::OPTIONS, path, headers, Vec::new()).await;
        assert_eq!(refused.status(), status, "{path}");
        assert!(!refused.headers().contains_key("webhook-allowed-origin"), "{path}");
    }
}

#[tokio::test]
async fn an_event_of_another_host_is_answered_200_and_has_no_effect() {
    let fixture = Fixture::start("right\n");
    let authorization = BTreeMap::from([("Authorization".to_owned(), "Bearer right".to_owned())]);
    let sample = String::from_utf8(file("harbor-push.json")).unwrap();
    for host in [
        "evil.example",
        "registry.example.com@evil.example",
        "registry.example.com:8443",
        "169.254.169.254",
    ] {
        let body = sample.replace("registry.example.com", host);
        let (status, answer) = fixture.post("/hooks/harbor", &authorization, body.into_bytes()).await;
        assert_eq!((status, &answer["accepted"]), (200, &json!(0)), "{host} {answer}");
    }
}
