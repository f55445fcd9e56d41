//! One request on its way to the emulator: what it asks, and what may be answered in the emulator's place.

use serde_json::{Value, json};

use crate::aws::service_of;
use crate::http::{self, Response};

/// A request on its way.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    fn header(&self, wanted: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    }

    fn target(&self) -> Option<&str> {
        self.header("x-amz-target")
    }

    /// Without a target it is S3: nothing else here is asked otherwise.
    pub(super) fn operation(&self) -> String {
        match self.target() {
            Some(target) => {
                let operation = target.split_once('.').map_or(target, |(_, operation)| operation);
                format!("{} {operation}", service_of(target))
            }
            None => format!("s3 {}", self.method),
        }
    }

    /// The messages of a batch that is sent.
    pub(super) fn batch_size(&self) -> Option<usize> {
        let is_batch = self.target()?.ends_with(".SendMessageBatch");
        let body: Value = is_batch.then(|| serde_json::from_slice(&self.body).ok())??;
        body["Entries"].as_array().map(Vec::len)
    }

    /// Asks the emulator.
    pub(super) fn forward(&self, upstream: &str) -> std::io::Result<Response> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| !is_of_the_connection(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        http::request(&self.method, upstream, &self.path, &headers, &self.body)
    }

    /// Sends the first `count` entries; the others are answered as failed by AWS.
    pub(super) fn forward_part(&self, upstream: &str, count: usize) -> std::io::Result<Response> {
        let mut body: Value = serde_json::from_slice(&self.body)?;
        let mut entries = body["Entries"].as_array().cloned().unwrap_or_default();
        let left = entries.split_off(count.min(entries.len()));
        body["Entries"] = entries.into();
        let part = Self {
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            body: body.to_string().into_bytes(),
        };
        let mut answer = part.forward(upstream)?;
        let failed = left.iter().map(
            |entry| json!({ "Id": entry["Id"], "SenderFault": false, "Code": "InternalError", "Message": "try again" }),
        );
        let mut said = answer.json();
        let mut all = said["Failed"].as_array().cloned().unwrap_or_default();
        all.extend(failed);
        said["Failed"] = all.into();
        answer.body = said.to_string().into_bytes();
        Ok(answer)
    }
}

fn is_of_the_connection(name: &str) -> bool {
    [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "expect",
        "keep-alive",
    ]
    .contains(&name)
}

/// A throttle as the service words it.
pub(super) fn throttle(request: &Request) -> Response {
    let (status, kind, body) = match request.target() {
        None => (
            503,
            "application/xml",
            "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
                .to_owned(),
        ),
        Some(target) => {
            let code = match (service_of(target), request.body.len() % 2) {
                ("dynamodb", 0) => "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                ("dynamodb", _) => "com.amazon.coral.availability#ThrottlingException",
                ("sqs", _) => "com.amazonaws.sqs#RequestThrottled",
                _ => "ThrottlingException",
            };
            let body = json!({ "__type": code, "message": "Rate exceeded" }).to_string();
            (400, "application/x-amz-json-1.0", body)
        }
    };
    Response {
        status,
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        body: body.into_bytes(),
    }
}

/// An answer on the wire. That of a HEAD keeps the length it tells of.
pub(super) fn bytes_of(answer: &Response, is_head: bool) -> Vec<u8> {
    let told = answer
        .headers
        .iter()
        .filter(|(name, _)| !is_of_the_connection(name) || (is_head && name == "content-length"));
    let mut lines = vec![format!("HTTP/1.1 {} .", answer.status)];
    lines.extend(told.map(|(name, value)| format!("{name}: {value}")));
    if !is_head {
        lines.push(format!("content-length: {}", answer.body.len()));
    }
    let head = format!("{}\r\n\r\n", lines.join("\r\n"));
    [head.as_bytes(), &answer.body].concat()
}
