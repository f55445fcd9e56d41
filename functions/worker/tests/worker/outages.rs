//! A missing table, queue or setting.

use std::time::Duration;

use transship_testkit::lambda_runtime::{Ended, Function, Lambda, events};

use crate::fixture::{Fixture, TIMEOUT, body};

#[tokio::test]
async fn without_the_table_a_task_waits_and_without_the_queue_too_it_comes_again() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (sample, task) = fixture.image(1);
    fixture.deployment.table_remove().await.unwrap();
    let queue = fixture.deployment.queue_url();
    assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
    assert_eq!(fixture.deployment.queue_depth(queue).await.unwrap(), 1);
    assert!(!fixture.logged("code", "LEDGER_UNAVAILABLE").is_empty());

    fixture.deployment.queue_remove(queue).await.unwrap();
    assert_eq!(fixture.work(&[("2", &body(&task)), ("3", "no JSON")]).await, ["2", "3"]);
    assert!(!fixture.logged("code", "QUEUE_UNAVAILABLE").is_empty());

    fixture.deployment.table_create().await.unwrap();
    assert!(fixture.work(&[("4", &body(&task))]).await.is_empty());
    assert!(fixture.has(&sample, &task));
}

#[tokio::test]
async fn an_aws_that_does_not_answer_fails_its_messages_before_the_deadline() {
    let fixture = Fixture::without_document(TIMEOUT).await;
    // Accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut environment = fixture.deployment.environment();
    environment.push((
        "AWS_ENDPOINT_URL".into(),
        format!("http://{}", silent.local_addr().unwrap()),
    ));
    let function = Function {
        program: env!("CARGO_BIN_EXE_transship-worker").into(),
        environment,
        timeout: Duration::from_secs(4),
    };
    let lambda = Lambda::new(function, 1).unwrap();
    let (_, task) = fixture.image(1);
    let ended = lambda
        .invoke(&events::sqs("tasks", &[("1", &body(&task))]))
        .await
        .unwrap();
    assert_eq!(crate::fixture::failures(&ended), ["1"], "{}", lambda.log());
}

#[tokio::test]
async fn a_setting_that_is_missing_is_said_at_the_start() {
    let fixture = Fixture::without_document(TIMEOUT).await;
    let mut environment = fixture.deployment.environment();
    environment.retain(|(name, _)| name != "TRANSSHIP_TABLE");
    let function = Function {
        program: env!("CARGO_BIN_EXE_transship-worker").into(),
        environment,
        timeout: TIMEOUT,
    };
    let lambda = Lambda::new(function, 1).unwrap();
    let ended = lambda.invoke(&events::sqs("tasks", &[])).await.unwrap();
    assert!(matches!(ended, Ended::Crashed(_)), "{ended:?}");
    assert!(lambda.log().contains("TRANSSHIP_TABLE is not set"), "{}", lambda.log());
}
