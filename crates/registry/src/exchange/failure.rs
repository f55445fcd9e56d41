//! Converts error responses and failed exchanges to errors.
//!
//! Texts of a registry are shortened and escaped, and queries are removed, before they become part of a message.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::StatusCode;
use rustls::AlertDescription;
use serde::Deserialize;
use transship_oci::{Code, Error, Operation, Persistence, Verb};

use crate::network::Denied;
use crate::pace::Stalled;
use crate::redaction::redacted;
use crate::retry::is_temporary;

/// The body of a refusal. The cause of its error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    /// The codes in it, if it has the form of the specification.
    pub codes: Vec<String>,
    /// Codes, messages and details as one text; the beginning of a body of another form.
    pub message: String,
}

impl ErrorBody {
    /// True if `code` is among the codes.
    pub fn says(&self, code: &str) -> bool {
        self.codes.iter().any(|said| said == code)
    }

    /// The body of the refusal that is `error`; [`None`] if it had none of the form of the specification.
    pub(crate) fn of(error: &Error) -> Option<&Self> {
        error.source()?.downcast_ref()
    }

    pub(crate) fn read(body: &[u8]) -> Self {
        let Ok(list) = serde_json::from_slice::<ErrorList>(body) else {
            return Self {
                codes: Vec::new(),
                message: shown(&String::from_utf8_lossy(body)),
            };
        };
        let text = list
            .errors
            .iter()
            .map(|error| match &error.detail {
                serde_json::Value::Null => format!("{}: {}", error.code, error.message),
                detail => format!("{}: {} ({detail})", error.code, error.message),
            })
            .collect::<Vec<_>>()
            .join("; ");
        Self {
            codes: list.errors.into_iter().map(|error| error.code).collect(),
            message: shown(&text),
        }
    }
}

/// True if `error` was caused by a response whose body has `code`.
pub(crate) fn says(error: &Error, code: &str) -> bool {
    ErrorBody::of(error).is_some_and(|body| body.says(code))
}

/// The error for a response with `status` and this body. `after` is the time of its `Retry-After`.
pub(crate) fn refusal(
    status: StatusCode,
    after: Option<Duration>,
    body: ErrorBody,
    is_tag_immutable: bool,
    operation: &Operation,
) -> Error {
    let text = if body.message.is_empty() {
        status.canonical_reason().unwrap_or("no reason given")
    } else {
        &body.message
    };
    let is_blob_unknown = body.says("MANIFEST_BLOB_UNKNOWN")
        || operation.verb() == Some(Verb::ManifestPut) && (body.says("BLOB_UNKNOWN") || body.says("MANIFEST_UNKNOWN"));
    let number = status.as_u16();
    let answered = |code| Error::new(code, operation, format!("the registry answered {number}: {text}"));
    let error = match number {
        404 | 400 if is_blob_unknown => Error::of(Code::BlobUnknownAtDestination, operation).because(text),
        404 => Error::of(Code::NotFound, operation),
        401 => Error::of(Code::AuthFailed, operation).because(text),
        403 => Error::of(Code::AccessDenied, operation).because(text),
        429 => rate_limited(after, operation),
        400 | 409 | 412 if is_tag_immutable && operation.verb() == Some(Verb::ManifestPut) => {
            Error::of(Code::TagImmutable, operation).because(text)
        }
        _ if is_temporary(status) => {
            answered(Code::RegistryUnavailable).with_persistence(Persistence::Temporary(after))
        }
        _ => answered(Code::RegistryRefused),
    };
    let error = error.with_status(number);
    if body.codes.is_empty() {
        error
    } else {
        error.with_source(body)
    }
}

/// `RATE_LIMITED`, with the wait that the registry asked for.
pub(crate) fn rate_limited(after: Option<Duration>, operation: &Operation) -> Error {
    Error::of(Code::RateLimited, operation).with_persistence(Persistence::Temporary(after))
}

/// `TIMEOUT`; `idle` is the time without progress, not the total time.
pub(crate) fn timed_out(idle: Duration, operation: &Operation) -> Error {
    Error::new(
        Code::Timeout,
        operation,
        format!("no progress for {} s", idle.as_secs()),
    )
}

/// `TIMEOUT` or `TOO_SLOW`, for a transfer that was stopped.
pub(crate) fn stalled(stalled: Stalled, operation: &Operation) -> Error {
    match stalled {
        Stalled::Silent(idle) => timed_out(idle, operation),
        Stalled::Slow => Error::of(Code::TooSlow, operation),
    }
}

/// The error for a failed exchange. The URL is removed from the cause, because an upload location is a capability.
pub(crate) fn transport(error: reqwest::Error, operation: &Operation) -> Error {
    let error = error.without_url();
    if let Some(denied) = causes(&error).find_map(|cause| cause.downcast_ref::<Denied>()) {
        return Error::new(Code::EgressDenied, operation, denied.to_string());
    }
    let is_tls = causes(&error)
        .filter_map(|cause| cause.downcast_ref::<rustls::Error>())
        .any(is_unacceptable);
    let last = shown(&causes(&error).last().map_or_else(String::new, ToString::to_string));
    let failed = if is_tls {
        let message = format!(
            "{}: {last}; check its certificate, or add the authority that signed it to tls.authorities of the registry, \
             or to the bundle that SSL_CERT_FILE names (which replaces the default roots)",
            Code::Tls.meaning()
        );
        Error::new(Code::Tls, operation, message)
    } else if error.is_connect() {
        Error::new(
            Code::ConnectFailed,
            operation,
            format!("no connection to the registry: {last}"),
        )
    } else {
        Error::of(Code::ConnectionBroken, operation).because(last)
    };
    failed.with_source(error)
}

/// True for errors that an operator must fix: an invalid certificate, or no common TLS version or cipher. A damaged message
/// is also a TLS error, but a temporary one.
fn is_unacceptable(error: &rustls::Error) -> bool {
    use AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::PeerIncompatible(_)
        // A server without TLS answers with other content.
        | rustls::Error::InvalidMessage(_) => true,
        rustls::Error::AlertReceived(alert) => matches!(
            *alert,
            Alert::HandshakeFailure
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::AccessDenied
                | Alert::DecryptError
                | Alert::UnknownCA
                | Alert::ProtocolVersion
        ),
        _ => false,
    }
}

/// The error and its causes. An [`io::Error`] returns its cause only by [`io::Error::get_ref`].
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |&cause| {
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => cause.source(),
        }
    })
}

#[derive(Deserialize)]
struct ErrorList {
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

/// Prepares an external text for a message: without credentials, at most 300 characters, one line, without anything that looks
/// like a query.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = redacted(text)
        .trim()
        .chars()
        .take(300)
        .flat_map(char::escape_debug)
        .collect();
    while let Some(start) = out.find('?') {
        let end = out[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ')' | '>'))
            .map_or(out.len(), |at| start + at);
        out.replace_range(start..end, "…");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_quoted_short_and_without_queries() {
        let read = ErrorBody::read(br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"sha256:00"}}]}"#);
        assert_eq!(read.codes, ["MANIFEST_BLOB_UNKNOWN"]);
        assert!(read.message.contains("sha256:00"));
        let text = ErrorBody::read(b"<a href='https://s3.example/x?X-Amz-Signature=secret'>\x1b[31m").message;
        assert!(!text.contains("secret") && !text.contains('\x1b'), "{text}");
        assert!(ErrorBody::read(&vec![b'x'; 100_000]).message.len() <= 400);
    }
}
