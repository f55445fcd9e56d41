//! What can be wrong with a name, a digest or a manifest. Always permanent: the same bytes fail the same way.

use crate::Persistence;

/// A refusal, with the text at fault shortened and stripped of control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    /// Which refusal.
    pub kind: ErrorKind,
    /// The text at fault and why it is refused.
    pub detail: String,
}

/// The refusals of this crate; each has a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `INVALID_DIGEST`
    #[error("the digest is not valid")]
    InvalidDigest,
    /// `INVALID_REFERENCE`
    #[error("the reference is not valid")]
    InvalidReference,
    /// `MANIFEST_INVALID`
    #[error("the manifest is not valid")]
    ManifestInvalid,
    /// `MANIFEST_AMBIGUOUS`: both an image and an index (CVE-2021-41190).
    #[error("the manifest is ambiguous")]
    ManifestAmbiguous,
    /// `MEDIA_TYPE_MISMATCH`: the manifest calls itself something else than its sender does.
    #[error("the media types disagree")]
    MediaTypeMismatch,
    /// `MANIFEST_TOO_LARGE`
    #[error("the manifest is too large")]
    ManifestTooLarge,
    /// `MANIFEST_SCHEMA1_UNSUPPORTED`
    #[error("Docker schema 1 images are not supported")]
    Schema1Unsupported,
    /// `MANIFEST_UNSUPPORTED`: a media type that is neither image nor index.
    #[error("the manifest type is not supported")]
    ManifestUnsupported,
}

impl ErrorKind {
    /// The stable code users and scripts rely on.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidDigest => "INVALID_DIGEST",
            Self::InvalidReference => "INVALID_REFERENCE",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestAmbiguous => "MANIFEST_AMBIGUOUS",
            Self::MediaTypeMismatch => "MEDIA_TYPE_MISMATCH",
            Self::ManifestTooLarge => "MANIFEST_TOO_LARGE",
            Self::Schema1Unsupported => "MANIFEST_SCHEMA1_UNSUPPORTED",
            Self::ManifestUnsupported => "MANIFEST_UNSUPPORTED",
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// The stable code of [`ErrorKind::code`].
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// Always [`Persistence::Permanent`].
    pub const fn persistence(&self) -> Persistence {
        Persistence::Permanent
    }
}

/// `text` made fit for a message: at most 120 characters, control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(120).flat_map(char::escape_debug).collect();
    if text.chars().nth(120).is_some() {
        format!("\"{short}…\"")
    } else {
        format!("\"{short}\"")
    }
}
