//! What can be wrong with a layout.

use transship_copy::{Error as CopyError, ErrorKind as CopyKind};
use transship_oci::Persistence;

/// Results of this crate and of its port.
pub type Result<T> = std::result::Result<T, Error>;

/// A layout error: `kind` decides, `operation` says during what, `source` why.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// During what: `layout /images/app`.
    pub operation: String,
    /// The cause beneath.
    #[source]
    pub source: Option<std::io::Error>,
}

/// What went wrong, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `LAYOUT_INVALID`: no `oci-layout` file, another version, or an `index.json` that is none.
    #[error("this is no OCI image layout: {0}")]
    LayoutInvalid(String),
    /// `LAYOUT_REFERENCE_NOT_FOUND`
    #[error("the layout has no image {wanted:?}; it has {has}")]
    ReferenceNotFound {
        /// The reference asked for.
        wanted: String,
        /// Those there are.
        has: String,
    },
    /// `LAYOUT_REFERENCE_AMBIGUOUS`
    #[error("the layout has several images: name one of {0}")]
    ReferenceAmbiguous(String),
    /// `OBJECT_UNREADABLE`: the store has it and does not give it.
    #[error("{0}")]
    Unreadable(String),
    /// A digest or manifest is refused under its own code.
    #[error("{0}")]
    Content(transship_oci::Error),
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

    /// `OBJECT_UNREADABLE`, for adapters of [`crate::ObjectStore`].
    pub fn unreadable(key: &str, cause: std::io::Error) -> Self {
        Self {
            kind: ErrorKind::Unreadable(cause.to_string()),
            operation: format!("read {key}"),
            source: Some(cause),
        }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match &self.kind {
            ErrorKind::LayoutInvalid(_) => "LAYOUT_INVALID",
            ErrorKind::ReferenceNotFound { .. } => "LAYOUT_REFERENCE_NOT_FOUND",
            ErrorKind::ReferenceAmbiguous(_) => "LAYOUT_REFERENCE_AMBIGUOUS",
            ErrorKind::Unreadable(_) => "OBJECT_UNREADABLE",
            ErrorKind::Content(error) => error.code(),
        }
    }

    /// Whether trying again can help: only an object that could not be read may be readable later.
    pub const fn persistence(&self) -> Persistence {
        match self.kind {
            ErrorKind::Unreadable(_) => Persistence::Temporary(None),
            _ => Persistence::Permanent,
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
        let copied = Self::new(kind, error.operation);
        match error.source {
            Some(cause) => copied.with_source(cause),
            None => copied,
        }
    }
}
