//! Events from AWS, by an asynchronous invocation.

use serde_json::json;
use transship_testkit::lambda_runtime::Ended;

use crate::house::{House, ecr, push};

#[tokio::test]
async fn a_push_to_ecr_makes_its_task() {
    let house = House::start().await;
    let ended = house.invoke(&ecr("111122223333", "PUSH")).await;
    let Ended::Answered(answer) = ended else {
        panic!("{ended:?}\n{}", house.lambda.log());
    };
    assert_eq!(answer["accepted"], 1);
    let sent = house.sent().await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].source.to_string(), "ecr/core/app:v1.0.0");
    assert_eq!(sent[0].destination.to_string(), "mirror/copy/app:v1.0.0");
}

#[tokio::test]
async fn an_event_of_no_interest_succeeds() {
    let house = House::start().await;
    for event in [ecr("111122223333", "DELETE"), ecr("999988887777", "PUSH")] {
        let ended = house.invoke(&event).await;
        assert!(matches!(ended, Ended::Answered(_)), "{ended:?}");
    }
    assert!(house.sent().await.is_empty());
    assert!(house.lambda.log().contains("HOST_MISMATCH"));
}

#[tokio::test]
async fn an_event_that_cannot_be_made_durable_fails_its_invocation() {
    let house = House::start().await;
    house
        .deployment
        .queue_remove(house.deployment.queue_url())
        .await
        .unwrap();
    let ended = house.invoke(&ecr("111122223333", "PUSH")).await;
    let Ended::Failed(error) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(error["errorType"], "UNAVAILABLE");
}

#[tokio::test]
async fn without_a_document_an_event_fails_its_invocation() {
    let house = House::without_document().await;
    let Ended::Failed(error) = house.invoke(&ecr("111122223333", "PUSH")).await else {
        panic!("{}", house.lambda.log());
    };
    assert_eq!(error["errorType"], "CONFIG_UNAVAILABLE");
}

#[tokio::test]
async fn what_is_no_event_at_all_fails_alone() {
    let house = House::start().await;
    for event in [json!({}), json!([1]), json!("text"), json!({ "Records": [] })] {
        let ended = house.invoke(&event).await;
        assert!(matches!(ended, Ended::Failed(_)), "{event}: {ended:?}");
    }
    assert_eq!(house.deliver(&push("v1")).await.status, 202);
    assert_eq!(house.lambda.starts().len(), 1);
}
