//! What an operator repairs: a failed task is redriven, a lost table fills itself again.

use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::ledger::{By, TaskQuery};
use transship_engine::operations::list_tasks;
use transship_engine::{Envelope, Sweep, TaskState};
use transship_testkit::images;

use crate::fixture::{Fixture, TIMEOUT, body};
use crate::operator::{document, locked};

#[tokio::test]
async fn a_failed_task_that_is_redriven_names_its_successor_and_is_missing_no_more() {
    let mut fixture = Fixture::without_document(TIMEOUT).await;
    fixture.b = EmbeddedRegistry::builder().auth(locked()).start().await.unwrap();
    let text = document(
        &fixture,
        &fixture.b.url(),
        Some("secretsmanager:transship/b"),
        &["core"],
    );
    fixture.deployment.document_put(&text).await.unwrap();
    let secrets = &fixture.deployment;
    secrets.secret_create("transship/b", "robot:wrong").await.unwrap();
    let (sample, task) = fixture.image(1);
    assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
    let (aws, ledger) = fixture.ledger().await;
    let mut missing = TaskQuery::new(By::Failed);
    missing.filter.is_redriven = Some(false);
    let failed = list_tasks(ledger.as_ref(), &missing, 0).await.unwrap();
    assert_eq!(failed.len(), 1, "{failed:?}");

    let put = aws.secretsmanager().put_secret_value().secret_id("transship/b");
    put.secret_string("robot:right").send().await.unwrap();
    fixture.restart();
    let redrive = fixture.redrive(&aws, &ledger);
    let begun = redrive.run(None, 0).await.unwrap();
    assert_eq!((begun.redriven, begun.executions.len()), (1, 1));
    assert_eq!(redrive.run(None, 0).await.unwrap().redriven, 0, "it is redriven once");
    fixture.drain().await;
    assert!(fixture.has(&sample, &task));

    let of_new = TaskQuery::new(By::Execution(begun.executions[0].clone()));
    let new = list_tasks(ledger.as_ref(), &of_new, 0).await.unwrap().remove(0);
    assert_eq!(
        (new.state, new.redrive_of.as_deref()),
        (TaskState::Succeeded, Some(&*failed[0].id))
    );
    let old = list_tasks(ledger.as_ref(), &TaskQuery::new(By::Failed), 0)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(old.redriven_by.as_deref(), Some(&*new.id), "{old:?}");
    let still = list_tasks(ledger.as_ref(), &missing, 0).await.unwrap();
    assert!(still.is_empty(), "{still:?}");
}

#[tokio::test]
async fn a_lost_table_is_reported_by_the_next_sweep_and_equal_tags_follow_again() {
    let fixture = Fixture::start(TIMEOUT).await;
    let sweep = Envelope::new(Sweep {
        started: None,
        step: None,
    })
    .to_json()
    .unwrap();
    let (_, one) = fixture.image(1);
    let (_, two) = fixture.image(2);
    assert!(fixture.work(&[("1", &body(&one)), ("2", &body(&two))]).await.is_empty());
    fixture.deployment.table_remove().await.unwrap();
    fixture.deployment.table_create().await.unwrap();

    assert!(fixture.work(&[("3", &sweep)]).await.is_empty());
    fixture.drain().await;
    let log = fixture.lambda.log();
    assert_eq!(fixture.logged("code", "LEDGER_LOST").len(), 1, "{log}");
    assert!((fixture.counted("LedgerLost") - 1.0).abs() < f64::EPSILON, "{log}");

    let moved = images::image(9, &[700]);
    let tag = one.destination.target.tag().unwrap();
    moved.seed_into(&fixture.a, &"core/app".parse().unwrap(), tag);
    assert!(fixture.work(&[("4", &sweep)]).await.is_empty());
    fixture.drain().await;
    assert!(fixture.has(&moved, &one), "{}", fixture.lambda.log());
}
