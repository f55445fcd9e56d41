//! A deployed stack, two registries, and the worker.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use transship_aws::{Aws, DynamoLedger, SqsQueue};
use transship_copy::SystemClock;
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::ledger::{By, Cancels, DeleteGrants, TaskQuery};
use transship_engine::operations::{Redrive, list_tasks};
use transship_engine::{CopyTask, Envelope, Execution, ImageRef, Source, TaskRecord};
use transship_oci::{Repository, Tag, Target};
use transship_testkit::deployment::{Deployment, QUEUE, TABLE};
use transship_testkit::images::{self, Sample};
use transship_testkit::lambda_runtime::{Ended, Function, Lambda, events};
use transship_testkit::suites;

/// Time limit that none of these tests reaches.
pub const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Fixture {
    pub a: EmbeddedRegistry,
    pub b: EmbeddedRegistry,
    pub deployment: Deployment,
    pub lambda: Lambda,
}

impl Fixture {
    /// Starts everything with the document.
    pub async fn start(timeout: Duration) -> Self {
        let fixture = Self::without_document(timeout).await;
        fixture.deployment.document_put(&fixture.document()).await.unwrap();
        fixture
    }

    pub async fn without_document(timeout: Duration) -> Self {
        let a = EmbeddedRegistry::builder().start().await.unwrap();
        let b = EmbeddedRegistry::builder().start().await.unwrap();
        let deployment = Deployment::start().await.unwrap();
        Self {
            lambda: lambda(&deployment, timeout),
            a,
            b,
            deployment,
        }
    }

    /// The next event starts a new environment, with a log of its own.
    pub fn restart(&mut self) {
        self.lambda = lambda(&self.deployment, TIMEOUT);
    }

    pub fn document(&self) -> String {
        let registry = |registry: &EmbeddedRegistry| json!({ "provider": "distribution", "endpoint": registry.url() });
        let document = json!({
            "version": 1,
            "registries": { "a": registry(&self.a), "b": registry(&self.b) },
            "rules": [{
                "name": "core",
                "source": { "registry": "a", "namespace": "core" },
                "destination": { "registry": "b", "namespace": "copy" },
            }],
        });
        document.to_string()
    }

    /// Pushes an image to `a` as `core/app:v{number}`, and returns the task that copies it to `b`.
    pub fn image(&self, number: u32) -> (Sample, CopyTask) {
        let sample = images::image(u64::from(number), &[3000, 500]);
        let task = task(number);
        sample.seed_into(&self.a, &"core/app".parse().unwrap(), &tag(number));
        (sample, task)
    }

    /// True if `b` has the image of the task.
    pub fn has(&self, sample: &Sample, task: &CopyTask) -> bool {
        let tag = task.destination.target.tag().unwrap();
        self.b.digest(&task.destination.repository, tag).as_ref() == Some(&sample.root)
    }

    /// Invokes the worker with a batch of the task queue, and returns the ids of the messages that failed.
    pub async fn work(&self, messages: &[(&str, &str)]) -> Vec<String> {
        failures(&self.invoke(QUEUE, messages).await)
    }

    pub async fn invoke(&self, queue: &str, messages: &[(&str, &str)]) -> Ended {
        self.lambda.invoke(&events::sqs(queue, messages)).await.unwrap()
    }

    pub async fn tasks(&self) -> Vec<TaskRecord> {
        let (_, ledger) = self.ledger().await;
        list_tasks(ledger.as_ref(), &TaskQuery::new(By::Newest), 0)
            .await
            .unwrap()
    }

    pub async fn ledger(&self) -> (Aws, Arc<DynamoLedger>) {
        let aws = Aws::emulated(&self.deployment.endpoint()).await;
        let ledger = Arc::new(DynamoLedger::new(&aws, TABLE.to_owned()));
        (aws, ledger)
    }

    pub fn redrive(&self, aws: &Aws, ledger: &Arc<DynamoLedger>) -> Redrive {
        Redrive {
            history: Arc::clone(ledger) as _,
            cancels: Cancels::new(Arc::clone(ledger) as _),
            grants: DeleteGrants::new(Arc::clone(ledger) as _),
            queue: Arc::new(SqsQueue::new(aws, self.deployment.queue_url().to_owned())),
            clock: Arc::new(SystemClock),
        }
    }

    /// Works on what is in the queue until only delayed messages are left.
    pub async fn drain(&self) {
        loop {
            let messages = self
                .deployment
                .queue_receive(self.deployment.queue_url())
                .await
                .unwrap();
            if messages.is_empty() {
                return;
            }
            for body in &messages {
                assert!(self.work(&[("m", body)]).await.is_empty(), "{}", self.lambda.log());
            }
        }
    }

    /// The sum of a metric in the log.
    pub fn counted(&self, metric: &str) -> f64 {
        let log = self.lambda.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line[metric].as_f64()).sum()
    }

    /// The lines of the log in which `field` is `value`.
    pub fn logged(&self, field: &str, value: &str) -> Vec<Value> {
        let log = self.lambda.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line[field] == value).collect()
    }
}

fn lambda(deployment: &Deployment, timeout: Duration) -> Lambda {
    let function = Function {
        program: env!("CARGO_BIN_EXE_transship-worker").into(),
        environment: deployment.environment(),
        timeout,
    };
    Lambda::new(function, 1).unwrap()
}

/// The ids of the failures in a response.
pub fn failures(ended: &Ended) -> Vec<String> {
    let Ended::Answered(answer) = ended else {
        panic!("{ended:?}");
    };
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned())
        .collect()
}

/// The task from `a/core/app:v{number}` to `b/copy/app:v{number}`, of an event received now.
pub fn task(number: u32) -> CopyTask {
    let place = |registry: &str, repository: &str| ImageRef {
        registry: registry.into(),
        repository: repository.parse::<Repository>().unwrap(),
        target: Target::Tag(tag(number)),
    };
    let sample = suites::copy_task(number);
    CopyTask {
        execution: Execution {
            rule: "core".into(),
            created: jiff::Timestamp::now(),
            ..sample.execution
        },
        source: Source::Registry(place("a", "core/app")),
        destination: place("b", "copy/app"),
        expected: None,
        own: None,
        ..sample
    }
}

pub fn body(task: &CopyTask) -> String {
    Envelope::new(task.clone()).to_json().unwrap()
}

fn tag(number: u32) -> Tag {
    format!("v{number}").parse().unwrap()
}
