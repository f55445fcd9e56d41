//! What can go wrong between a delivery and a finished task.

use transship_copy::{Error as CopyError, ErrorKind as CopyKind};
use transship_oci::Persistence;

/// Results of this crate and of its ports.
pub type Result<T> = std::result::Result<T, Error>;

/// An engine error: `kind` decides, `operation` says during what, `source` why.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// During what: `queue send`, `ledger finish`.
    pub operation: String,
    /// The cause beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `QUEUE_UNAVAILABLE`
    #[error("the queue did not take or give messages: {0}")]
    QueueUnavailable(String),
    /// `LEDGER_UNAVAILABLE`
    #[error("the ledger did not answer: {0}")]
    LedgerUnavailable(String),
    /// `SECRET_UNAVAILABLE`: a name is given, never a value.
    #[error("the secret could not be read: {0}")]
    SecretUnavailable(String),
    /// `MESSAGE_INVALID`: a queue message that is no task of ours.
    #[error("the message is not a task: {0}")]
    MessageInvalid(String),
    /// `UNKNOWN_REGISTRY`: a task names a registry the document does not have.
    #[error("the document has no registry {0:?}")]
    UnknownRegistry(String),
    /// `REGISTRY_INVALID`: its entry makes no client.
    #[error("{0}")]
    RegistryInvalid(String),
    /// `STORE_UNKNOWN`: a task reads from a store that cannot be had here.
    #[error("{0:?} is no store that can be read here: tasks of imports are done by the deployed stack")]
    StoreUnknown(String),
    /// `CURSOR_INVALID`: a list cannot be continued from there.
    #[error("the cursor is not one of this list: begin the list again without one")]
    CursorInvalid,
}

impl Error {
    /// An error of `kind` during `operation`.
    pub fn new(kind: ErrorKind, operation: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into(),
            source: None,
        }
    }

    /// The same with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::QueueUnavailable(_) => "QUEUE_UNAVAILABLE",
            ErrorKind::LedgerUnavailable(_) => "LEDGER_UNAVAILABLE",
            ErrorKind::SecretUnavailable(_) => "SECRET_UNAVAILABLE",
            ErrorKind::MessageInvalid(_) => "MESSAGE_INVALID",
            ErrorKind::UnknownRegistry(_) => "UNKNOWN_REGISTRY",
            ErrorKind::RegistryInvalid(_) => "REGISTRY_INVALID",
            ErrorKind::StoreUnknown(_) => "STORE_UNKNOWN",
            ErrorKind::CursorInvalid => "CURSOR_INVALID",
        }
    }

    /// Whether trying again can help.
    pub const fn persistence(&self) -> Persistence {
        match self.kind {
            ErrorKind::MessageInvalid(_)
            | ErrorKind::UnknownRegistry(_)
            | ErrorKind::RegistryInvalid(_)
            | ErrorKind::StoreUnknown(_)
            | ErrorKind::CursorInvalid => Persistence::Permanent,
            _ => Persistence::Temporary(None),
        }
    }
}

impl From<Error> for CopyError {
    fn from(error: Error) -> Self {
        let kind = CopyKind::Adapter {
            code: error.code(),
            message: error.kind.to_string(),
            persistence: error.persistence(),
        };
        Self {
            kind,
            operation: error.operation,
            source: error.source,
        }
    }
}
