//! The commands that read a ledger, and `redrive`.

use serde_json::Value;
use transship_engine::TaskState;
use transship_testkit::deployment::TABLE;
use transship_testkit::proxy::{Authority, Certificate, TlsProxy};

use crate::Stack;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployed_ledger_is_looked_at_and_what_failed_begins_anew_once() {
    let stack = Stack::start().await;
    stack.ended(1, TaskState::Succeeded).await;
    stack.ended(2, TaskState::Failed).await;

    let tasks = stack.json(&["tasks", "execution-1", "--json"]);
    let states: Vec<_> = tasks.as_array().unwrap().iter().map(|task| &task["state"]).collect();
    assert_eq!(states, ["failed", "succeeded"], "{tasks}");
    assert_eq!(tasks[0]["code"], "AUTH_FAILED");
    let executions = stack.json(&["executions", "--json", "--table", TABLE]);
    assert_eq!(executions[0]["state"], "partial", "{executions}");

    let first = stack.json(&["redrive", "--json"]);
    assert_eq!(first["redriven"], 1, "{first}");
    let again = stack.json(&["redrive", "execution-1", "--json"]);
    assert_eq!(again["redriven"], 0, "what was redriven is not redriven again: {again}");
    let queue = stack.deployment.queue_url();
    let messages = stack.deployment.queue_receive(queue).await.unwrap();
    assert_eq!(messages.len(), 1);
    let message: Value = serde_json::from_str(&messages[0]).unwrap();
    assert_eq!(message["job"]["execution"]["trigger"], "manual");
    assert!(
        message["job"]["source"].to_string().contains("v2"),
        "it is the one that failed: {message}"
    );
    let queued = stack.json(&["tasks", "--json"]);
    assert_eq!(queued[0]["state"], "queued", "{queued}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_not_there_is_named() {
    let stack = Stack::start().await;
    stack.deployment.table_remove().await.unwrap();
    let (code, _, error) = stack.run(&["tasks"]);
    assert_eq!(code, 1);
    assert!(
        error.starts_with("LEDGER_UNAVAILABLE: ") && error.contains(TABLE),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_is_asked_by_tls_and_only_who_is_believed() {
    let stack = Stack::start().await;
    stack.ended(1, TaskState::Succeeded).await;
    let plain = stack.deployment.endpoint();
    let host = plain.trim_start_matches("http://").parse().unwrap();
    let authority = Authority::new().unwrap();
    let proxy = TlsProxy::start(&host, &authority, Certificate::Right).await.unwrap();
    let (url, roots) = (proxy.url(), authority.roots());
    let asked = |roots: &str| {
        stack.run_with(
            &["tasks", "--json"],
            &[("AWS_ENDPOINT_URL", &url), ("SSL_CERT_FILE", roots)],
        )
    };
    let (code, out, error) = asked(roots.to_str().unwrap());
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("succeeded"), "{out}");

    let other = Authority::new().unwrap();
    let (code, _, error) = asked(other.roots().to_str().unwrap());
    assert_eq!(code, 1, "{error}");
    assert!(
        error.starts_with("LEDGER_UNAVAILABLE: ") && error.contains("certificate"),
        "{error}"
    );
    assert!(!error.contains(&url), "where it was to go may hold a password: {error}");
}
