//! Requests of tests to an emulator of AWS, by plain HTTP: queues, one table, buckets, secrets, hosted zones, and stacks.
//!
//! Here because these tests share no code with the product, so no SDK. The signature is a form only: it names the service.
//! Everything is created as the product documents it (the table: `crates/aws/src/ledger/mod.rs`).

mod queue;
mod stack;
mod table;
mod zone;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::http::{self, Response};

pub use queue::{Received, queue_arn};
pub use zone::{UserKey, ZoneRecord};

/// The region of everything.
pub const REGION: &str = "us-east-1";
/// The account of everything.
pub const ACCOUNT: &str = "000000000000";

/// The emulator.
#[derive(Debug, Clone)]
pub struct Aws {
    host: String,
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

    /// [`Aws::ask`] with any response.
    pub fn try_ask(&self, target: &str, body: &Value) -> Response {
        let headers = [("Content-Type", "application/x-amz-json-1.0"), ("X-Amz-Target", target)];
        let body = body.to_string();
        self.request(service_of(target), "POST", "/", &headers, body.as_bytes())
    }

    fn request(&self, service: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut all = vec![("Authorization", signature.as_str())];
        all.extend(headers);
        http::request(method, &self.host, path, &all, body).expect("the emulator answers")
    }

    /// Asks a service of the query protocol.
    fn form(&self, service: &str, fields: &[(&str, &str)]) -> Response {
        let form: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", http::encoded_part(value)))
            .collect();
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.request(service, "POST", "/", &headers, form.join("&").as_bytes())
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
        let answer = self.request("s3", "PUT", path, &[], body);
        assert_eq!(answer.status, 200, "PUT {path}: {}", answer.text());
    }

    /// Writes a secret of Secrets Manager, new or not.
    pub fn secret_put(&self, name: &str, content: &str) {
        let token = token_of(name, content);
        let new = json!({ "Name": name, "SecretString": content, "ClientRequestToken": token });
        if self.try_ask("secretsmanager.CreateSecret", &new).status != 200 {
            let version = json!({ "SecretId": name, "SecretString": content, "ClientRequestToken": token });
            self.ask("secretsmanager.PutSecretValue", &version);
        }
    }
}

/// The service of an operation of the JSON protocols, as signatures name it.
pub fn service_of(target: &str) -> &'static str {
    match target.split('.').next().unwrap_or_default() {
        "AmazonSQS" => "sqs",
        "DynamoDB_20120810" => "dynamodb",
        "secretsmanager" => "secretsmanager",
        "AmazonSSM" => "ssm",
        "Logs_20140328" => "logs",
        "AWSEvents" => "events",
        "TrentService" => "kms",
        _ => "other",
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
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

/// A token that is the same for the same secret, of the form the service asks for.
fn token_of(name: &str, content: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(format!("{name}\n{content}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_names_its_service() {
        assert_eq!(service_of("DynamoDB_20120810.Scan"), "dynamodb");
        assert_eq!(service_of("AmazonSQS.SendMessage"), "sqs");
        assert_eq!(service_of("Unknown.Operation"), "other");
    }
}
