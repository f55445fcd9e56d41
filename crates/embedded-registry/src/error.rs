//! Errors of starting the registry. After the start, rejected requests are responses, not errors.

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error with its kind, the operation that failed, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// Kind of the error.
    pub kind: ErrorKind,
    /// The operation that failed: `bind 127.0.0.1:0`.
    pub operation: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of errors, each with a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `BIND_FAILED`: no port could be bound on the loopback address.
    #[error("cannot bind the loopback address; check the process limits")]
    BindFailed,
    /// `NOTIFY_URL_INVALID`
    #[error("the notification address is not an http:// URL; expected one such as http://127.0.0.1:8080/hooks/source")]
    NotifyUrlInvalid,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into(),
            source: None,
        }
    }

    #[must_use]
    pub(crate) fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::BindFailed => "BIND_FAILED",
            ErrorKind::NotifyUrlInvalid => "NOTIFY_URL_INVALID",
        }
    }
}
