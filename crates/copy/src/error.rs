//! What stops a copy: the source's, the destination's or our own refusal, under one code.

use std::time::Duration;

use transship_oci::Persistence;

/// A copy error: `kind` decides, `operation` says during what, `source` why.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// During what: `manifest_get registry.example/app:v1`.
    pub operation: String,
    /// The cause beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Results of this crate and of its ports.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `SOURCE_NOT_FOUND`: no such tag or manifest at the source.
    #[error("the source has no such image")]
    SourceNotFound,
    /// `SOURCE_GONE`: it was there when the copy began.
    #[error("the source image disappeared during the copy")]
    SourceGone,
    /// `SOURCE_NOT_SETTLED`: the tag does not name yet, or no more, what it was said to name.
    #[error("the source tag names something else than its event said; it is looked at again")]
    SourceNotSettled,
    /// `SOURCE_MOVING`: the tag moved more often than a copy goes round.
    #[error("the source tag kept moving; it is tried again")]
    SourceMoving,
    /// `BLOB_NOT_FOUND`: the manifest names a blob the source does not have.
    #[error("the source does not have a blob its manifest names")]
    BlobNotFound,
    /// `BLOB_DIGEST_MISMATCH`
    #[error("the bytes of a blob do not have its digest")]
    BlobDigestMismatch,
    /// `BLOB_SIZE_MISMATCH`
    #[error("a blob is not of the size its descriptor says")]
    BlobSizeMismatch,
    /// `MANIFEST_DIGEST_MISMATCH`
    #[error("the bytes of a manifest do not have its digest")]
    ManifestDigestMismatch,
    /// `INDEX_TOO_DEEP`
    #[error("the index nests deeper than is followed")]
    IndexTooDeep,
    /// `GRAPH_TOO_LARGE`
    #[error("the image names more manifests than are followed")]
    GraphTooLarge,
    /// `REFERRERS_MISSING`: the rule requires a signature or other referrer and there is none yet.
    #[error("no referrer is there yet, and the rule requires one")]
    ReferrersMissing,
    /// `COMMIT_BUSY`: another worker is committing this tag.
    #[error("another worker holds the destination tag; it is tried again")]
    CommitBusy,
    /// `SLOT_OVER`: the worker's time is over; what the destination acknowledged is remembered.
    #[error("the time of this worker is over; another one goes on")]
    SlotOver,
    /// `DEST_VERIFY_FAILED`: the destination says it has what it cannot prove.
    #[error("the destination does not hold what it acknowledged")]
    DestinationVerifyFailed,
    /// `BLOB_UNKNOWN_AT_DEST`: the destination refused a manifest for want of a blob, and uploading it again did not help.
    #[error("the destination refuses the manifest because blobs are missing")]
    BlobUnknownAtDestination,
    /// Anything an adapter reports, under its own code.
    #[error("{message}")]
    Adapter {
        /// The adapter's stable code, such as `AUTH_FAILED`.
        code: &'static str,
        /// Its sentence, ready to be shown; never holds a secret.
        message: String,
        /// Whether trying again can help.
        persistence: Persistence,
    },
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

    /// A manifest or name that is refused by the rules of [`transship_oci`].
    pub fn invalid(error: &transship_oci::Error, operation: impl Into<String>) -> Self {
        let kind = ErrorKind::Adapter {
            code: error.code(),
            message: error.to_string(),
            persistence: Persistence::Permanent,
        };
        Self::new(kind, operation)
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match &self.kind {
            ErrorKind::SourceNotFound => "SOURCE_NOT_FOUND",
            ErrorKind::SourceGone => "SOURCE_GONE",
            ErrorKind::SourceNotSettled => "SOURCE_NOT_SETTLED",
            ErrorKind::SourceMoving => "SOURCE_MOVING",
            ErrorKind::BlobNotFound => "BLOB_NOT_FOUND",
            ErrorKind::BlobDigestMismatch => "BLOB_DIGEST_MISMATCH",
            ErrorKind::BlobSizeMismatch => "BLOB_SIZE_MISMATCH",
            ErrorKind::ManifestDigestMismatch => "MANIFEST_DIGEST_MISMATCH",
            ErrorKind::IndexTooDeep => "INDEX_TOO_DEEP",
            ErrorKind::GraphTooLarge => "GRAPH_TOO_LARGE",
            ErrorKind::ReferrersMissing => "REFERRERS_MISSING",
            ErrorKind::CommitBusy => "COMMIT_BUSY",
            ErrorKind::SlotOver => "SLOT_OVER",
            ErrorKind::DestinationVerifyFailed => "DEST_VERIFY_FAILED",
            ErrorKind::BlobUnknownAtDestination => "BLOB_UNKNOWN_AT_DEST",
            ErrorKind::Adapter { code, .. } => code,
        }
    }

    /// Whether trying again can help.
    pub const fn persistence(&self) -> Persistence {
        match &self.kind {
            ErrorKind::SourceNotSettled | ErrorKind::SourceMoving | ErrorKind::CommitBusy => {
                Persistence::Temporary(Some(Duration::from_secs(1)))
            }
            ErrorKind::SlotOver => Persistence::Temporary(Some(Duration::ZERO)),
            ErrorKind::ReferrersMissing | ErrorKind::DestinationVerifyFailed | ErrorKind::BlobUnknownAtDestination => {
                Persistence::Temporary(None)
            }
            ErrorKind::Adapter { persistence, .. } => *persistence,
            _ => Persistence::Permanent,
        }
    }

    /// True if the source said that what was asked for is not there.
    pub const fn is_not_found(&self) -> bool {
        matches!(self.kind, ErrorKind::SourceNotFound | ErrorKind::BlobNotFound)
    }
}
