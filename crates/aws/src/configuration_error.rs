//! Why there is no document, or no newer one.

use transship_oci::Persistence;
use transship_rules::Errors;

/// Why a document could not be had: `kind` decides, `operation` says which document.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct ConfigurationError {
    /// What went wrong.
    pub kind: ConfigurationErrorKind,
    /// Which document: `configuration s3://bucket/transship.yaml`.
    pub operation: String,
}

/// What went wrong, with a stable code.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationErrorKind {
    /// `CONFIG_UNAVAILABLE`: it is not there, or we may not read it, or it is too large, or `TRANSSHIP_CONFIG` names none.
    #[error("{0}")]
    Unavailable(String),
    /// It is refused, under the code of its first fault.
    #[error("the document is refused: {0}")]
    Refused(Errors),
}

impl ConfigurationError {
    pub(crate) fn unavailable(name: &str, why: impl Into<String>) -> Self {
        Self {
            kind: ConfigurationErrorKind::Unavailable(why.into()),
            operation: format!("configuration {name}"),
        }
    }

    pub(crate) fn refused(name: &str, errors: Errors) -> Self {
        Self {
            kind: ConfigurationErrorKind::Refused(errors),
            operation: format!("configuration {name}"),
        }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match &self.kind {
            ConfigurationErrorKind::Unavailable(_) => "CONFIG_UNAVAILABLE",
            ConfigurationErrorKind::Refused(errors) => errors.code(),
        }
    }

    /// Always temporary: another version may be there by the next look, and nothing that waits for one is lost.
    pub const fn persistence(&self) -> Persistence {
        Persistence::Temporary(None)
    }
}
