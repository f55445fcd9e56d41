//! A deployed stack and the function.

use std::time::Duration;

use serde_json::{Value, json};
use transship_aws::{Aws, DynamoLedger};
use transship_engine::{Envelope, Job};
use transship_testkit::deployment::{Deployment, TABLE};
use transship_testkit::lambda_runtime::{Ended, Function, Lambda};

pub struct Fixture {
    pub deployment: Deployment,
    pub lambda: Lambda,
}

impl Fixture {
    pub async fn start() -> Self {
        let fixture = Self::without_document().await;
        fixture.deployment.document_put(&document()).await.unwrap();
        fixture
    }

    pub async fn without_document() -> Self {
        let deployment = Deployment::start().await.unwrap();
        Self {
            lambda: lambda(&deployment),
            deployment,
        }
    }

    /// Repeats the same requests to the function.
    pub fn repeat(&mut self) {
        self.lambda = lambda(&self.deployment);
    }

    /// The response of the function.
    pub async fn answer(&self, event: &Value) -> Value {
        match self.lambda.invoke(event).await.unwrap() {
            Ended::Answered(answer) => answer,
            other => panic!("{other:?}\n{}", self.lambda.log()),
        }
    }

    /// The code and message of the invocation's error.
    pub async fn refusal(&self, event: &Value) -> (String, String) {
        match self.lambda.invoke(event).await.unwrap() {
            Ended::Failed(error) => {
                let text = |name: &str| error[name].as_str().unwrap().to_owned();
                (text("errorType"), text("errorMessage"))
            }
            other => panic!("{other:?}\n{}", self.lambda.log()),
        }
    }

    /// The jobs in the queue.
    pub async fn sent(&self) -> Vec<Job> {
        let url = self.deployment.queue_url();
        let bodies = self.deployment.queue_receive(url).await.unwrap();
        bodies.iter().map(|body| Envelope::parse(body).unwrap().job).collect()
    }

    /// The keys of the scanned sources, sorted.
    pub async fn looked_at(&self) -> Vec<String> {
        let key = |job: Job| match job {
            Job::Scan(scan) => scan.source.key,
            other => panic!("{other:?}"),
        };
        let mut keys: Vec<String> = self.sent().await.into_iter().map(key).collect();
        keys.sort();
        keys
    }

    /// The table of the function.
    pub async fn ledger(&self) -> DynamoLedger {
        DynamoLedger::new(&Aws::emulated(&self.deployment.endpoint()).await, TABLE.to_owned())
    }

    /// The sum of a metric over all lines of the log.
    pub fn metric(&self, name: &str) -> f64 {
        let log = self.lambda.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| !line["_aws"].is_null())
            .filter_map(|line| line[name].as_f64())
            .sum()
    }
}

/// Requests are numbered from 1.
fn lambda(deployment: &Deployment) -> Lambda {
    let function = Function {
        program: env!("CARGO_BIN_EXE_transship-bulk-import").into(),
        environment: deployment.environment(),
        timeout: Duration::from_secs(20),
    };
    Lambda::new(function, 1).unwrap()
}

fn document() -> String {
    let document = json!({
        "version": 1,
        "registries": {
            "zhangjiakou": { "provider": "distribution", "endpoint": "https://zhangjiakou.example.com" },
        },
        "imports": [{
            "name": "seed",
            "bucket": "layouts",
            "prefix": "to b+ü/",
            "destination": { "registry": "zhangjiakou", "namespace": "core" },
        }],
    });
    document.to_string()
}

/// S3's event for an upload, with the key in S3's encoding.
pub fn notification(key: &str) -> Value {
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": { "principalId": "AWS:AIDAIENQZJOLO23YVJ4VO" },
        "requestParameters": { "sourceIPAddress": "192.0.2.1" },
        "responseElements": { "x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8" },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "imports",
            "bucket": { "name": "layouts", "ownerIdentity": { "principalId": "A3NL1KOZZKExample" }, "arn": "arn:aws:s3:::layouts" },
            "object": { "key": key, "size": 30, "eTag": "b1946ac92492d2347c6235b4d2611184", "sequencer": "0055AED6DCD90281E5" },
        },
    })
}

/// `EventBridge`'s event for an upload, with the key unchanged.
pub fn eventbridge(key: &str) -> Value {
    json!({
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-01-02T03:04:05Z",
        "region": "us-east-1",
        "resources": ["arn:aws:s3:::layouts"],
        "detail": {
            "version": "0",
            "bucket": { "name": "layouts" },
            "object": { "key": key, "size": 30, "etag": "b1946ac92492d2347c6235b4d2611184", "sequencer": "0055AED6DCD90281E5" },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "111122223333",
            "source-ip-address": "192.0.2.1",
            "reason": "PutObject",
        },
    })
}
