//! Errors of setting up a test.

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error with its kind, the operation that failed, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// Kind of the error.
    pub kind: ErrorKind,
    /// The operation that failed: `PUT /v2/core/app/manifests/v1`.
    pub operation: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of errors, each with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `PATTERN_INVALID`: the path of a fault is not a valid regular expression.
    #[error("the path of the fault is not a valid regular expression")]
    PatternInvalid,
    /// `BIND_FAILED`
    #[error("cannot bind the loopback address; check the process limits")]
    BindFailed,
    /// `REQUEST_FAILED`: the registry did not answer a push.
    #[error("the registry did not answer; check that it runs")]
    RequestFailed,
    /// `REQUEST_REFUSED`: the registry answered a push with an unexpected status.
    #[error("the registry answered {status}: {body}")]
    RequestRefused {
        /// The status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// `PROCESS_FAILED`: a process could not be started, or did not become ready.
    #[error("the process did not become ready; see its log: {log}")]
    ProcessFailed {
        /// The end of its log.
        log: String,
    },
    /// `MINISTACK_MISSING`
    #[error(
        "ministack is not installed; run `python3 -m venv ~/.cache/transship-ci/python && \
         ~/.cache/transship-ci/python/bin/pip install ministack aws-sam-translator`, or set TRANSSHIP_MINISTACK to its path"
    )]
    MiniStackMissing,
    /// `CERTIFICATE_FAILED`
    #[error("cannot create the certificate; see the cause")]
    CertificateFailed,
    /// `FILE_FAILED`
    #[error("cannot read or write the file; check that the folder exists and has free space")]
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
