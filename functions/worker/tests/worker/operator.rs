//! What an operator sees of what is broken: the row of the task and of its execution, the log line and the metric.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use transship_aws::{Aws, DynamoLedger, SqsQueue};
use transship_copy::SystemClock;
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_engine::ledger::{Cancels, DeleteGrants, ExecutionQuery, PendingBlobs};
use transship_engine::operations::{Redrive, list_executions};
use transship_engine::{
    CopyTask, Envelope, Execution, ExecutionRecord, ExecutionState, Import, ListPrefix, StoreName, Sweep, SweepStep,
    TaskRecord, TaskState, Trigger,
};
use transship_oci::{Existing, Referrers};
use transship_testkit::deployment::TABLE;
use transship_testkit::faults::{Action, Fault, Script};
use transship_testkit::images;

use crate::fixture::{Fixture, TIMEOUT, body};

/// The only destination with a login.
fn locked() -> Auth {
    Auth::Basic {
        user: "robot".into(),
        password: "right".into(),
    }
}

/// The document, in which `b` has the endpoint and the credentials given.
fn document(fixture: &Fixture, endpoint: &str, credentials: Option<&str>, rules: &[&str]) -> String {
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

async fn ledger(fixture: &Fixture) -> (Aws, Arc<DynamoLedger>) {
    let aws = Aws::emulated(&fixture.deployment.endpoint()).await;
    let ledger = Arc::new(DynamoLedger::new(&aws, TABLE.to_owned()));
    (aws, ledger)
}

/// The only task and the only execution.
async fn rows(fixture: &Fixture) -> (TaskRecord, ExecutionRecord) {
    let mut tasks = fixture.tasks().await;
    let (_, ledger) = ledger(fixture).await;
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

/// Works on what is in the queue until only delayed messages are left.
async fn drain(fixture: &Fixture) {
    loop {
        let messages = fixture
            .deployment
            .queue_receive(fixture.deployment.queue_url())
            .await
            .unwrap();
        if messages.is_empty() {
            return;
        }
        let batch: Vec<_> = messages.iter().map(|body| ("m", body.as_str())).collect();
        for message in batch {
            assert!(fixture.work(&[message]).await.is_empty(), "{}", fixture.lambda.log());
        }
    }
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
        drain(&fixture).await;
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

/// An order of `s3://layouts/in/` to `b/from`, and its execution.
fn order() -> (String, String) {
    let import = Import {
        name: "import".into(),
        registry: "b".into(),
        path: Some("from".parse().unwrap()),
        existing: Existing::default(),
        referrers: Referrers::default(),
    };
    let execution: Execution = import.execution("order 1", jiff::Timestamp::now());
    assert_eq!(execution.trigger, Trigger::Import);
    let id = execution.id.clone();
    let list = ListPrefix::new(import, StoreName::bucket("layouts"), "in/", execution);
    (Envelope::new(list).to_json().unwrap(), id)
}

async fn execution(ledger: &DynamoLedger, id: &str) -> ExecutionRecord {
    let all = list_executions(ledger, &ExecutionQuery::default(), 0).await.unwrap();
    all.into_iter().find(|record| record.id == id).unwrap()
}

/// The key and the bytes of an object.
type Object = (String, Vec<u8>);

/// The objects of a layout below `in/app/`: the last blob, and the others.
fn objects(sample: &images::Sample) -> (Vec<Object>, Object) {
    let folder = tempfile::tempdir().unwrap();
    sample.write_layout(folder.path(), "v1").unwrap();
    let mut found = Vec::new();
    let mut folders = vec![folder.path().to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(folder.path()).unwrap().to_str().unwrap();
                found.push((format!("in/app/{key}"), std::fs::read(&path).unwrap()));
            }
        }
    }
    let (digest, _) = sample.blobs.last_key_value().unwrap();
    let last = digest.to_string().replace(':', "/");
    let position = found.iter().position(|(key, _)| key.ends_with(&last)).unwrap();
    let held = found.remove(position);
    (found, held)
}

async fn put(aws: &Aws, key: &str, bytes: Vec<u8>) {
    let request = aws.s3().put_object().bucket("layouts").key(key);
    request.body(bytes.into()).send().await.unwrap();
}

#[tokio::test]
async fn a_redriven_order_searches_again_and_an_incomplete_source_keeps_it_open() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (aws, ledger) = ledger(&fixture).await;
    let (order, id) = order();
    assert!(fixture.work(&[("1", &order)]).await.is_empty());
    let failed = execution(&ledger, &id).await;
    assert_eq!(
        failed.state,
        ExecutionState::Failed,
        "the bucket does not exist: {failed:?}"
    );

    let redrive = Redrive {
        history: Arc::clone(&ledger) as _,
        cancels: Cancels::new(Arc::clone(&ledger) as _),
        grants: DeleteGrants::new(Arc::clone(&ledger) as _),
        queue: Arc::new(SqsQueue::new(&aws, fixture.deployment.queue_url().to_owned())),
        clock: Arc::new(SystemClock),
    };
    aws.s3().create_bucket().bucket("layouts").send().await.unwrap();
    let empty = redrive.run(Some(&id), 0).await.unwrap().executions.remove(0);
    drain(&fixture).await;
    let still = execution(&ledger, &empty).await;
    assert_eq!(still.state, ExecutionState::Failed, "the bucket is empty: {still:?}");

    let sample = images::image(1, &[3000, 500]);
    let (objects, held) = objects(&sample);
    for (key, bytes) in objects {
        put(&aws, &key, bytes).await;
    }
    let third = redrive.run(Some(&empty), 0).await.unwrap().executions.remove(0);
    drain(&fixture).await;
    let waiting = execution(&ledger, &third).await;
    assert_eq!(
        (waiting.state, waiting.code.as_deref()),
        (ExecutionState::Waiting, Some("SOURCE_INCOMPLETE")),
        "{waiting:?}"
    );

    let (name, bytes) = held;
    put(&aws, &name, bytes).await;
    // As the bulk import does for the event of the upload.
    let (digest, _) = sample.blobs.last_key_value().unwrap();
    let now = jiff::Timestamp::now();
    let pending = PendingBlobs::new(Arc::clone(&ledger) as _);
    let complete = pending.arrived("s3://layouts/in/app/", digest, now).await.unwrap();
    assert_eq!(complete.len(), 1, "the order waits for it");
    assert!(fixture.work(&[("2", &complete[0].job)]).await.is_empty());
    drain(&fixture).await;
    let done = execution(&ledger, &third).await;
    assert_eq!(done.state, ExecutionState::Succeeded, "{done:?}");
    let tag = "v1".parse().unwrap();
    assert_eq!(
        fixture.b.digest(&"from/app".parse().unwrap(), &tag).as_ref(),
        Some(&sample.root)
    );
}
