//! What an operator sees of what is broken: the row of the task and of its execution, the log line and the metric.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_engine::ledger::ExecutionQuery;
use transship_engine::operations::list_executions;
use transship_engine::{CopyTask, Envelope, ExecutionRecord, ExecutionState, Sweep, SweepStep, TaskRecord, TaskState};
use transship_testkit::faults::{Action, Fault, Script};

use crate::fixture::{Fixture, TIMEOUT, body};

/// The only destination with a login.
pub fn locked() -> Auth {
    Auth::Basic {
        user: "robot".into(),
        password: "right".into(),
    }
}

/// The document, in which `b` has the endpoint and the credentials given.
pub fn document(fixture: &Fixture, endpoint: &str, credentials: Option<&str>, rules: &[&str]) -> String {
    let mut destination = json!({ "provider": "distribution", "endpoint": endpoint });
    if let Some(credentials) = credentials {
        destination["credentials"] = credentials.into();
    }
    let rule = |name: &&str| {
        json!({
            "name": name,
            "source": { "registry": "a", "namespace": "core" },
            "destination": { "registry": "b", "namespace": "copy" },
        })
    };
    json!({
        "version": 1,
        "registries": { "a": { "provider": "distribution", "endpoint": fixture.a.url() }, "b": destination },
        "rules": rules.iter().map(rule).collect::<Vec<_>>(),
    })
    .to_string()
}

/// The only task and the only execution.
async fn rows(fixture: &Fixture) -> (TaskRecord, ExecutionRecord) {
    let mut tasks = fixture.tasks().await;
    let (_, ledger) = fixture.ledger().await;
    let mut executions = list_executions(ledger.as_ref(), &ExecutionQuery::default(), 0)
        .await
        .unwrap();
    assert_eq!((tasks.len(), executions.len()), (1, 1), "{tasks:?} {executions:?}");
    (tasks.remove(0), executions.remove(0))
}

/// The task waits with this code, and everything that an operator reads says so.
async fn assert_waits(fixture: &Fixture, code: &str) {
    let (task, execution) = rows(fixture).await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Waiting, Some(code)),
        "{task:?}"
    );
    assert!(task.next.is_some_and(|next| next > task.created), "{task:?}");
    assert_eq!(
        (execution.state, execution.code.as_deref()),
        (ExecutionState::Waiting, Some(code)),
        "{execution:?}"
    );
    let lines = fixture.logged("code", code);
    assert!(lines.iter().any(|line| line["level"] == "WARN"), "{lines:?}");
    let log = fixture.lambda.log();
    let ages: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| !line["OldestUnfinishedTask"].is_null())
        .collect();
    assert!(ages.iter().any(|line| line["Stack"] == "prod"), "{log}");
}

async fn assert_copied(fixture: &Fixture, id: &str, task: &CopyTask) {
    assert!(fixture.work(&[(id, &body(task))]).await.is_empty());
    let (task, execution) = rows(fixture).await;
    assert_eq!(
        (task.state, execution.state),
        (TaskState::Succeeded, ExecutionState::Succeeded),
        "{task:?} {execution:?}"
    );
}

#[tokio::test]
async fn a_secret_that_is_missing_is_waited_for() {
    let mut fixture = Fixture::without_document(TIMEOUT).await;
    fixture.b = EmbeddedRegistry::builder().auth(locked()).start().await.unwrap();
    let login = Some("secretsmanager:transship/b");
    let text = document(&fixture, &fixture.b.url(), login, &["core"]);
    fixture.deployment.document_put(&text).await.unwrap();
    let (sample, task) = fixture.image(1);
    assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
    assert_waits(&fixture, "CREDENTIALS_UNAVAILABLE").await;
    let (row, _) = rows(&fixture).await;
    let message = row.message.unwrap_or_default();
    assert!(message.contains("secretsmanager:transship/b"), "{message}");

    fixture
        .deployment
        .secret_create("transship/b", "robot:right")
        .await
        .unwrap();
    // A failure is remembered for some seconds.
    fixture.restart();
    assert_copied(&fixture, "2", &task).await;
    assert!(fixture.has(&sample, &task));
}

#[tokio::test]
async fn a_wrong_login_fails_at_once_with_its_code_and_is_counted() {
    let mut fixture = Fixture::without_document(TIMEOUT).await;
    fixture.b = EmbeddedRegistry::builder().auth(locked()).start().await.unwrap();
    let login = Some("secretsmanager:transship/b");
    let text = document(&fixture, &fixture.b.url(), login, &["core"]);
    fixture.deployment.document_put(&text).await.unwrap();
    fixture
        .deployment
        .secret_create("transship/b", "robot:wrong")
        .await
        .unwrap();
    let (_, task) = fixture.image(1);
    assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
    let (row, execution) = rows(&fixture).await;
    assert_eq!(
        (row.state, row.code.as_deref(), execution.state),
        (TaskState::Failed, Some("AUTH_FAILED"), ExecutionState::Failed)
    );
    assert_eq!(fixture.logged("State", "failed")[0]["Tasks"], 1.0);
    assert_eq!(fixture.logged("code", "AUTH_FAILED")[0]["level"], "ERROR");
}

#[tokio::test]
async fn a_registry_that_is_down_or_whose_disk_is_full_is_waited_for() {
    let fixture = Fixture::without_document(TIMEOUT).await;
    let text = document(&fixture, "http://127.0.0.1:1", None, &["core"]);
    fixture.deployment.document_put(&text).await.unwrap();
    let (_, task) = fixture.image(1);
    assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
    assert_waits(&fixture, "CONNECT_FAILED").await;

    let fixture = Fixture::start(TIMEOUT).await;
    let full = Action::Status {
        code: 500,
        headers: Vec::new(),
        body: r#"{"errors":[{"code":"UNKNOWN","detail":{"Err":"no space left on device"}}]}"#.into(),
    };
    let fault = Fault::new("POST", "/v2/copy/", full).unwrap().always();
    fixture.b.set_faults(Some(Arc::new(Script::new([fault]))));
    let (sample, task) = fixture.image(1);
    assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
    assert_waits(&fixture, "REGISTRY_UNAVAILABLE").await;
    let (row, _) = rows(&fixture).await;
    assert!(row.message.unwrap().contains("no space left on device"));
    fixture.b.set_faults(None);
    assert_copied(&fixture, "2", &task).await;
    assert!(fixture.has(&sample, &task));
}

#[tokio::test]
async fn a_quota_fails_once_with_the_words_of_the_registry_however_often_it_is_swept() {
    let fixture = Fixture::start(TIMEOUT).await;
    let words = "adding 3.0 KiB of storage resource will exceed the configured upper limit";
    let quota = Action::Status {
        code: 403,
        headers: Vec::new(),
        body: json!({ "errors": [{ "code": "DENIED", "message": words }] })
            .to_string()
            .into(),
    };
    let faults = ["POST", "PUT"].map(|method| Fault::new(method, "/v2/copy/", quota.clone()).unwrap().always());
    fixture.b.set_faults(Some(Arc::new(Script::new(faults))));
    let (sample, mut task) = fixture.image(1);
    task.expected = Some(sample.root.clone());
    assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
    let (row, _) = rows(&fixture).await;
    assert_eq!(
        (row.state, row.code.as_deref()),
        (TaskState::Failed, Some("ACCESS_DENIED"))
    );
    assert!(row.message.unwrap().contains(words));

    let step = SweepStep::Rule {
        rule: "core".into(),
        after: None,
    };
    let sweep = Envelope::new(Sweep {
        started: None,
        step: Some(step),
    });
    let sweep = sweep.to_json().unwrap();
    for id in ["2", "3"] {
        assert!(fixture.work(&[(id, &sweep)]).await.is_empty());
        fixture.drain().await;
        let (row, _) = rows(&fixture).await;
        assert_eq!(row.attempts, 1, "{row:?}");
    }
}

#[tokio::test]
async fn waiting_tasks_of_a_rule_or_registry_that_was_removed_end_with_the_reason() {
    for (rules, registry, state, code) in [
        (&["other"][..], "b", TaskState::Cancelled, "RULE_REMOVED"),
        (&["core"][..], "z", TaskState::Failed, "UNKNOWN_REGISTRY"),
    ] {
        let mut fixture = Fixture::without_document(TIMEOUT).await;
        let text = document(&fixture, "http://127.0.0.1:1", None, &["core"]);
        fixture.deployment.document_put(&text).await.unwrap();
        let (_, mut task) = fixture.image(1);
        // Older than any difference of clocks, so that the new document is known to be newer.
        task.execution.created = task.execution.created.saturating_sub(Duration::from_mins(10)).unwrap();
        assert!(fixture.work(&[("1", &body(&task))]).await.is_empty());
        assert_waits(&fixture, "CONNECT_FAILED").await;

        let text = document(&fixture, &fixture.b.url(), None, rules);
        let text = text
            .replace("\"b\":", &format!("\"{registry}\":"))
            .replace("\"registry\":\"b\"", &format!("\"registry\":\"{registry}\""));
        fixture.deployment.document_put(&text).await.unwrap();
        fixture.restart();
        assert!(fixture.work(&[("2", &body(&task))]).await.is_empty());
        let (row, _) = rows(&fixture).await;
        assert_eq!((row.state, row.code.as_deref()), (state, Some(code)), "{row:?}");
        assert!(!fixture.logged("code", code).is_empty(), "{}", fixture.lambda.log());
        assert!(
            fixture.b.tags(&task.destination.repository).is_empty(),
            "nothing arrives under a rule that is gone"
        );
    }
}
