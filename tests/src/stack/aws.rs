//! The few calls of AWS that a stack is deployed with and looked at by, over plain HTTP.
//!
//! Signatures are for show: the emulator takes the key `test` for the account's owner and asks for no proof.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::http::{self, Response};

/// An emulated account in `us-east-1`.
#[derive(Debug, Clone)]
pub struct Aws {
    host: String,
}

impl Aws {
    /// The one at `127.0.0.1:port`.
    pub fn at(host: &str) -> Self {
        Self { host: host.to_owned() }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.host)
    }

    fn request(&self, service: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut all = vec![("Authorization", signature.as_str())];
        all.extend(headers);
        http::request(method, &self.host, path, &all, body).expect("the emulator answers")
    }

    /// A call of a service that speaks JSON.
    ///
    /// # Panics
    /// If it is refused.
    pub fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        let headers = [("X-Amz-Target", target), ("Content-Type", "application/x-amz-json-1.1")];
        let answer = self.request(service, "POST", "/", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    }

    fn cloudformation(&self, fields: &[(&str, &str)]) -> String {
        let form: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", http::encoded_part(value)))
            .collect();
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = self.request("cloudformation", "POST", "/", &headers, form.join("&").as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Begins to create a stack.
    pub fn stack_create(&self, name: &str, template: &str, parameters: &[(&str, &str)]) {
        let named: Vec<(String, &str)> = parameters
            .iter()
            .zip(1..)
            .flat_map(|((key, value), number)| {
                let field = format!("Parameters.member.{number}");
                [
                    (format!("{field}.ParameterKey"), *key),
                    (format!("{field}.ParameterValue"), *value),
                ]
            })
            .collect();
        let mut fields = vec![
            ("Action", "CreateStack"),
            ("StackName", name),
            ("TemplateBody", template),
            ("Capabilities.member.1", "CAPABILITY_IAM"),
            ("Capabilities.member.2", "CAPABILITY_AUTO_EXPAND"),
        ];
        fields.extend(named.iter().map(|(field, value)| (field.as_str(), *value)));
        self.cloudformation(&fields);
    }

    /// `CREATE_COMPLETE` and the like.
    pub fn stack_status(&self, name: &str) -> String {
        let text = self.cloudformation(&[("Action", "DescribeStacks"), ("StackName", name)]);
        texts(&text, "StackStatus").into_iter().next().unwrap_or_default()
    }

    /// The reasons of its events.
    pub fn stack_failures(&self, name: &str) -> String {
        let text = self.cloudformation(&[("Action", "DescribeStackEvents"), ("StackName", name)]);
        texts(&text, "ResourceStatusReason").join("; ")
    }

    /// What its template gives out.
    pub fn stack_outputs(&self, name: &str) -> BTreeMap<String, String> {
        let text = self.cloudformation(&[("Action", "DescribeStacks"), ("StackName", name)]);
        texts(&text, "OutputKey")
            .into_iter()
            .zip(texts(&text, "OutputValue"))
            .collect()
    }

    /// A new bucket.
    pub fn bucket_create(&self, bucket: &str) {
        let answer = self.request("s3", "PUT", &format!("/{bucket}"), &[], &[]);
        assert_eq!(answer.status, 200, "bucket {bucket}: {}", answer.text());
    }

    /// Lets a bucket tell the event bus of what is written into it.
    pub fn bucket_tells_events(&self, bucket: &str) {
        let body = "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>";
        let answer = self.request("s3", "PUT", &format!("/{bucket}?notification"), &[], body.as_bytes());
        assert_eq!(answer.status, 200, "bucket {bucket}: {}", answer.text());
    }

    /// Writes an object.
    pub fn object_put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        let path = format!("/{bucket}/{}", http::encoded_path(key));
        let answer = self.request("s3", "PUT", &path, &[], bytes);
        assert_eq!(answer.status, 200, "object {bucket}/{key}: {}", answer.text());
    }

    /// Writes a secret, new or not.
    pub fn secret_put(&self, name: &str, value: &str) {
        let (service, headers) = ("secretsmanager", [("Content-Type", "application/x-amz-json-1.1")]);
        let body = json!({ "Name": name, "SecretString": value, "ClientRequestToken": uuid_of(name, value) });
        let mut all = vec![("X-Amz-Target", "secretsmanager.CreateSecret")];
        all.extend(headers);
        let created = self.request(service, "POST", "/", &all, body.to_string().as_bytes());
        if created.status != 200 {
            let body = json!({ "SecretId": name, "SecretString": value, "ClientRequestToken": uuid_of(name, value) });
            self.call(service, "secretsmanager.PutSecretValue", &body);
        }
    }

    /// Invokes a function and waits for its answer; of one that failed its `errorType` and `errorMessage`.
    pub fn function_invoke(&self, name: &str, event: &Value) -> Value {
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let body = event.to_string();
        self.request("lambda", "POST", &path, &[], body.as_bytes()).json()
    }

    /// Sends a message.
    pub fn queue_send(&self, url: &str, body: &str) {
        self.call(
            "sqs",
            "AmazonSQS.SendMessage",
            &json!({ "QueueUrl": url, "MessageBody": body }),
        );
    }

    /// All messages of a queue, hidden and delayed ones among them.
    pub fn queue_depth(&self, url: &str) -> u64 {
        let body = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
        let answer = self.call("sqs", "AmazonSQS.GetQueueAttributes", &body);
        ["", "NotVisible", "Delayed"]
            .map(|which| {
                let value = &answer["Attributes"][format!("ApproximateNumberOfMessages{which}")];
                value.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
            })
            .iter()
            .sum()
    }

    /// Every item of a table; its attributes as plain JSON, numbers as their text.
    pub fn table_scan(&self, table: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut body = json!({ "TableName": table, "ConsistentRead": true });
        loop {
            let page = self.call("dynamodb", "DynamoDB_20120810.Scan", &body);
            items.extend(page["Items"].as_array().into_iter().flatten().map(plain));
            if page["LastEvaluatedKey"].is_null() {
                return items;
            }
            body["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
        }
    }

    /// The lines of a log group, oldest first.
    pub fn log_lines(&self, group: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut body = json!({ "logGroupName": group });
        loop {
            let page = self.call("logs", "Logs_20140328.FilterLogEvents", &body);
            let messages = page["events"].as_array().into_iter().flatten();
            lines.extend(messages.filter_map(|event| Some(event["message"].as_str()?.trim_end().to_owned())));
            if page["nextToken"].is_null() {
                return lines;
            }
            body["nextToken"] = page["nextToken"].clone();
        }
    }

    /// The pattern of the one rule whose name begins so.
    pub fn event_pattern(&self, prefix: &str) -> Value {
        let rules = self.call("events", "AWSEvents.ListRules", &json!({ "NamePrefix": prefix }));
        let pattern = rules["Rules"][0]["EventPattern"]
            .as_str()
            .expect("the stack has a rule");
        serde_json::from_str(pattern).expect("a pattern is JSON")
    }

    /// True if an event would pass the pattern.
    pub fn event_matches(&self, pattern: &Value, event: &Value) -> bool {
        let body = json!({ "EventPattern": pattern.to_string(), "Event": event.to_string() });
        self.call("events", "AWSEvents.TestEventPattern", &body)["Result"] == true
    }
}

/// The texts of all elements of that name, in their order.
fn texts(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| rest.split_once(&close))
        .map(|(text, _)| text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
        .collect()
}

/// `{"state":{"S":"queued"}}` as `{"state":"queued"}`.
fn plain(item: &Value) -> Value {
    let attributes: Map<String, Value> = item
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, typed)| {
            let value = typed.as_object().and_then(|typed| typed.values().next());
            (name.clone(), value.cloned().unwrap_or_default())
        })
        .collect();
    Value::Object(attributes)
}

/// A token that is the same for the same secret, of the form the service asks for.
fn uuid_of(name: &str, value: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(format!("{name}\n{value}"));
    let hex = hash.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..32]
    )
}
