//! What can go wrong with the data folder and with Docker's credentials. Queue, ledger and secrets answer in the
//! engine's errors.

use transship_oci::Persistence;

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A local error: `kind` decides, `operation` says during what, `source` why.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// During what: `open /var/lib/transship/transship.db`.
    pub operation: String,
    /// The cause beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `DATA_LOCKED`: another process works in the folder.
    #[error("another transship{0} works in this data folder: stop it, or name another folder")]
    DataLocked(String),
    /// `DATA_TOO_NEW`: a newer release wrote the database.
    #[error(
        "the database has version {found}, this release knows {known}: use a newer release, or another data folder"
    )]
    DataTooNew {
        /// What the file says.
        found: i64,
        /// The newest this release knows.
        known: i64,
    },
    /// `DATA_UNAVAILABLE`: the folder or its database cannot be used; the sentence says why.
    #[error("the data folder cannot be used: {0}")]
    DataUnavailable(String),
    /// `CREDENTIALS_UNAVAILABLE`: a credential file or helper did not do its part. Never holds what they said.
    #[error("the credentials could not be read: {0}")]
    CredentialsUnavailable(String),
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
            ErrorKind::DataLocked(_) => "DATA_LOCKED",
            ErrorKind::DataTooNew { .. } => "DATA_TOO_NEW",
            ErrorKind::DataUnavailable(_) => "DATA_UNAVAILABLE",
            ErrorKind::CredentialsUnavailable(_) => "CREDENTIALS_UNAVAILABLE",
        }
    }

    /// Whether trying again can help.
    pub const fn persistence(&self) -> Persistence {
        match self.kind {
            ErrorKind::DataLocked(_) | ErrorKind::DataUnavailable(_) | ErrorKind::CredentialsUnavailable(_) => {
                Persistence::Temporary(None)
            }
            ErrorKind::DataTooNew { .. } => Persistence::Permanent,
        }
    }
}
