//! The commands that look at a ledger, against the table and the queue of a deployed stack, as `MiniStack` plays them.
//!
//! Built with the feature `aws` only: `cargo test --package transship --features aws --test stack`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;
use transship_aws::{Aws, DynamoLedger};
use transship_engine::{Bytes, Ledger, Outcome, TaskState};
use transship_testkit::deployment::{Deployment, TABLE};
use transship_testkit::suites::{execution, task};

struct Stack {
    deployment: Deployment,
    ledger: DynamoLedger,
}

impl Stack {
    async fn start() -> Self {
        let deployment = Deployment::start().await.unwrap();
        let aws = Aws::emulated(&deployment.endpoint()).await;
        let ledger = DynamoLedger::new(&aws, TABLE.to_owned());
        Self { deployment, ledger }
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_transship"))
            .args(arguments)
            .envs(self.deployment.environment())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env_remove("TRANSSHIP_DATA")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        (code, text(output.stdout), text(output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, error) = self.run(arguments);
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&out).unwrap()
    }

    /// Task `number`, ended in `state`.
    async fn ended(&self, number: u32, state: TaskState) {
        // Of now: what is older than the ledger's retention is not listed.
        let (mut task, mut execution) = (task(number), execution(1));
        task.created = Timestamp::now();
        execution.created = task.created;
        self.ledger
            .record(&execution, std::slice::from_ref(&task))
            .await
            .unwrap();
        self.ledger.begin(&task, task.created).await.unwrap();
        let outcome = Outcome {
            state,
            digest: None,
            code: (state == TaskState::Failed).then(|| "AUTH_FAILED".to_owned()),
            message: None,
            bytes: Bytes::default(),
            finished: Timestamp::now(),
        };
        assert!(self.ledger.finish(&task, &outcome, &[]).await.unwrap());
    }
}

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
    assert_eq!(message["trigger"], "manual");
    assert!(
        message["source"].to_string().contains("v2"),
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
