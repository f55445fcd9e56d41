//! What the signed requests of both clouds have in common: hashes, times, and the answer.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use ring::{digest, hmac};
use serde_json::Value;
use transship_oci::{Code, Error, Network, Operation, Result};
use transship_registry::{ApiCall, post_api};
use url::Url;

/// Time limit of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer in bytes: a page has 100 records.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The most characters of a service's message that are shown.
const MESSAGE_CHARS_MAX: usize = 200;

/// An API endpoint.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) url: Url,
    /// An endpoint that the operator wrote may be in a private network.
    pub(super) network: Network,
}

impl Endpoint {
    /// The host with its port, as it is signed.
    pub(super) fn authority(&self) -> &str {
        &self.url[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// Posts a signed request. Returns the status and the JSON of the answer.
    pub(super) async fn post(
        &self,
        url: &Url,
        headers: Vec<(&'static str, String)>,
        body: String,
        operation: &Operation,
    ) -> Result<(u16, Value)> {
        let unavailable = |why: &dyn std::fmt::Display| {
            let host = self.authority();
            Error::of(Code::DnsUnavailable, operation.clone()).because(format_args!("{host}: {why}"))
        };
        let call = ApiCall {
            url,
            network: self.network,
            headers,
            body,
        };
        let answered = post_api(call, ANSWER_BYTES_MAX, CALL_TIMEOUT).await;
        let (status, bytes) = answered.map_err(|error| unavailable(&error.message()))?;
        let json = serde_json::from_slice(&bytes);
        let json = json.map_err(|_| unavailable(&format_args!("it answered {status} without JSON")))?;
        Ok((status, json))
    }
}

/// What the codes of a service mean.
pub(super) struct Codes {
    pub(super) clock: &'static [&'static str],
    pub(super) zone: &'static [&'static str],
    /// They begin so.
    pub(super) unavailable: &'static [&'static str],
}

impl Codes {
    /// The error with a code and a message of the service.
    pub(super) fn error(&self, (title, code, message): (&str, &str, &str), operation: &Operation) -> Error {
        let meaning = if self.clock.contains(&code) {
            Code::DnsClockSkew
        } else if self.zone.contains(&code) {
            Code::DnsZoneInvalid
        } else if self.unavailable.iter().any(|begin| code.starts_with(begin)) {
            Code::DnsUnavailable
        } else {
            Code::DnsRefused
        };
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let why = format!("{title} answered {}: {}", code.escape_debug(), message.escape_debug());
        Error::of(meaning, operation.clone()).because(why)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a text does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

pub(super) fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

pub(super) fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// Seconds since 1970.
pub(super) fn seconds(now: SystemTime) -> i64 {
    Timestamp::try_from(now).map_or(0, Timestamp::as_second)
}

/// The time in UTC: `2023-10-26T10:22:32Z`.
pub(super) fn timestamp(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

/// The text of a field, also of a number.
pub(super) fn text(json: &Value, field: &str) -> String {
    match json.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

pub(super) fn number(json: &Value, field: &str) -> u64 {
    json.get(field).and_then(Value::as_u64).unwrap_or_default()
}
