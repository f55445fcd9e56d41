//! Errors of deliveries. They are always permanent, because the same delivery fails in the same way.

use transship_oci::Persistence;

use crate::Format;

/// An error with its kind, the operation that failed, and the cause. It never contains a secret or text of the body.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    /// Which refusal.
    pub kind: ErrorKind,
    /// During what: `authenticate` or `parse`.
    pub operation: &'static str,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The refusals, each with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `DELIVERY_INVALID`: the body is not of this format; HTTP 400, exit 2.
    #[error("the body is not a delivery of this format: {0}")]
    DeliveryInvalid(String),
    /// `NOT_AUTHENTIC`: the sender does not know the secret; HTTP 401, exit 3.
    #[error("the delivery does not contain the secret: set the Authorization header at the sender to the secret")]
    NotAuthentic,
    /// `FORMAT_NOT_YET_SUPPORTED`
    #[error("this version does not support deliveries of the format {0}")]
    FormatNotYetSupported(Format),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self {
            kind,
            operation,
            source: None,
        }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::new(ErrorKind::DeliveryInvalid(why.into()), "parse")
    }

    /// A body that is not JSON of the right shape. Only line and column are reported, because the text may hold anything.
    pub(crate) fn not_json(error: serde_json::Error) -> Self {
        let why = match error.classify() {
            serde_json::error::Category::Eof => "it is cut off".to_owned(),
            serde_json::error::Category::Data => "a required field is missing".to_owned(),
            _ => format!("it is not JSON at line {}, column {}", error.line(), error.column()),
        };
        Self {
            source: Some(Box::new(error)),
            ..Self::invalid(why)
        }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::DeliveryInvalid(_) => "DELIVERY_INVALID",
            ErrorKind::NotAuthentic => "NOT_AUTHENTIC",
            ErrorKind::FormatNotYetSupported(_) => "FORMAT_NOT_YET_SUPPORTED",
        }
    }

    /// Always [`Persistence::Permanent`].
    pub const fn persistence(&self) -> Persistence {
        Persistence::Permanent
    }
}
