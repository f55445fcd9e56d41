//! What can keep the registry from starting. Once it runs, refusals are answers, not errors.

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error: `kind` decides, `operation` says during what, `source` why.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// During what: `bind 127.0.0.1:0`.
    pub operation: String,
    /// The cause beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, with a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `BIND_FAILED`: no port could be had on the loopback address.
    #[error("the loopback address could not be bound; see which process limits are in force")]
    BindFailed,
    /// `NOTIFY_URL_INVALID`
    #[error("the notification address is no http:// URL; give one such as http://127.0.0.1:8080/hooks/source")]
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
