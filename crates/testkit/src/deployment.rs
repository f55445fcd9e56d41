//! The resources of a deployed stack besides its functions, on `MiniStack`: task queue, dead-letter queue, table, bucket.
//!
//! They are used by the tests of the functions' binaries. Requests are plain HTTP and JSON, so that this crate does not need
//! the SDK; the signature only names the service and is not valid. The table must match the documentation of the ledger
//! (`crates/aws/src/ledger/mod.rs`).

use reqwest::Method;
use serde_json::{Value, json};

use crate::ministack::MiniStack;
use crate::{Error, ErrorKind, Result};

/// The name of the ledger's table.
pub const TABLE: &str = "transship";
/// The name of the stack, which is a dimension of its metrics.
pub const STACK: &str = "prod";
/// The name of the task queue.
pub const QUEUE: &str = "tasks";
/// The name of the dead-letter queue.
pub const DEAD_LETTERS: &str = "dead-letters";
/// The name of the queue behind it, which only operators read.
pub const UNDELIVERED: &str = "undelivered";
/// Receives after which a message is moved to the queue behind its own: more than any test needs.
const RECEIVES_MAX: u32 = 1000;
const BUCKET: &str = "configuration";
const DOCUMENT: &str = "transship.yaml";

/// The resources. They are deleted when dropped.
#[derive(Debug)]
pub struct Deployment {
    stack: MiniStack,
    queue_url: String,
    dead_letters_url: String,
    undelivered_url: String,
    client: reqwest::Client,
}

impl Deployment {
    /// Creates all resources, empty and without a document.
    pub async fn start() -> Result<Self> {
        let mut deployment = Self {
            stack: MiniStack::start().await?,
            queue_url: String::new(),
            dead_letters_url: String::new(),
            undelivered_url: String::new(),
            client: crate::http::client(),
        };
        deployment.undelivered_url = deployment.queue_create(UNDELIVERED, None).await?;
        deployment.dead_letters_url = deployment.queue_create(DEAD_LETTERS, Some(UNDELIVERED)).await?;
        deployment.queue_url = deployment.queue_create(QUEUE, Some(DEAD_LETTERS)).await?;
        deployment.table_create().await?;
        deployment.object(Method::PUT, "", "").await?;
        Ok(deployment)
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        self.stack.endpoint()
    }

    /// URL of the task queue.
    pub fn queue_url(&self) -> &str {
        &self.queue_url
    }

    /// URL of the dead-letter queue.
    pub fn dead_letters_url(&self) -> &str {
        &self.dead_letters_url
    }

    /// URL of the queue behind it, which only operators read.
    pub fn undelivered_url(&self) -> &str {
        &self.undelivered_url
    }

    /// The environment of a function of this stack.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("TRANSSHIP_CONFIG", format!("s3://{BUCKET}/{DOCUMENT}")),
            ("TRANSSHIP_QUEUE_URL", self.queue_url.clone()),
            ("TRANSSHIP_UNDELIVERED_URL", self.undelivered_url.clone()),
            ("TRANSSHIP_TABLE", TABLE.to_owned()),
            ("TRANSSHIP_STACK", STACK.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Stores a version of the document for the functions.
    pub async fn document_put(&self, text: &str) -> Result<()> {
        self.object(Method::PUT, &format!("/{DOCUMENT}"), text).await
    }

    /// Creates a secret in Secrets Manager.
    pub async fn secret_create(&self, name: &str, content: &str) -> Result<()> {
        let token = format!("{name:-<32}");
        let request = json!({ "Name": name, "SecretString": content, "ClientRequestToken": token });
        self.ask("secretsmanager.CreateSecret", &request).await.map(drop)
    }

    /// Creates or replaces a parameter in Systems Manager's Parameter Store.
    pub async fn parameter_create(&self, name: &str, content: &str) -> Result<()> {
        let request = json!({ "Name": name, "Value": content, "Type": "SecureString", "Overwrite": true });
        self.ask("AmazonSSM.PutParameter", &request).await.map(drop)
    }

    /// Deletes the document.
    pub async fn document_remove(&self) -> Result<()> {
        self.object(Method::DELETE, &format!("/{DOCUMENT}"), "").await
    }

    /// Receives messages of a queue, including delayed ones: at most ten, which are hidden afterwards.
    /// Bodies of the received messages.
    pub async fn queue_receive(&self, url: &str) -> Result<Vec<String>> {
        let request = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 600 });
        let answer = self.ask("AmazonSQS.ReceiveMessage", &request).await?;
        let messages = answer["Messages"].as_array().into_iter().flatten();
        Ok(messages
            .filter_map(|message| message["Body"].as_str().map(str::to_owned))
            .collect())
    }

    /// Sends a message to a queue.
    pub async fn queue_send(&self, url: &str, body: &str) -> Result<()> {
        let request = json!({ "QueueUrl": url, "MessageBody": body });
        self.ask("AmazonSQS.SendMessage", &request).await.map(drop)
    }

    /// Number of messages in a queue: visible, hidden and delayed ones.
    pub async fn queue_depth(&self, url: &str) -> Result<usize> {
        let request = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
        let answer = self.ask("AmazonSQS.GetQueueAttributes", &request).await?;
        let count = |name: &str| {
            let text = answer["Attributes"][format!("ApproximateNumberOfMessages{name}")].as_str();
            text.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0)
        };
        Ok(["", "NotVisible", "Delayed"].map(count).iter().sum())
    }

    /// Deletes a queue, as an operator could by mistake.
    pub async fn queue_remove(&self, url: &str) -> Result<()> {
        let request = json!({ "QueueUrl": url });
        self.ask("AmazonSQS.DeleteQueue", &request).await.map(drop)
    }

    /// Deletes the table.
    pub async fn table_remove(&self) -> Result<()> {
        let request = json!({ "TableName": TABLE });
        self.ask("DynamoDB_20120810.DeleteTable", &request).await.map(drop)
    }

    /// Creates a queue, before `next` if there is one. Returns its URL.
    async fn queue_create(&self, name: &str, next: Option<&str>) -> Result<String> {
        let mut attributes = json!({});
        if let Some(next) = next {
            let arn = format!("arn:aws:sqs:us-east-1:000000000000:{next}");
            let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": RECEIVES_MAX });
            attributes["RedrivePolicy"] = policy.to_string().into();
        }
        let request = json!({ "QueueName": name, "Attributes": attributes });
        let answer = self.ask("AmazonSQS.CreateQueue", &request).await?;
        Ok(answer["QueueUrl"].as_str().unwrap_or_default().to_owned())
    }

    /// Creates the ledger's table.
    pub async fn table_create(&self) -> Result<()> {
        let definition = table_definition(TABLE);
        self.ask("DynamoDB_20120810.CreateTable", &definition).await.map(drop)
    }

    async fn ask(&self, target: &str, body: &Value) -> Result<Value> {
        let service = match target.split('.').next() {
            Some("AmazonSQS") => "sqs",
            Some("secretsmanager") => "secretsmanager",
            Some("AmazonSSM") => "ssm",
            _ => "dynamodb",
        };
        let request = self
            .client
            .post(self.endpoint())
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .header("authorization", authorization(service))
            .body(body.to_string());
        let text = answered(request, target).await?;
        serde_json::from_str(&text).map_err(|error| Error::new(ErrorKind::RequestFailed, target).with_source(error))
    }

    async fn object(&self, method: Method, path: &str, body: &str) -> Result<()> {
        let operation = format!("{method} {BUCKET}{path}");
        let request = self
            .client
            .request(method, format!("{}/{BUCKET}{path}", self.endpoint()))
            .header("authorization", authorization("s3"))
            .body(body.to_owned());
        answered(request, &operation).await.map(drop)
    }
}

/// The `CreateTable` request for a ledger named `name`, as in the documentation of the ledger and in `template.yaml`.
pub fn table_definition(name: &str) -> Value {
    let key = |hash: &str, range: &str| json!([{ "AttributeName": hash, "KeyType": "HASH" }, { "AttributeName": range, "KeyType": "RANGE" }]);
    let attributes = [
        ("pk", "S"),
        ("sk", "S"),
        ("month", "S"),
        ("month_order", "S"),
        ("list", "S"),
        ("list_order", "S"),
        ("unfinished_of", "S"),
        ("touched", "N"),
    ]
    .map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind }));
    let indexes = json!([
        {
            "IndexName": "months",
            "KeySchema": key("month", "month_order"),
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        },
        {
            "IndexName": "lists",
            "KeySchema": key("list", "list_order"),
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        },
        {
            "IndexName": "unfinished",
            "KeySchema": key("unfinished_of", "touched"),
            "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["repository", "follows"] },
        },
    ]);
    json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": key("pk", "sk"),
        "AttributeDefinitions": attributes,
        "GlobalSecondaryIndexes": indexes,
    })
}

async fn answered(request: reqwest::RequestBuilder, operation: &str) -> Result<String> {
    let failed = |error| Error::new(ErrorKind::RequestFailed, operation).with_source(error);
    let answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    let body = answer.text().await.map_err(failed)?;
    if status.is_success() {
        return Ok(if body.is_empty() { "null".to_owned() } else { body });
    }
    let status = status.as_u16();
    Err(Error::new(ErrorKind::RequestRefused { status, body }, operation))
}

fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}
