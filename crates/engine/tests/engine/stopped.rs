//! Rules that are removed or disabled stop: their tasks that have not begun, or wait, are cancelled. A version of the document
//! that may be older than a task cancels nothing.

use std::time::Duration;

use transship_embedded_registry::faults::Action;
use transship_engine::ledger::{By, ExecutionQuery, TaskQuery};
use transship_engine::operations::{find_execution, list_executions, list_tasks};
use transship_engine::{ExecutionState, Next, TaskState};
use transship_testkit::images;

use crate::fixture::{Fixture, RULE, document};
use crate::replicate::{always, now};

const OTHER: &str =
    "  - { name: other, source: { registry: a, namespace: other }, destination: { registry: b, namespace: copy } }\n";

fn with(fixture: &Fixture, rules: &str) -> transship_rules::Document {
    document(&fixture.a, &fixture.b, rules)
}

fn disabled() -> String {
    RULE.replace("name: core-images,", "name: core-images, enabled: false,")
}

/// The state and code of the only task.
async fn ended(fixture: &Fixture) -> (TaskState, String) {
    let task = fixture.task().await;
    (task.state, task.code.unwrap_or_default())
}

/// A push whose first attempt found the destination down.
async fn waiting() -> Fixture {
    let fixture = Fixture::new().await;
    fixture
        .b
        .set_faults(Some(always("POST", "/blobs/uploads/", Action::status(503))));
    fixture.push_and_tell(&images::image(1, &[100])).await;
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    assert_eq!(fixture.task().await.state, TaskState::Waiting);
    fixture.b.set_faults(None);
    fixture
}

#[tokio::test]
async fn tasks_of_a_rule_that_is_removed_or_disabled_are_cancelled_with_a_code() {
    for (rules, code) in [(OTHER.to_owned(), "RULE_REMOVED"), (disabled(), "RULE_DISABLED")] {
        let fixture = waiting().await;
        fixture.configuration.replace(with(&fixture, &rules));
        fixture.drain().await;
        assert_eq!(ended(&fixture).await, (TaskState::Cancelled, code.to_owned()));
        assert_eq!(fixture.b.repositories().len(), 0, "nothing was written");
        let [execution] = fixture.executions().await.try_into().unwrap();
        assert_eq!(execution.state, ExecutionState::Cancelled);
    }
}

#[tokio::test]
async fn a_message_that_comes_again_makes_no_task_of_a_rule_that_was_removed() {
    let fixture = Fixture::new().await;
    let event = fixture.event_of_second("v1", &images::image(1, &[100]).root);
    fixture.push(&images::image(1, &[100]));
    fixture.tell(&event).await;
    fixture.drain().await;
    fixture.push(&images::image(2, &[100]));
    fixture.tell(&event).await;
    fixture.configuration.replace(with(&fixture, OTHER));
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["succeeded"]);
}

#[tokio::test]
async fn a_version_that_may_be_older_than_the_task_cancels_nothing_until_it_is_confirmed() {
    let fixture = waiting().await;
    // This worker read the document before the push, which was accepted under a newer version.
    let before = now(&fixture).checked_sub(Duration::from_mins(1)).unwrap();
    fixture.configuration.replace_with_newest(with(&fixture, OTHER), before);
    fixture.clock.advance(Duration::from_secs(30));
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    assert_eq!(ended(&fixture).await, (TaskState::Waiting, "RULE_UNCLEAR".to_owned()));
    fixture.configuration.confirm(now(&fixture));
    fixture.drain().await;
    assert_eq!(ended(&fixture).await, (TaskState::Cancelled, "RULE_REMOVED".to_owned()));
}

#[tokio::test]
async fn under_a_fallback_document_tasks_of_unknown_rules_and_registries_wait_for_the_next_version() {
    let nothing = "version: 1\nregistries:\n  c: { provider: generic, endpoint: \"http://127.0.0.1:1\" }\nrules: []\n";
    let no_registries = transship_rules::Document::parse(nothing).unwrap().document;
    for fallback in [Some(disabled()), Some(OTHER.to_owned()), None] {
        let fixture = waiting().await;
        let document = fallback.map_or_else(|| no_registries.clone(), |rules| with(&fixture, &rules));
        fixture.configuration.fall_back(document);
        fixture.configuration.confirm(now(&fixture));
        assert!(fixture.configuration.current().is_fallback());
        for _ in 0..3 {
            fixture.clock.advance(Duration::from_hours(25));
            assert!(matches!(fixture.attempt().await, Next::Again(_)));
            assert_eq!(ended(&fixture).await, (TaskState::Waiting, "RULE_UNCLEAR".to_owned()));
        }
        fixture
            .configuration
            .replace_with_newest(with(&fixture, RULE), now(&fixture));
        assert!(!fixture.configuration.current().is_fallback());
        fixture.drain().await;
        assert_eq!(ended(&fixture).await.0, TaskState::Succeeded);
    }
}

#[tokio::test]
async fn an_execution_that_only_waits_says_what_for() {
    let fixture = waiting().await;
    let history = fixture.ledger.as_ref();
    let [listed] = list_executions(history, &ExecutionQuery::default(), 0)
        .await
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(listed.state, ExecutionState::Waiting);
    assert_eq!(listed.code.as_deref(), Some("REGISTRY_UNAVAILABLE"));
    assert!(listed.message.is_some() && listed.duration_ms.is_none());
    assert_eq!(
        find_execution(history, &listed.id).await.unwrap().as_ref(),
        Some(&listed)
    );
    fixture.push_and_tell(&images::image(2, &[100])).await;
    let records = list_executions(history, &ExecutionQuery::default(), 0).await.unwrap();
    let states: Vec<_> = records.iter().map(|record| record.state).collect();
    assert_eq!(
        states.iter().filter(|state| **state == ExecutionState::Running).count(),
        1,
        "{states:?}"
    );
    fixture.drain().await;
    let open = ExecutionQuery {
        is_open: true,
        ..ExecutionQuery::default()
    };
    assert!(list_executions(history, &open, 0).await.unwrap().is_empty());
    let all = list_tasks(history, &TaskQuery::new(By::Newest), 0).await.unwrap();
    assert_eq!(all.len(), 2);
}
