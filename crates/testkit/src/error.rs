//! What can keep a test from being set up.

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A testkit error: `kind` decides, `operation` says during what, `source` why.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// During what: `PUT /v2/core/app/manifests/v1`.
    pub operation: String,
    /// The cause beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `PATTERN_INVALID`: a fault whose path is no regular expression.
    #[error("the path of the fault is no regular expression")]
    PatternInvalid,
    /// `BIND_FAILED`
    #[error("the loopback address could not be bound; see which process limits are in force")]
    BindFailed,
    /// `REQUEST_FAILED`: the registry pushed to did not answer.
    #[error("the registry did not answer; see whether it runs")]
    RequestFailed,
    /// `REQUEST_REFUSED`: the registry pushed to answered otherwise than it should.
    #[error("the registry answered {status}: {body}")]
    RequestRefused {
        /// The status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// `PROCESS_FAILED`: a registry could not be started, or did not come up.
    #[error("the process did not come up; see its log: {log}")]
    ProcessFailed {
        /// The end of what it wrote.
        log: String,
    },
    /// `MINISTACK_MISSING`
    #[error(
        "ministack is not installed; run `python3 -m venv ~/.cache/transship-ci/python && \
         ~/.cache/transship-ci/python/bin/pip install ministack aws-sam-translator`, or name it in TRANSSHIP_MINISTACK"
    )]
    MiniStackMissing,
    /// `CERTIFICATE_FAILED`
    #[error("the certificate could not be made; see the cause")]
    CertificateFailed,
    /// `FILE_FAILED`
    #[error("the file could not be read or written; see whether the folder exists and has room")]
    FileFailed,
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
            ErrorKind::PatternInvalid => "PATTERN_INVALID",
            ErrorKind::BindFailed => "BIND_FAILED",
            ErrorKind::RequestFailed => "REQUEST_FAILED",
            ErrorKind::RequestRefused { .. } => "REQUEST_REFUSED",
            ErrorKind::ProcessFailed { .. } => "PROCESS_FAILED",
            ErrorKind::MiniStackMissing => "MINISTACK_MISSING",
            ErrorKind::CertificateFailed => "CERTIFICATE_FAILED",
            ErrorKind::FileFailed => "FILE_FAILED",
        }
    }
}
