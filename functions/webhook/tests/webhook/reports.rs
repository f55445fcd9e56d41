//! One push that is reported several times, to an instance that is warm: see `engine/src/recent_pushes.rs`.

use serde_json::{Value, json};

use crate::fixture::{DIGEST, Fixture, SECRET, harbor_cloud_event, harbor_default, hub};

/// Posts reports of one push, and returns the executions that the answers name.
async fn report(fixture: &Fixture, source: &str, bodies: &[Value]) -> Vec<Value> {
    let path = format!("/hooks/{source}/{}", SECRET.replace(' ', "%20"));
    let mut executions = Vec::new();
    for body in bodies {
        let answer = fixture
            .post_with(&path, &[("Authorization", SECRET)], &body.to_string(), false)
            .await;
        assert_eq!(
            (answer.status, &answer.body["accepted"]),
            (202, &json!(1)),
            "{answer:?}"
        );
        executions.push(answer.body["executions"].clone());
    }
    executions
}

/// Asserts that the messages of `count` reports are in the queue and are all of one task.
async fn assert_one_task(fixture: &Fixture, count: usize, executions: Vec<Value>) {
    let sent = fixture.sent().await;
    assert_eq!(
        sent.len(),
        count,
        "every report is sent, so that a wrong merge loses nothing"
    );
    assert!(sent.iter().all(|task| task.id == sent[0].id), "{sent:?}");
    let first = json!([sent[0].execution.id]);
    assert!(executions.iter().all(|named| *named == first), "{executions:?} {first}");
    let own = sent.iter().filter(|task| task.own.is_some()).count();
    assert_eq!(own, count - 1, "each later report can become a task of its own");
}

#[tokio::test]
async fn a_push_in_two_formats_makes_one_task() {
    let fixture = Fixture::start().await;
    let reports = [
        harbor_default(DIGEST),
        harbor_cloud_event(DIGEST, "1"),
        harbor_cloud_event(DIGEST, "2"),
    ];
    let executions = report(&fixture, "harbor", &reports).await;
    assert_one_task(&fixture, 3, executions).await;
}

#[tokio::test]
async fn repeated_reports_of_a_push_of_many_platforms_make_one_task() {
    // Docker Hub reports each manifest of an index and names no digest.
    let fixture = Fixture::start().await;
    let reports: Vec<Value> = (0..6).map(|second| hub(1_700_000_000 + second)).collect();
    let executions = report(&fixture, "dockerhub", &reports).await;
    assert_one_task(&fixture, 6, executions).await;
}

#[tokio::test]
async fn another_digest_and_another_instance_make_tasks_of_their_own() {
    let fixture = Fixture::start().await;
    let other = DIGEST.replace('7', "8");
    let executions = report(
        &fixture,
        "harbor",
        &[harbor_cloud_event(DIGEST, "1"), harbor_cloud_event(&other, "2")],
    )
    .await;
    assert_ne!(executions[0], executions[1]);
    // A new instance remembers nothing, which costs a task and loses no push.
    let cold = fixture.with_another_instance();
    let executions = [
        executions,
        report(&cold, "harbor", &[harbor_cloud_event(&other, "3")]).await,
    ]
    .concat();
    assert_ne!(executions[1], executions[2]);
    let sent = cold.sent().await;
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|task| task.own.is_none()));
}
