//! What a test asks of AWS, by plain HTTP and JSON: queues, one table, one bucket, secrets. An emulator answers.
//!
//! Here because these tests share no code with the product, so no SDK. The signature is a form only: it names the service.
//! Everything is created as the product documents it (the table: `crates/aws/src/ledger/mod.rs`).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value, json};

use crate::http::{self, Response};

/// The region of everything.
pub const REGION: &str = "us-east-1";
/// The account of everything.
pub const ACCOUNT: &str = "000000000000";

/// The emulator.
#[derive(Debug, Clone)]
pub struct Aws {
    host: String,
}

/// A message as a queue hands it out.
#[derive(Debug, Clone)]
pub struct Received {
    /// The same however often it is received.
    pub id: String,
    /// What this receipt is deleted or given back by.
    pub receipt: String,
    /// The body.
    pub body: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
    /// When it was sent: milliseconds since 1970, as text.
    pub sent: String,
}

impl Aws {
    /// The emulator at `host`, `127.0.0.1:port`.
    pub fn at(host: &str) -> Self {
        Self { host: host.to_owned() }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Asks a service of the JSON protocols; `target` is such as `DynamoDB_20120810.Scan`.
    ///
    /// # Panics
    /// Unless it is answered 200.
    pub fn ask(&self, target: &str, body: &Value) -> Value {
        let answer = self.try_ask(target, body);
        assert_eq!(answer.status, 200, "{target} {body}: {}", answer.text());
        answer.json()
    }

    /// [`Aws::ask`] with whatever answer comes.
    pub fn try_ask(&self, target: &str, body: &Value) -> Response {
        let service = service_of(target);
        let headers = [
            ("Content-Type", "application/x-amz-json-1.0"),
            ("X-Amz-Target", target),
            ("Authorization", &authorization(service)),
        ];
        http::request("POST", &self.host, "/", &headers, body.to_string().as_bytes()).expect("the emulator answers")
    }

    /// Makes a standard queue; what is received `receives_max` times goes to `dead` (a name), if one is named. Its URL.
    pub fn queue_create(&self, name: &str, dead: Option<(&str, u32)>) -> String {
        let mut attributes = Map::new();
        if let Some((dead, receives_max)) = dead {
            let policy = json!({ "deadLetterTargetArn": queue_arn(dead), "maxReceiveCount": receives_max });
            attributes.insert("RedrivePolicy".into(), policy.to_string().into());
        }
        let made = self.ask(
            "AmazonSQS.CreateQueue",
            &json!({ "QueueName": name, "Attributes": attributes }),
        );
        text(&made["QueueUrl"])
    }

    /// Sends one message.
    pub fn queue_send(&self, url: &str, body: &str) {
        self.ask(
            "AmazonSQS.SendMessage",
            &json!({ "QueueUrl": url, "MessageBody": body }),
        );
    }

    /// Receives at most 10 messages, hidden for `visibility_s` seconds. Does not wait for any.
    pub fn queue_receive(&self, url: &str, max: usize, visibility_s: u32) -> Vec<Received> {
        let request = json!({
            "QueueUrl": url,
            "MaxNumberOfMessages": max.clamp(1, 10),
            "VisibilityTimeout": visibility_s,
            "WaitTimeSeconds": 0,
            "AttributeNames": ["All"],
        });
        let answer = self.ask("AmazonSQS.ReceiveMessage", &request);
        let messages = answer["Messages"].as_array().into_iter().flatten();
        messages
            .map(|message| Received {
                id: text(&message["MessageId"]),
                receipt: text(&message["ReceiptHandle"]),
                body: text(&message["Body"]),
                receive_count: text(&message["Attributes"]["ApproximateReceiveCount"])
                    .parse()
                    .unwrap_or(1),
                sent: text(&message["Attributes"]["SentTimestamp"]),
            })
            .collect()
    }

    /// Deletes a received message. One that is gone already is no error.
    pub fn queue_delete(&self, url: &str, receipt: &str) {
        self.try_ask(
            "AmazonSQS.DeleteMessage",
            &json!({ "QueueUrl": url, "ReceiptHandle": receipt }),
        );
    }

    /// Gives a received message back, at once. One that is gone already is no error.
    pub fn queue_give_back(&self, url: &str, receipt: &str) {
        self.try_ask(
            "AmazonSQS.ChangeMessageVisibility",
            &json!({ "QueueUrl": url, "ReceiptHandle": receipt, "VisibilityTimeout": 0 }),
        );
    }

    /// All messages of a queue: visible, hidden and delayed ones.
    pub fn queue_depth(&self, url: &str) -> usize {
        let names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let answer = self.ask(
            "AmazonSQS.GetQueueAttributes",
            &json!({ "QueueUrl": url, "AttributeNames": names }),
        );
        let count = |name| text(&answer["Attributes"][name]).parse::<usize>().unwrap_or(0);
        names.into_iter().map(count).sum()
    }

    /// Makes the ledger's table, with its indexes and its time to live.
    pub fn table_create(&self, name: &str) {
        let key = |hash: &str, range: &str| json!([{ "AttributeName": hash, "KeyType": "HASH" }, { "AttributeName": range, "KeyType": "RANGE" }]);
        let attributes = [
            ("pk", "S"),
            ("sk", "S"),
            ("month", "S"),
            ("month_order", "S"),
            ("unfinished_of", "S"),
            ("touched", "N"),
        ]
        .map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind }));
        let indexes = json!([
            { "IndexName": "months", "KeySchema": key("month", "month_order"),
              "Projection": { "ProjectionType": "KEYS_ONLY" } },
            { "IndexName": "unfinished", "KeySchema": key("unfinished_of", "touched"),
              "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["repository", "follows"] } },
        ]);
        self.ask(
            "DynamoDB_20120810.CreateTable",
            &json!({
                "TableName": name, "BillingMode": "PAY_PER_REQUEST", "KeySchema": key("pk", "sk"),
                "AttributeDefinitions": attributes, "GlobalSecondaryIndexes": indexes,
            }),
        );
        self.ask(
            "DynamoDB_20120810.UpdateTimeToLive",
            &json!({ "TableName": name,
                     "TimeToLiveSpecification": { "Enabled": true, "AttributeName": "expires" } }),
        );
    }

    /// Every item of a table, with plain values in place of typed ones.
    pub fn table_scan(&self, name: &str) -> Vec<Value> {
        let (mut items, mut request) = (Vec::new(), json!({ "TableName": name, "ConsistentRead": true }));
        loop {
            let answer = self.ask("DynamoDB_20120810.Scan", &request);
            items.extend(answer["Items"].as_array().into_iter().flatten().map(plain_item));
            match answer.get("LastEvaluatedKey").filter(|key| !key.is_null()) {
                Some(key) => request["ExclusiveStartKey"] = key.clone(),
                None => return items,
            }
        }
    }

    /// Makes a bucket.
    pub fn bucket_create(&self, name: &str) {
        self.put(&format!("/{name}"), &[]);
    }

    /// Puts an object.
    pub fn object_put(&self, bucket: &str, key: &str, body: &[u8]) {
        self.put(&format!("/{bucket}/{}", http::encoded_path(key)), body);
    }

    fn put(&self, path: &str, body: &[u8]) {
        let headers = [("Authorization", authorization("s3"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = http::request("PUT", &self.host, path, &headers, body).expect("the emulator answers");
        assert_eq!(answer.status, 200, "PUT {path}: {}", answer.text());
    }

    /// Makes a secret of Secrets Manager.
    pub fn secret_create(&self, name: &str, content: &str) {
        self.ask(
            "secretsmanager.CreateSecret",
            &json!({ "Name": name, "SecretString": content, "ClientRequestToken": format!("{name:-<32.32}") }),
        );
    }
}

/// The ARN of a queue.
pub fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

/// The service of an operation of the JSON protocols, as signatures name it.
pub fn service_of(target: &str) -> &'static str {
    match target.split('.').next().unwrap_or_default() {
        "AmazonSQS" => "sqs",
        "DynamoDB_20120810" => "dynamodb",
        "secretsmanager" => "secretsmanager",
        "AmazonSSM" => "ssm",
        _ => "other",
    }
}

fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn plain_item(item: &Value) -> Value {
    let fields = item.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect::<Map<_, _>>()
        .into()
}

/// `{"S": "a"}` is `"a"`, and so on.
fn plain(typed: &Value) -> Value {
    let Some((kind, value)) = typed.as_object().and_then(|fields| fields.iter().next()) else {
        return typed.clone();
    };
    match kind.as_str() {
        "N" => serde_json::from_str(value.as_str().unwrap_or_default()).unwrap_or_default(),
        "M" => plain_item(value),
        "L" => value.as_array().into_iter().flatten().map(plain).collect(),
        "NULL" => Value::Null,
        // Readable, so that what must not be in it is found.
        "B" => value
            .as_str()
            .and_then(|text| BASE64_STANDARD.decode(text).ok())
            .map_or(Value::Null, |bytes| String::from_utf8_lossy(&bytes).into_owned().into()),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_values_become_plain_ones() {
        let item = json!({
            "pk": { "S": "E#1" }, "attempts": { "N": "3" }, "follows": { "BOOL": true }, "code": { "NULL": true },
            "digests": { "L": [{ "S": "a" }, { "M": { "b": { "N": "1.5" } } }] }, "hash": { "B": "c2VjcmV0" },
            "names": { "SS": ["x", "y"] },
        });
        assert_eq!(
            plain_item(&item),
            json!({ "pk": "E#1", "attempts": 3, "follows": true, "code": null, "digests": ["a", { "b": 1.5 }],
                    "hash": "secret", "names": ["x", "y"] })
        );
    }

    #[test]
    fn an_operation_names_its_service() {
        assert_eq!(service_of("DynamoDB_20120810.Scan"), "dynamodb");
        assert_eq!(service_of("AmazonSQS.SendMessage"), "sqs");
        assert_eq!(service_of("Unknown.Operation"), "other");
    }
}
