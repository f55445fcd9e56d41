//! Events from AWS, by an asynchronous invocation.

use serde_json::json;
use transship_testkit::lambda_runtime::Ended;

use crate::fixture::{Fixture, ecr, push};

#[tokio::test]
async fn a_push_to_ecr_makes_its_task() {
    let fixture = Fixture::start().await;
    let ended = fixture.invoke(&ecr("111122223333", "PUSH")).await;
    let Ended::Answered(answer) = ended else {
        panic!("{ended:?}\n{}", fixture.lambda.log());
    };
    assert_eq!(answer["accepted"], 1);
    let sent = fixture.sent().await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].source.to_string(), "ecr/core/app:v1.0.0");
    assert_eq!(sent[0].destination.to_string(), "mirror/copy/app:v1.0.0");
}

#[tokio::test]
async fn an_event_of_no_interest_succeeds() {
    let fixture = Fixture::start().await;
    for event in [ecr("111122223333", "DELETE"), ecr("999988887777", "PUSH")] {
        let ended = fixture.invoke(&event).await;
        assert!(matches!(ended, Ended::Answered(_)), "{ended:?}");
    }
    assert!(fixture.sent().await.is_empty());
    assert!(fixture.lambda.log().contains("HOST_MISMATCH"));
}

#[tokio::test]
async fn an_event_that_cannot_be_made_durable_fails_its_invocation() {
    let fixture = Fixture::start().await;
    fixture
        .deployment
        .queue_remove(fixture.deployment.queue_url())
        .await
        .unwrap();
    let ended = fixture.invoke(&ecr("111122223333", "PUSH")).await;
    let Ended::Failed(error) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(error["errorType"], "UNAVAILABLE");
}

#[tokio::test]
async fn without_a_document_an_event_fails_its_invocation() {
    let fixture = Fixture::without_document().await;
    let Ended::Failed(error) = fixture.invoke(&ecr("111122223333", "PUSH")).await else {
        panic!("{}", fixture.lambda.log());
    };
    assert_eq!(error["errorType"], "CONFIG_UNAVAILABLE");
}

#[tokio::test]
async fn what_is_no_event_at_all_fails_alone() {
    let fixture = Fixture::start().await;
    for event in [json!({}), json!([1]), json!("text"), json!({ "Records": [] })] {
        let ended = fixture.invoke(&event).await;
        assert!(matches!(ended, Ended::Failed(_)), "{event}: {ended:?}");
    }
    assert_eq!(fixture.deliver(&push("v1")).await.status, 202);
    assert_eq!(fixture.lambda.starts().len(), 1);
}
