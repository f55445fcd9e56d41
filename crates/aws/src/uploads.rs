//! Parses the invocations of the bulk import function: events of Amazon S3 in their various forms, or an operator's order.
//!
//! S3 reports an upload in two formats, and queues and topics wrap them. A key must be returned as it is in the bucket. A
//! repeated event for the same upload must have the same version. Irrelevant events are ignored, and invalid ones are rejected
//! with a message after the rest of the invocation was parsed.
//!
//! | form | read of it | the key |
//! |---|---|---|
//! | S3 notification: `{"Records":[{"eventSource":"aws:s3",…}]}` | `ObjectCreated:*` | encoded as forms are: `+` is a space |
//! | S3, when a notification is configured: `{"Event":"s3:TestEvent",…}` | nothing | |
//! | `EventBridge`: `{"source":"aws.s3","detail-type":"Object Created",…}` | that | as it is |
//! | SQS or SNS: `Records[].body`, `Records[].Sns.Message` | any of the above, in JSON | |
//! | all else | [`Order`] | as it is |
//!
//! Sources: Amazon S3 user guide, "Event message structure" and "`EventBridge` event message structure"; that `EventBridge` is
//! told keys as they are is what emulators were compared with.

use serde_json::Value;
use transship_engine::{Order, Uploaded};

use crate::store::key::decoded;
use transship_oci::{Code, Error, Operation, Result};

/// Maximum nesting of events in messages: SQS, SNS, and the event.
const NESTING_MAX: usize = 3;

/// The parsed invocation.
#[derive(Debug, Clone)]
pub enum Invocation {
    /// Objects were written. If a message of the invocation is invalid, the other uploads must be accepted and the invocation
    /// must fail with the error.
    Uploads(Vec<Uploaded>, Option<Error>),
    /// An operator wants something imported.
    Order(Order),
    /// An event of no interest.
    Nothing,
}

impl Invocation {
    /// Reads the JSON of an invocation. `EVENT_INVALID` if it is neither an event nor an order.
    pub fn read(event: &Value) -> Result<Self> {
        let mut read = Read::default();
        if is_order(event) {
            return order(event);
        }
        read.event(event, NESTING_MAX);
        match read.refused.map(invalid) {
            Some(error) if read.uploads.is_empty() => Err(error),
            None if read.uploads.is_empty() => Ok(Self::Nothing),
            error => Ok(Self::Uploads(read.uploads, error)),
        }
    }
}

/// True for what has none of the marks of an event.
fn is_order(event: &Value) -> bool {
    let marks = ["Records", "Event", "detail-type"];
    marks.iter().all(|mark| event.get(mark).is_none())
}

fn order(event: &Value) -> Result<Invocation> {
    let order = if event.is_object() {
        serde_json::from_value(event.clone()).map_err(|error| error.to_string())
    } else {
        Err("it is not an object".to_owned())
    };
    order.map(Invocation::Order).map_err(|error| {
        invalid(format!(
            "neither an event of Amazon S3 nor an order ({error}): expected {{\"bucket\":…,\"prefix\":…,\"to\":\"REGISTRY/PATH\"}} \
             or {{\"import\":NAME}}"
        ))
    })
}

fn invalid(why: String) -> Error {
    Error::new(Code::EventInvalid, Operation::default(), why)
}

/// The uploads so far.
#[derive(Default)]
struct Read {
    uploads: Vec<Uploaded>,
    /// The error of the first invalid message.
    refused: Option<String>,
}

impl Read {
    fn event(&mut self, event: &Value, wrapped: usize) {
        if let Some(name) = event.get("Event").and_then(Value::as_str) {
            return ignore(name);
        }
        if let Some(kind) = event.get("detail-type").and_then(Value::as_str) {
            return self.eventbridge(event, kind);
        }
        match event.get("Records").and_then(Value::as_array) {
            Some(records) if !records.is_empty() => {
                for record in records {
                    self.record(record, wrapped);
                }
            }
            // A topic that delivers into a queue: the envelope is the message.
            _ => match text(event, "/Message").filter(|_| text(event, "/Type") == Some("Notification")) {
                Some(message) => self.message(message, wrapped),
                None => {
                    self.refuse("not an event of Amazon S3: it has neither Records nor a source and a detail-type");
                }
            },
        }
    }

    fn record(&mut self, record: &Value, wrapped: usize) {
        let source = text(record, "/eventSource").or_else(|| text(record, "/EventSource"));
        match source {
            Some("aws:s3") => self.notification(record),
            Some("aws:sqs") => self.message(text(record, "/body").unwrap_or_default(), wrapped),
            Some("aws:sns") => self.message(text(record, "/Sns/Message").unwrap_or_default(), wrapped),
            _ => self.refuse("a record has no source that is supported here: Amazon S3, or SQS or SNS with its events"),
        }
    }

    fn message(&mut self, message: &str, wrapped: usize) {
        match serde_json::from_str::<Value>(message) {
            Ok(event) if wrapped > 0 => self.event(&event, wrapped - 1),
            Ok(_) => self
                .refuse("a message holds messages that hold messages: only one queue and one topic are read through"),
            Err(error) => self.refuse(&format!("a message is not an event of Amazon S3: {error}")),
        }
    }

    fn notification(&mut self, record: &Value) {
        let name = text(record, "/eventName").unwrap_or_default();
        // Other stores that speak S3 say what S3 calls it in its configuration.
        let is_upload = name.trim_start_matches("s3:").starts_with("ObjectCreated:");
        if !is_upload {
            return ignore(name);
        }
        let key = text(record, "/s3/object/key").and_then(decoded);
        let version = ["/s3/object/versionId", "/s3/object/eTag", "/s3/object/sequencer"];
        self.upload(
            text(record, "/s3/bucket/name"),
            key,
            &version.map(|part| text(record, part)),
        );
    }

    fn eventbridge(&mut self, event: &Value, kind: &str) {
        let source = text(event, "/source").unwrap_or_default();
        if source != "aws.s3" || kind != "Object Created" {
            return ignore(&format!("{source} {kind}"));
        }
        let key = text(event, "/detail/object/key").map(str::to_owned);
        let version = [
            "/detail/object/version-id",
            "/detail/object/etag",
            "/detail/object/sequencer",
        ];
        self.upload(
            text(event, "/detail/bucket/name"),
            key,
            &version.map(|part| text(event, part)),
        );
    }

    fn upload(&mut self, bucket: Option<&str>, key: Option<String>, version: &[Option<&str>]) {
        let (Some(bucket), Some(key)) = (bucket, key) else {
            return self.refuse("an event of Amazon S3 names no bucket, or no key that can be read");
        };
        // A bucket without versions calls them null, or not at all.
        let known = version.iter().flatten().filter(|part| **part != "null");
        self.uploads.push(Uploaded {
            bucket: bucket.to_owned(),
            key,
            version: known.map(|part| part.trim_matches('"')).collect::<Vec<_>>().join(" "),
        });
    }

    fn refuse(&mut self, why: &str) {
        self.refused.get_or_insert_with(|| why.to_owned());
    }
}

/// The text at this place of a JSON value.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

fn ignore(event: &str) {
    let event: String = event.chars().flat_map(char::escape_default).take(100).collect();
    tracing::info!(
        code = Code::EventIgnored.as_str(),
        event,
        "an event is of no interest: only new objects are"
    );
}

#[cfg(test)]
mod tests;
