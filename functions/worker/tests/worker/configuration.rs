//! A document that is missing, invalid or deleted.

use transship_engine::{Envelope, Sweep};

use crate::fixture::{Fixture, TIMEOUT, body, task};

#[tokio::test]
async fn without_a_document_a_task_waits_until_there_is_one() {
    let fixture = Fixture::without_document(TIMEOUT).await;
    let (sample, task) = fixture.image(1);
    let queue = fixture.deployment.queue_url();
    assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
    assert_eq!(fixture.deployment.queue_depth(queue).await.unwrap(), 1);
    assert_eq!(
        fixture.logged("code", "CONFIG_UNAVAILABLE").len(),
        1,
        "{}",
        fixture.lambda.log()
    );

    fixture
        .deployment
        .document_put("version: 1\nregistires: {}\n")
        .await
        .unwrap();
    assert!(fixture.work(&[("2", &body(&task))]).await.is_empty());
    assert_eq!(fixture.deployment.queue_depth(queue).await.unwrap(), 2);

    fixture.deployment.document_put(&fixture.document()).await.unwrap();
    assert!(fixture.work(&[("3", &body(&task))]).await.is_empty());
    assert!(fixture.has(&sample, &task));
    assert_eq!(fixture.deployment.queue_depth(queue).await.unwrap(), 2);
}

#[tokio::test]
async fn a_document_that_vanishes_between_two_messages_stays_in_force() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (first, one) = fixture.image(1);
    let (second, two) = fixture.image(2);
    assert!(fixture.work(&[("1", &body(&one))]).await.is_empty());
    fixture.deployment.document_remove().await.unwrap();
    assert!(fixture.work(&[("2", &body(&two))]).await.is_empty());
    assert!(fixture.has(&first, &one) && fixture.has(&second, &two));
}

#[tokio::test]
async fn a_sweep_without_a_document_comes_again_and_is_not_multiplied() {
    let fixture = Fixture::without_document(TIMEOUT).await;
    let sweep = Envelope::new(Sweep::default()).to_json().unwrap();
    assert_eq!(fixture.work(&[("1", &sweep), ("2", &body(&task(9)))]).await, ["1"]);
    assert_eq!(
        fixture
            .deployment
            .queue_depth(fixture.deployment.queue_url())
            .await
            .unwrap(),
        1
    );
}
