//! Events that AWS itself brings: known by their host, and then as good as any delivery.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use transship_engine::Accepted;
use transship_oci::{Code, Result};
use transship_oci::{Digest, Provider};
use transship_rules::Document;

use crate::fixture::Fixture;

const HOST: &str = "123456789012.dkr.ecr.us-west-2.amazonaws.com";

/// Registries of Amazon ECR, of which `hub` and `twin` are one, and a registry that merely says so.
async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    let text = format!(
        "version: 1
registries:
  hub: {{ provider: ecr, endpoint: \"https://{HOST}\" }}
  twin: {{ provider: ecr, endpoint: \"https://ecr.example.com\", hosts: [\"{HOST}\"] }}
  other: {{ provider: ecr, endpoint: \"https://123456789012.dkr.ecr.eu-west-1.amazonaws.com\" }}
  proxy: {{ provider: harbor, endpoint: \"https://harbor.example.com\", hosts: [\"111122223333.dkr.ecr.us-west-2.amazonaws.com\"], webhook: {{ secret: \"env:HOOK\" }} }}
rules:
  - {{ name: core, source: {{ registry: hub, namespace: core }}, destination: {{ registry: other }} }}
  - {{ name: second, source: {{ registry: twin, namespace: core }}, destination: {{ registry: other, namespace: m }} }}
  - {{ name: third, source: {{ registry: proxy, namespace: core }}, destination: {{ registry: other, namespace: n }} }}
"
    );
    fixture.configuration.replace(Document::parse(&text).unwrap().document);
    fixture
}

fn event(account: &str, repository: &str) -> Value {
    json!({
        "version": "0", "id": "1-2-3", "detail-type": "ECR Image Action", "source": "aws.ecr", "account": account,
        "time": "2026-01-02T03:04:05Z", "region": "us-west-2", "resources": [],
        "detail": {
            "result": "SUCCESS", "repository-name": repository, "image-digest": Digest::sha256(b"x").to_string(),
            "action-type": "PUSH", "image-tag": "v1",
        },
    })
}

async fn bring(fixture: &Fixture, event: &Value) -> Result<Accepted> {
    fixture
        .intake
        .accept_event(Provider::Ecr, event.to_string().as_bytes())
        .await
}

#[tokio::test]
async fn an_event_makes_the_tasks_of_every_source_that_is_called_by_its_host() {
    let fixture = fixture().await;
    let told = event("123456789012", "core/app");
    for _ in 0..3 {
        let Accepted::Tasks { events, executions } = bring(&fixture, &told).await.unwrap() else {
            panic!("nothing was accepted")
        };
        assert_eq!((events, executions.len()), (1, 2));
    }
    let tasks = fixture.tasks().await;
    let mut ways: Vec<(&str, &str)> = tasks
        .iter()
        .map(|task| (task.source.as_str(), task.destination.as_str()))
        .collect();
    ways.sort_unstable();
    assert_eq!(
        ways,
        [
            ("hub/core/app:v1", "other/core/app:v1"),
            ("twin/core/app:v1", "other/m/app:v1")
        ]
    );
}

#[tokio::test]
async fn an_event_of_no_registry_of_the_document_is_answered_and_does_nothing() {
    let fixture = fixture().await;
    for account in ["999999999999", "111122223333"] {
        assert_eq!(
            bring(&fixture, &event(account, "core/app")).await.unwrap(),
            Accepted::Nothing {
                code: Some(Code::HostMismatch)
            },
            "{account}"
        );
    }
    let mut scan = event("123456789012", "core/app");
    scan["detail-type"] = "ECR Image Scan".into();
    for told in [event("123456789012", "elsewhere/app"), scan] {
        assert_eq!(bring(&fixture, &told).await.unwrap(), Accepted::Nothing { code: None });
    }
    assert_eq!(fixture.tasks().await, []);
}

#[tokio::test]
async fn what_could_not_be_queued_is_an_error_that_brings_the_event_again() {
    let fixture = fixture().await;
    fixture.queue.is_down.store(true, Ordering::Relaxed);
    let told = event("123456789012", "core/app");
    assert_eq!(bring(&fixture, &told).await.unwrap_err().code(), "UNAVAILABLE");
    assert_eq!(fixture.tasks().await, []);
    for body in ["", "{}", r#"{"source":"my.app","detail-type":"ECR Image Action"}"#] {
        let refusal = fixture
            .intake
            .accept_event(Provider::Ecr, body.as_bytes())
            .await
            .unwrap_err();
        assert_eq!(refusal.code(), "DELIVERY_INVALID", "{body}");
    }
}
