//! What a registry, or the way to it, can answer.

use std::time::Duration;

use transship_copy::{Error as CopyError, ErrorKind as CopyKind};
use transship_oci::Persistence;

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A registry error: `kind` decides, `operation` says during what, `source` why.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// During what: `blob_put registry.example/core/app@sha256:…`. Holds no query, no upload location.
    pub operation: String,
    /// The cause beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, with a stable code. Texts of a registry are shortened and escaped before they come here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `NOT_FOUND`
    #[error("the registry has no such thing")]
    NotFound,
    /// `AUTH_FAILED`: after one refresh.
    #[error("the registry refused our credentials: {0}")]
    AuthFailed(String),
    /// `ACCESS_DENIED`
    #[error("the registry knows us and refuses the action: {0}")]
    AccessDenied(String),
    /// `AUTH_REALM_REJECTED`
    #[error("credentials are not sent to the realm {0}: add its host to the registry's `hosts` if it is yours")]
    RealmRejected(String),
    /// `AUTH_CHALLENGE_INVALID`
    #[error("the registry asks for authentication in a way that is not understood: {0}")]
    ChallengeInvalid(String),
    /// `AUTH_TOKEN_INVALID`
    #[error("the realm answered with something that is no token: {0}")]
    TokenInvalid(String),
    /// `CREDENTIALS_UNAVAILABLE`
    #[error("{0}")]
    CredentialsUnavailable(String),
    /// `CREDENTIALS_UNAVAILABLE` for now: whoever keeps them does not answer.
    #[error("{0}")]
    CredentialsDelayed(String),
    /// `RATE_LIMITED`
    #[error("the registry asks us to wait")]
    RateLimited(Option<Duration>),
    /// `REGISTRY_UNAVAILABLE`
    #[error("the registry answered {status}: {message}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// `CONNECT_FAILED`
    #[error("no connection to {0}")]
    ConnectFailed(String),
    /// `CONNECTION_BROKEN`
    #[error("the connection broke: {0}")]
    Broken(String),
    /// `TLS_ERROR`: its certificate, mostly.
    #[error(
        "the registry's TLS is not acceptable: {0}; see its certificate, or name the authority that signed it in \
         SSL_CERT_FILE, a bundle that then has all that are believed"
    )]
    Tls(String),
    /// `TIMEOUT`: no progress, never total time.
    #[error("no progress for {} s", .0.as_secs())]
    Timeout(Duration),
    /// `EGRESS_DENIED`
    #[error("{0}")]
    EgressDenied(String),
    /// `REDIRECT_REFUSED`
    #[error("the registry redirects to where we do not go: {0}")]
    RedirectRefused(String),
    /// `UPLOAD_LOCATION_REJECTED`: the location itself is a capability and is not shown.
    #[error("the registry sends the upload to where we do not go: {0}")]
    LocationRejected(String),
    /// `RESPONSE_TOO_LARGE`
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// `RESPONSE_INVALID`
    #[error("the registry's answer is not what the specification says: {0}")]
    Invalid(String),
    /// `LIST_ABORTED`
    #[error("the listing does not end: {0}")]
    ListAborted(String),
    /// `DEST_TAG_IMMUTABLE`
    #[error("the destination does not let this tag be replaced: {0}")]
    TagImmutable(String),
    /// `MANIFEST_DIGEST_MISMATCH`
    #[error("the bytes of a manifest do not have its digest: {0}")]
    ManifestDigestMismatch(String),
    /// `DEST_VERIFY_FAILED`
    #[error("the destination acknowledged something else than was sent: {0}")]
    VerifyFailed(String),
    /// `BLOB_UNKNOWN_AT_DEST`
    #[error("the destination refuses the manifest because something it names is missing: {0}")]
    BlobUnknown(String),
    /// `UPLOAD_SESSION_LOST`
    #[error("the registry forgot the upload before it ended")]
    SessionLost,
    /// `BLOB_SIZE_MISMATCH`: however often it is asked for, the rest of the blob does not come.
    #[error("the blob ends before the size its descriptor says")]
    EndsEarly,
    /// `REGISTRY_REFUSED`: any other 4xx.
    #[error("the registry answered {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// `INVALID_ENDPOINT`
    #[error("{0}")]
    InvalidEndpoint(String),
    /// A name, digest or manifest is refused under its own code.
    #[error("{0}")]
    Content(transship_oci::Error),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into(),
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// `CREDENTIALS_UNAVAILABLE`, for adapters of [`crate::Credentials`]. The message names where it was looked for,
    /// never what was found.
    pub fn credentials(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::CredentialsUnavailable(message.into()), "login")
    }

    /// The same where they may be there later: whoever keeps them does not answer.
    pub fn credentials_later(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::CredentialsDelayed(message.into()), "login")
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match &self.kind {
            ErrorKind::NotFound => "NOT_FOUND",
            ErrorKind::AuthFailed(_) => "AUTH_FAILED",
            ErrorKind::AccessDenied(_) => "ACCESS_DENIED",
            ErrorKind::RealmRejected(_) => "AUTH_REALM_REJECTED",
            ErrorKind::ChallengeInvalid(_) => "AUTH_CHALLENGE_INVALID",
            ErrorKind::TokenInvalid(_) => "AUTH_TOKEN_INVALID",
            ErrorKind::CredentialsUnavailable(_) | ErrorKind::CredentialsDelayed(_) => "CREDENTIALS_UNAVAILABLE",
            ErrorKind::RateLimited(_) => "RATE_LIMITED",
            ErrorKind::Unavailable { .. } => "REGISTRY_UNAVAILABLE",
            ErrorKind::ConnectFailed(_) => "CONNECT_FAILED",
            ErrorKind::Broken(_) => "CONNECTION_BROKEN",
            ErrorKind::Tls(_) => "TLS_ERROR",
            ErrorKind::Timeout(_) => "TIMEOUT",
            ErrorKind::EgressDenied(_) => "EGRESS_DENIED",
            ErrorKind::RedirectRefused(_) => "REDIRECT_REFUSED",
            ErrorKind::LocationRejected(_) => "UPLOAD_LOCATION_REJECTED",
            ErrorKind::TooLarge(_) => "RESPONSE_TOO_LARGE",
            ErrorKind::Invalid(_) => "RESPONSE_INVALID",
            ErrorKind::ListAborted(_) => "LIST_ABORTED",
            ErrorKind::TagImmutable(_) => "DEST_TAG_IMMUTABLE",
            ErrorKind::ManifestDigestMismatch(_) => "MANIFEST_DIGEST_MISMATCH",
            ErrorKind::VerifyFailed(_) => "DEST_VERIFY_FAILED",
            ErrorKind::BlobUnknown(_) => "BLOB_UNKNOWN_AT_DEST",
            ErrorKind::SessionLost => "UPLOAD_SESSION_LOST",
            ErrorKind::EndsEarly => "BLOB_SIZE_MISMATCH",
            ErrorKind::Refused { .. } => "REGISTRY_REFUSED",
            ErrorKind::InvalidEndpoint(_) => "INVALID_ENDPOINT",
            ErrorKind::Content(error) => error.code(),
        }
    }

    /// Whether trying again can help. A refused login may be a secret that is being rotated, but the refresh was tried: permanent.
    pub const fn persistence(&self) -> Persistence {
        match &self.kind {
            ErrorKind::RateLimited(after) | ErrorKind::Unavailable { retry_after: after, .. } => {
                Persistence::Temporary(*after)
            }
            ErrorKind::ConnectFailed(_)
            | ErrorKind::Broken(_)
            | ErrorKind::Timeout(_)
            | ErrorKind::CredentialsDelayed(_)
            | ErrorKind::SessionLost
            | ErrorKind::VerifyFailed(_)
            | ErrorKind::BlobUnknown(_)
            | ErrorKind::ListAborted(_) => Persistence::Temporary(None),
            // A person puts it right, and nobody pushes again for that.
            ErrorKind::CredentialsUnavailable(_) | ErrorKind::Tls(_) => Persistence::Persistent,
            _ => Persistence::Permanent,
        }
    }

    /// True for a 404 that speaks of the thing asked for.
    pub const fn is_not_found(&self) -> bool {
        matches!(self.kind, ErrorKind::NotFound)
    }
}

impl From<Error> for CopyError {
    fn from(error: Error) -> Self {
        let kind = match &error.kind {
            ErrorKind::BlobUnknown(_) => CopyKind::BlobUnknownAtDestination,
            ErrorKind::VerifyFailed(_) => CopyKind::DestinationVerifyFailed,
            ErrorKind::EndsEarly => CopyKind::BlobSizeMismatch,
            kind => CopyKind::Adapter {
                code: error.code(),
                message: kind.to_string(),
                persistence: error.persistence(),
            },
        };
        Self {
            kind,
            operation: error.operation,
            source: error.source,
        }
    }
}

/// A text that came from outside, made fit for a message: at most 300 characters, one line, nothing that looks like a query.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = text.trim().chars().take(300).flat_map(char::escape_debug).collect();
    while let Some(start) = out.find('?') {
        let end = out[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ')' | '>'))
            .map_or(out.len(), |at| start + at);
        out.replace_range(start..end, "…");
    }
    out
}
