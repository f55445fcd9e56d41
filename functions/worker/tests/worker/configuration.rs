//! A document that is missing, invalid or deleted.

use transship_engine::{Envelope, Sweep};

use crate::house::{House, TIMEOUT, body, task};

#[tokio::test]
async fn without_a_document_a_task_waits_until_there_is_one() {
    let house = House::without_document(TIMEOUT).await;
    let (sample, task) = house.image(1);
    let queue = house.deployment.queue_url();
    assert!(house.work(&[("1", &body(&task))]).await.is_empty());
    assert_eq!(house.deployment.queue_depth(queue).await.unwrap(), 1);
    assert_eq!(
        house.logged("code", "CONFIG_UNAVAILABLE").len(),
        1,
        "{}",
        house.lambda.log()
    );

    house
        .deployment
        .document_put("version: 1\nregistires: {}\n")
        .await
        .unwrap();
    assert!(house.work(&[("2", &body(&task))]).await.is_empty());
    assert_eq!(house.deployment.queue_depth(queue).await.unwrap(), 2);

    house.deployment.document_put(&house.document()).await.unwrap();
    assert!(house.work(&[("3", &body(&task))]).await.is_empty());
    assert!(house.has(&sample, &task));
    assert_eq!(house.deployment.queue_depth(queue).await.unwrap(), 2);
}

#[tokio::test]
async fn a_document_that_vanishes_between_two_messages_stays_in_force() {
    let house = House::start(TIMEOUT).await;
    let (first, one) = house.image(1);
    let (second, two) = house.image(2);
    assert!(house.work(&[("1", &body(&one))]).await.is_empty());
    house.deployment.document_remove().await.unwrap();
    assert!(house.work(&[("2", &body(&two))]).await.is_empty());
    assert!(house.has(&first, &one) && house.has(&second, &two));
}

#[tokio::test]
async fn a_sweep_without_a_document_comes_again_and_is_not_multiplied() {
    let house = House::without_document(TIMEOUT).await;
    let sweep = Envelope::new(Sweep::default()).to_json().unwrap();
    assert_eq!(house.work(&[("1", &sweep), ("2", &body(&task(9)))]).await, ["1"]);
    assert_eq!(
        house
            .deployment
            .queue_depth(house.deployment.queue_url())
            .await
            .unwrap(),
        1
    );
}
