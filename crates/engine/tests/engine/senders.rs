//! The senders of every format: the samples in `events/` under the document in `events/`, and senders that show tokens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use http::HeaderMap;
use secrecy::SecretString;
use serde_json::{Value, json};
use transship_engine::{Accepted, Secrets};
use transship_notifications::Delivery;
use transship_oci::{Code, Result};
use transship_rules::{Document, SecretReference};
use transship_testkit::deliveries::{SampleDelivery, document, file, headers_of};
use transship_testkit::signing::Signer;

use crate::fixture::{Fixture, Published};

/// 2026-03-14T09:26:53Z
const NOW_SECONDS: u64 = 1_773_480_413;

async fn post(sample: &SampleDelivery, fixture: &Fixture, body: &[u8]) -> Result<Accepted> {
    let delivery = Delivery {
        headers: &sample.header_map(),
        body,
        token: sample.token.as_deref(),
    };
    fixture.intake.accept(&sample.format, &delivery).await
}

/// One secret for every reference.
struct One(&'static str);

#[async_trait]
impl Secrets for One {
    async fn secret(&self, _reference: &SecretReference) -> Result<SecretString> {
        Ok(self.0.to_owned().into())
    }
}

async fn fixture(document: &str, secret: &'static str) -> Fixture {
    let mut fixture = Fixture::new().await;
    let parsed = Document::parse(document).unwrap_or_else(|errors| unreachable!("{errors}"));
    fixture.configuration.replace(parsed.document);
    fixture.intake.secrets = Arc::new(One(secret));
    fixture.clock.set(UNIX_EPOCH + Duration::from_secs(NOW_SECONDS));
    fixture
}

async fn samples_with(secret: &'static str) -> Fixture {
    fixture(&document(), secret).await
}

#[tokio::test]
async fn the_sample_of_every_format_makes_its_tasks() {
    let fixture = samples_with("right").await;
    for sample in SampleDelivery::all() {
        let accepted = post(&sample, &fixture, &sample.body).await.unwrap();
        match accepted {
            Accepted::Tasks { events, executions } => {
                // A push without a tag is a child that no rule copies by itself, or follows its subject.
                assert!(events <= sample.events && events > 0, "{}", sample.file);
                let again = post(&sample, &fixture, &sample.body).await.unwrap();
                let same = Accepted::Tasks { events, executions };
                assert_eq!(again, same, "{}: a repeated delivery makes the same tasks", sample.file);
            }
            Accepted::Handshake { response } => {
                assert_eq!(response, "5f0b7c62-6d6e-4d10-8a0c-2d7a4c9b1e34");
                assert_eq!(sample.events, 0);
            }
            Accepted::Nothing { code } => unreachable!("{}: {code:?}", sample.file),
        }
    }
    let mut sources: Vec<String> = fixture
        .queued()
        .await
        .iter()
        .map(|task| task.source.to_string())
        .collect();
    sources.sort_unstable();
    sources.dedup();
    for expected in [
        "aliyun-acr/core/app:v1.0.0",
        "aliyun-eventbridge/core/app:v1.0.0",
        "artifactory/docker/core/app:v1.0.0",
        "azure-eventgrid/core/app:v1.0.0",
        "dockerhub/example/app:v1.0.0",
        "google-ar/example/core/app:v1.0.0",
        "nexus/core/app:v1.0.0",
        "quay/example/app:latest",
    ] {
        assert!(
            sources.iter().any(|source| source == expected),
            "{expected} is not in {sources:?}"
        );
    }
}

#[tokio::test]
async fn with_another_secret_no_sample_makes_a_task() {
    let fixture = samples_with("wrong").await;
    for sample in SampleDelivery::all() {
        let error = post(&sample, &fixture, &sample.body).await.unwrap_err();
        assert_eq!(error.code(), "NOT_AUTHENTIC", "{}", sample.file);
    }
    assert!(fixture.queued().await.is_empty());
}

#[tokio::test]
async fn a_broken_body_is_refused_after_its_sender_is_known() {
    let fixture = samples_with("right").await;
    for sample in SampleDelivery::all() {
        let body = &sample.body;
        let error = post(&sample, &fixture, &body[..body.len() / 2]).await.unwrap_err();
        assert!(
            matches!(error.code(), "DELIVERY_INVALID" | "NOT_AUTHENTIC"),
            "{}: {error}",
            sample.file
        );
    }
    assert!(fixture.queued().await.is_empty());
}

const TENANT: &str = "00000000-0000-0000-0000-000000000001";
const AUDIENCE: &str = "https://hooks.example.com/hooks/gar";

fn identities(keys: &str) -> String {
    format!(
        "version: 1
registries:
  gar:
    provider: google-ar
    endpoint: https://europe-west1-docker.pkg.dev
    webhook: {{ identity: {{ audience: \"{AUDIENCE}\", email: pusher@example.iam.gserviceaccount.com{keys} }} }}
  grid:
    provider: azure-acr
    endpoint: https://example.azurecr.io
    webhook: {{ format: azure-eventgrid, identity: {{ audience: \"api://x\", tenant: {TENANT} }} }}
  mirror: {{ provider: distribution, endpoint: \"https://mirror.example.com\" }}
rules:
  - {{ name: gar, source: {{ registry: gar, namespace: example }}, destination: {{ registry: mirror }} }}
"
    )
}

fn claims() -> Value {
    json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "email": "pusher@example.iam.gserviceaccount.com",
        "email_verified": true, "exp": NOW_SECONDS + 60,
    })
}

async fn push(fixture: &Fixture, token: &str) -> Result<Accepted> {
    let headers = headers_of([("authorization", format!("Bearer {token}").as_str())]);
    let delivery = Delivery {
        headers: &headers,
        body: &file("google-ar-push.json"),
        token: None,
    };
    fixture.intake.accept("gar", &delivery).await
}

#[tokio::test]
async fn a_token_is_checked_with_published_keys_that_are_fetched_again_when_they_are_new() {
    let signer = Signer::new().unwrap();
    let mut fixture = fixture(&identities(""), "").await;
    let token = signer.token("key-2", &claims()).unwrap();
    assert_eq!(
        push(&fixture, &token).await.unwrap_err().code(),
        "UNAVAILABLE",
        "without keys"
    );
    let published = Arc::new(Published::default());
    published
        .sets
        .lock()
        .unwrap()
        .extend([signer.key_set("key-1"), signer.key_set("key-2")]);
    fixture.intake.keys = Arc::clone(&published) as _;
    assert!(matches!(
        push(&fixture, &token).await.unwrap(),
        Accepted::Tasks { events: 1, .. }
    ));
    let cached = signer.token("key-1", &claims()).unwrap();
    let before = published.fetches.load(Ordering::Relaxed);
    assert!(push(&fixture, &cached).await.is_ok());
    assert_eq!(
        published.fetches.load(Ordering::Relaxed),
        before + 1,
        "the first set has its key"
    );
    let unknown = signer.token("key-3", &claims()).unwrap();
    assert_eq!(push(&fixture, &unknown).await.unwrap_err().code(), "NOT_AUTHENTIC");
    fixture.clock.advance(Duration::from_secs(121));
    let error = push(&fixture, &token).await.unwrap_err();
    assert_eq!(error.code(), "NOT_AUTHENTIC", "it has expired");
}

#[tokio::test]
async fn a_token_is_checked_with_the_keys_of_the_document() {
    let signer = Signer::new().unwrap();
    let set: &'static str = signer.key_set("key-1").leak();
    let fixture = fixture(&identities(", keys: \"env:KEYS\""), set).await;
    assert!(push(&fixture, &signer.token("key-1", &claims()).unwrap()).await.is_ok());
    let unknown = signer.token("key-2", &claims()).unwrap();
    assert_eq!(push(&fixture, &unknown).await.unwrap_err().code(), "NOT_AUTHENTIC");
}

#[tokio::test]
async fn only_a_sender_that_asks_is_told_that_its_deliveries_are_wanted() {
    let fixture = samples_with("right").await;
    let none = HeaderMap::new();
    let consent = |source: &'static str, token: Option<&'static str>| fixture.intake.consent(source, &none, token);
    assert!(consent("azure-eventgrid", Some("right")).await.is_ok());
    for (source, token, code) in [
        ("azure-eventgrid", None, Code::NotAuthentic),
        ("azure-eventgrid", Some("wrong"), Code::NotAuthentic),
        ("harbor", Some("right"), Code::MethodNotAllowed),
        ("nowhere", None, Code::UnknownSource),
    ] {
        let error = consent(source, token).await.unwrap_err();
        assert_eq!(error.kind(), code, "{source}");
    }
    let tokens = self::fixture(&identities(""), "").await;
    assert!(
        tokens.intake.consent("grid", &none, None).await.is_ok(),
        "each delivery is checked"
    );
}
