//! The dead-letter queue, whose messages the same function receives.

use transship_engine::TaskState;
use transship_testkit::deployment::DEAD_LETTERS;

use crate::fixture::{Fixture, TIMEOUT, body, failures};

#[tokio::test]
async fn dead_letters_end_their_tasks_and_foreign_ones_are_set_aside() {
    // There is no document, because recording dead letters does not need one.
    let fixture = Fixture::without_document(TIMEOUT).await;
    let (_, task) = fixture.image(1);
    let messages = [
        ("1", body(&task)),
        ("2", "no JSON".into()),
        ("3", r#"{"version":1,"sweep":{}}"#.into()),
        ("4", body(&task)),
    ];
    let messages: Vec<(&str, &str)> = messages.iter().map(|(id, body)| (*id, body.as_str())).collect();
    let ended = fixture.invoke(DEAD_LETTERS, &messages).await;
    assert_eq!(failures(&ended), Vec::<String>::new());
    let undelivered = fixture.deployment.undelivered_url();
    let aside = fixture.deployment.queue_receive(undelivered).await.unwrap();
    assert_eq!(aside, ["no JSON"]);
    let recorded = fixture.tasks().await;
    assert_eq!(recorded.len(), 1);
    assert_eq!(
        (recorded[0].state, recorded[0].code.as_deref()),
        (TaskState::Failed, Some("WORKER_CRASHED"))
    );
    assert_eq!(fixture.logged("State", "failed")[0]["Tasks"], 1.0);
    assert!(fixture.work(&[("5", &body(&task))]).await.is_empty());
}

#[tokio::test]
async fn a_foreign_letter_that_cannot_be_set_aside_stays() {
    let fixture = Fixture::without_document(TIMEOUT).await;
    let undelivered = fixture.deployment.undelivered_url();
    fixture.deployment.queue_remove(undelivered).await.unwrap();
    let ended = fixture.invoke(DEAD_LETTERS, &[("1", "no JSON")]).await;
    assert_eq!(failures(&ended), ["1"]);
    assert!(!fixture.logged("code", "QUEUE_UNAVAILABLE").is_empty());
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_recorded_stays() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (_, task) = fixture.image(1);
    fixture.deployment.table_remove().await.unwrap();
    let ended = fixture.invoke(DEAD_LETTERS, &[("1", &body(&task))]).await;
    assert_eq!(failures(&ended), ["1"]);
    assert!(!fixture.logged("code", "LEDGER_UNAVAILABLE").is_empty());
}
