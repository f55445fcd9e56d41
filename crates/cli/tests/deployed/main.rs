//! The commands with a deployed stack and its buckets, on `MiniStack`.
//!
//! Built with the feature `aws` only: `cargo test --package transship --features aws --test deployed`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check;
mod dead_letters;
mod failover;
mod import;
mod ledger;
mod runs;

use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;
use transship_aws::{Aws, DynamoLedger};
use transship_engine::ledger::History;
use transship_engine::{Counts, Outcome, TaskState};
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

    /// Returns exit code, standard output and standard error. It blocks its thread, so a registry of this process needs another
    /// one.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_with(arguments, &[])
    }

    /// Like [`Self::run`], with additional environment variables.
    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_transship"))
            .args(arguments)
            .envs(self.deployment.environment())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env_remove("TRANSSHIP_DATA")
            .envs(environment.iter().copied())
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
        // The time is now, because the ledger does not list tasks that are older than its retention.
        let (mut task, mut execution) = (task(number), execution(1));
        task.created = Timestamp::now();
        execution.created = task.created;
        task.execution = execution;
        self.ledger.record(std::slice::from_ref(&task)).await.unwrap();
        self.ledger.begin(&task, task.created).await.unwrap();
        let outcome = Outcome {
            state,
            digest: None,
            code: (state == TaskState::Failed).then(|| "AUTH_FAILED".to_owned()),
            message: None,
            bytes: Counts::default(),
            finished: Timestamp::now(),
        };
        assert!(self.ledger.finish(&task, &outcome, &[], "").await.unwrap());
    }
}
