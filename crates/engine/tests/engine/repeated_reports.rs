//! One push that is reported several times: one task, and no push is lost if the reports were of two.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use transship_engine::Accepted;
use transship_notifications::Delivery;
use transship_oci::Digest;
use transship_rules::Document;
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, SECRET};

const HARBOR_RULE: &str =
    "{ name: harbor, source: { registry: harbor, namespace: core }, destination: { registry: b, namespace: copy } }";

/// The two registries of the fixture; the source is called as Harbor and as Docker Hub.
async fn fixture(rule: &str) -> Fixture {
    let fixture = Fixture::new().await;
    put_in_force(&fixture, rule);
    fixture
}

fn put_in_force(fixture: &Fixture, rule: &str) {
    let text = format!(
        "version: 1
registries:
  harbor: {{ provider: harbor, endpoint: \"{a}\", hosts: [harbor.example.com], webhook: {{ secret: \"env:HOOK\" }} }}
  hub: {{ provider: dockerhub, endpoint: \"{a}\", hosts: [docker.io], webhook: {{ secret: \"env:HOOK\" }} }}
  b: {{ provider: distribution, endpoint: \"{b}\" }}
rules:
  - {rule}
",
        a = fixture.a.url(),
        b = fixture.b.url(),
    );
    let parsed = Document::parse(&text).unwrap_or_else(|errors| unreachable!("{errors}"));
    fixture.configuration.replace(parsed.document);
}

/// Harbor's default form.
fn default_form(digest: &Digest) -> Value {
    json!({ "type": "PUSH_ARTIFACT", "occur_at": 1_700_000_000, "operator": "ci", "event_data": {
        "resources": [{ "digest": digest, "tag": "v1", "resource_url": "harbor.example.com/core/app:v1" }],
        "repository": { "name": "app", "namespace": "core", "repo_full_name": "core/app", "repo_type": "private" } } })
}

/// The same push as a `CloudEvent`, with an id and a time of its own.
fn cloud_event(digest: &Digest, id: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/projects/2/webhook/policies/1", "type": "harbor.artifact.pushed",
        "datacontenttype": "application/json", "time": "2023-11-14T22:13:25Z", "operator": "ci",
        "data": default_form(digest)["event_data"] })
}

/// A push to Docker Hub, which names no digest.
fn hub(pushed_at: i64) -> Value {
    json!({ "push_data": { "tag": "v1", "pushed_at": pushed_at, "pusher": "ci" },
        "repository": { "repo_name": "core/app", "namespace": "core", "name": "app" } })
}

/// Delivers `body` and returns the executions of its tasks.
async fn report(fixture: &Fixture, source: &str, body: &Value) -> Vec<String> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static(SECRET));
    let body = body.to_string();
    let delivery = Delivery {
        headers: &headers,
        body: body.as_bytes(),
        token: Some(SECRET),
    };
    match fixture.intake.accept(source, &delivery).await.unwrap() {
        Accepted::Tasks { events: 1, executions } => executions,
        other => unreachable!("{other:?} for {body}"),
    }
}

fn two_images() -> (Sample, Sample) {
    (images::image(1, &[100]), images::image(2, &[200]))
}

#[tokio::test]
async fn a_push_in_two_forms_makes_one_task_before_during_and_after_it() {
    // The second report arrives before the task begins, so both messages are processed at the same time.
    let fixture = fixture(HARBOR_RULE).await;
    let (image, _) = two_images();
    fixture.push(&image);
    let first = report(&fixture, "harbor", &default_form(&image.root)).await;
    let second = report(&fixture, "harbor", &cloud_event(&image.root, "1")).await;
    assert_eq!(first, second, "the report names the execution that copies the push");
    fixture.drain().await;
    fixture.assert_equal(&image);
    // Another one arrives after the task ended.
    assert_eq!(report(&fixture, "harbor", &cloud_event(&image.root, "2")).await, first);
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["succeeded"]);
    assert_eq!(fixture.executions().await.len(), 1);
    // After ten minutes it is another push.
    fixture.clock.advance(Duration::from_secs(601));
    assert_ne!(report(&fixture, "harbor", &cloud_event(&image.root, "3")).await, first);
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["succeeded", "unchanged"]);
}

#[tokio::test]
async fn a_tag_that_goes_there_and_back_makes_three_tasks_however_often_each_push_is_reported() {
    let fixture = fixture(HARBOR_RULE).await;
    let (one, two) = two_images();
    for (push, image) in [&one, &two, &one].into_iter().enumerate() {
        fixture.push(image);
        for twice in 0..2 {
            report(
                &fixture,
                "harbor",
                &cloud_event(&image.root, &format!("{push} {twice}")),
            )
            .await;
            fixture.drain().await;
        }
        fixture.assert_equal(image);
    }
    assert_eq!(fixture.states().await, ["succeeded"; 3]);
}

#[tokio::test]
async fn six_reports_without_a_digest_make_one_task() {
    let rule = HARBOR_RULE.replace("registry: harbor", "registry: hub");
    let fixture = fixture(&rule).await;
    let (image, _) = two_images();
    fixture.push(&image);
    for second in 0..6 {
        report(&fixture, "hub", &hub(1_700_000_000 + second)).await;
        fixture.clock.advance(Duration::from_secs(1));
        if second % 2 == 1 {
            fixture.drain().await;
        }
    }
    fixture.assert_equal(&image);
    assert_eq!(fixture.states().await, ["succeeded"]);
}

#[tokio::test]
async fn another_push_within_the_minute_is_copied_although_its_report_names_no_digest() {
    let rule = HARBOR_RULE.replace("registry: harbor", "registry: hub");
    let fixture = fixture(&rule).await;
    let (one, two) = two_images();
    for (second, image) in [&one, &two, &one].into_iter().enumerate() {
        fixture.push(image);
        report(&fixture, "hub", &hub(1_700_000_000 + i64::try_from(second).unwrap())).await;
        fixture.drain().await;
        fixture.assert_equal(image);
    }
    assert_eq!(fixture.states().await, ["succeeded"; 3]);
}

#[tokio::test]
async fn a_report_is_not_dropped_with_a_task_that_was_skipped() {
    let rule = HARBOR_RULE
        .replace("registry: harbor", "registry: hub")
        .replace("} }", "}, kinds: [chart] }");
    let fixture = fixture(&rule).await;
    let image = images::image(1, &[100]);
    fixture.push(&image);
    report(&fixture, "hub", &hub(1_700_000_000)).await;
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["skipped"]);
    let chart = images::helm_chart(2);
    fixture.push(&chart);
    report(&fixture, "hub", &hub(1_700_000_001)).await;
    fixture.drain().await;
    fixture.assert_equal(&chart);
    assert_eq!(fixture.states().await, ["skipped", "succeeded"]);
}

#[tokio::test]
async fn a_report_is_not_dropped_with_a_task_that_was_cancelled() {
    let fixture = fixture(HARBOR_RULE).await;
    let (image, _) = two_images();
    fixture.push(&image);
    report(&fixture, "harbor", &default_form(&image.root)).await;
    put_in_force(&fixture, &HARBOR_RULE.replace("} }", "}, enabled: false }"));
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["cancelled"]);
    put_in_force(&fixture, HARBOR_RULE);
    report(&fixture, "harbor", &cloud_event(&image.root, "1")).await;
    fixture.drain().await;
    fixture.assert_equal(&image);
    assert_eq!(fixture.states().await, ["cancelled", "succeeded"]);
}

#[tokio::test]
async fn what_was_removed_at_the_destination_is_copied_again_by_the_next_report() {
    let fixture = fixture(HARBOR_RULE).await;
    let (image, _) = two_images();
    fixture.push(&image);
    report(&fixture, "harbor", &default_form(&image.root)).await;
    fixture.drain().await;
    fixture.b.forget(&fixture.to(), &image.root);
    report(&fixture, "harbor", &cloud_event(&image.root, "1")).await;
    fixture.drain().await;
    fixture.assert_equal(&image);
    assert_eq!(fixture.states().await, ["succeeded"; 2]);
}
