//! What can be wrong with a layout, an archive or a storage tree.
//!
//! Most kinds concern one image and leave the others alone; those that concern a whole source say so.

use transship_copy::{Error as CopyError, ErrorKind as CopyKind};
use transship_oci::{Digest, Persistence};

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
    /// `LAYOUT_NAME_CONFLICT`: one name, several manifests. Concerns that name only.
    #[error("{tag:?} names several manifests, {digests}: leave one of them")]
    NameConflict {
        /// The tag.
        tag: String,
        /// The digests, joined by commas.
        digests: String,
    },
    /// `LAYOUT_NAME_UNMAPPABLE`: a name that has no tag part.
    #[error("{0:?} has no tag part: name the image name:tag, or not at all")]
    NameUnmappable(String),
    /// `LAYOUT_BLOB_MISSING`: what an index or manifest names is not there.
    #[error("{0} is named and is not there: upload it")]
    BlobMissing(Digest),
    /// `ARCHIVE_INVALID`: no tar, or one that readers would read differently. Concerns the whole archive.
    #[error("this archive cannot be read: {0}")]
    ArchiveInvalid(String),
    /// `ARCHIVE_TRUNCATED`: what was asked for lies behind the end of the archive.
    #[error("the archive is cut: upload it again")]
    ArchiveTruncated,
    /// `ARCHIVE_UNSUPPORTED`: another compression, or a larger window. Concerns the whole archive.
    #[error("this archive is not read: {0}")]
    ArchiveUnsupported(String),
    /// `ARCHIVE_TOO_LARGE`: more entries than are held in memory. Concerns the whole archive.
    #[error("the archive has more than {0} entries: split it")]
    ArchiveTooLarge(usize),
    /// `ARCHIVE_BOMB`: it expands beyond all measure. Concerns the whole archive.
    #[error("the archive expands to more than {0} bytes, which is out of proportion: upload it uncompressed")]
    ArchiveBomb(u64),
    /// `ARCHIVE_ENTRY_UNSAFE`: a link, a device, a sparse file; none is followed or made.
    #[error("the archive holds it as {0}, and only plain files are read")]
    EntryUnsafe(&'static str),
    /// `ARCHIVE_ENTRY_AMBIGUOUS`: the name stands twice in the archive, with different content.
    #[error("the archive holds this name more than once, with different content")]
    EntryAmbiguous,
    /// `DOCKER_ARCHIVE_INVALID`: `manifest.json`, a configuration or a layer is not what it should be.
    #[error("this is no image as docker saves it: {0}")]
    DockerArchiveInvalid(String),
    /// `STORAGE_LINK_INVALID`: a link file of a storage tree that holds no digest.
    #[error("the link holds no digest: {0}")]
    LinkInvalid(String),
    /// `STORAGE_LINK_DANGLING`: a link file that leads to a manifest that is not there.
    #[error("the link leads to {0}, which is not there")]
    LinkDangling(Digest),
    /// `SOURCE_EMPTY`: nothing that could be taken lies where it was looked for.
    #[error("there is no layout, archive or storage tree under {0:?}")]
    SourceEmpty(String),
    /// A read that broke, under the code of whoever broke it.
    #[error("{message}")]
    Read {
        /// Its stable code.
        code: &'static str,
        /// Its sentence.
        message: String,
        /// Whether trying again can help.
        persistence: Persistence,
    },
    /// `OBJECT_UNREADABLE`: the store has it and does not give it.
    #[error("{0}")]
    Unreadable(String),
    /// `OBJECT_REFUSED`: the store does not let us, or is not there; trying again alone does not help.
    #[error("{0}")]
    Refused(String),
    /// `OBJECT_CHANGED`: it was replaced while it was read.
    #[error("the object was replaced by another one while it was read; it is read again")]
    Changed,
    /// `OBJECT_CONFLICT`: the store could not tell who was first.
    #[error("the store could not decide between simultaneous writers; write it again")]
    Conflict,
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

    /// A refusal of [`transship_oci`], under its own code.
    pub fn content(error: transship_oci::Error, operation: impl Into<String>) -> Self {
        Self::new(ErrorKind::Content(error), operation)
    }

    /// What a stream of [`crate::ObjectStore::get`] ended with, under its own code.
    pub fn read(error: &CopyError, operation: impl Into<String>) -> Self {
        let kind = ErrorKind::Read {
            code: error.code(),
            message: error.kind.to_string(),
            persistence: error.persistence(),
        };
        Self::new(kind, operation)
    }

    /// True if the same bytes fail the same way: an item of the result. False: the store failed, and everything with it.
    pub const fn is_permanent(&self) -> bool {
        matches!(self.persistence(), Persistence::Permanent)
    }

    /// `OBJECT_CHANGED`, for adapters of [`crate::ObjectStore`].
    pub fn changed(key: &str) -> Self {
        Self::new(ErrorKind::Changed, format!("read {key}"))
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match &self.kind {
            ErrorKind::LayoutInvalid(_) => "LAYOUT_INVALID",
            ErrorKind::ReferenceNotFound { .. } => "LAYOUT_REFERENCE_NOT_FOUND",
            ErrorKind::ReferenceAmbiguous(_) => "LAYOUT_REFERENCE_AMBIGUOUS",
            ErrorKind::NameConflict { .. } => "LAYOUT_NAME_CONFLICT",
            ErrorKind::NameUnmappable(_) => "LAYOUT_NAME_UNMAPPABLE",
            ErrorKind::BlobMissing(_) => "LAYOUT_BLOB_MISSING",
            ErrorKind::ArchiveInvalid(_) => "ARCHIVE_INVALID",
            ErrorKind::ArchiveTruncated => "ARCHIVE_TRUNCATED",
            ErrorKind::ArchiveUnsupported(_) => "ARCHIVE_UNSUPPORTED",
            ErrorKind::ArchiveTooLarge(_) => "ARCHIVE_TOO_LARGE",
            ErrorKind::ArchiveBomb(_) => "ARCHIVE_BOMB",
            ErrorKind::EntryUnsafe(_) => "ARCHIVE_ENTRY_UNSAFE",
            ErrorKind::EntryAmbiguous => "ARCHIVE_ENTRY_AMBIGUOUS",
            ErrorKind::DockerArchiveInvalid(_) => "DOCKER_ARCHIVE_INVALID",
            ErrorKind::LinkInvalid(_) => "STORAGE_LINK_INVALID",
            ErrorKind::LinkDangling(_) => "STORAGE_LINK_DANGLING",
            ErrorKind::SourceEmpty(_) => "SOURCE_EMPTY",
            ErrorKind::Read { code, .. } => code,
            ErrorKind::Unreadable(_) => "OBJECT_UNREADABLE",
            ErrorKind::Refused(_) => "OBJECT_REFUSED",
            ErrorKind::Changed => "OBJECT_CHANGED",
            ErrorKind::Conflict => "OBJECT_CONFLICT",
            ErrorKind::Content(error) => error.code(),
        }
    }

    /// Whether trying again can help: only where the object or the store may be in another state later.
    pub const fn persistence(&self) -> Persistence {
        match &self.kind {
            ErrorKind::Read { persistence, .. } => *persistence,
            ErrorKind::Unreadable(_) | ErrorKind::Changed | ErrorKind::Conflict => Persistence::Temporary(None),
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
