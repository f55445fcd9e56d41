//! The one error of every crate: a code, during what, on which side, why, and whether trying again can help.
//!
//! Decisions are made on the code, the verb and the side, never on a text. Texts of other programs are shortened and
//! escaped before they become part of a message, and no message holds a secret.

mod code;
mod operation;
mod table;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

pub use code::UnknownCode;
pub use operation::{Operation, Verb};
pub use table::Code;

use crate::Persistence;

/// A result with the one error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which side of a copy failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where images are read from.
    Source,
    /// Where images are written to.
    Destination,
}

impl Side {
    /// `source` or `destination`, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// An error. Displayed as `OPERATION: MESSAGE`, without its code and its causes; [`StdError::source`] has the cause.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    operation: Operation,
    side: Option<Side>,
    message: Cow<'static, str>,
    persistence: Persistence,
    status: Option<u16>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message of its own, which says what is wrong and what to do.
    pub fn new(code: Code, operation: impl Into<Operation>, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            code,
            operation: operation.into(),
            side: None,
            message: message.into(),
            persistence: code.persistence(),
            status: None,
            source: None,
        }))
    }

    /// An error whose message is what its code means.
    pub fn of(code: Code, operation: impl Into<Operation>) -> Self {
        Self::new(code, operation, code.meaning())
    }

    /// A value that is refused wherever it comes from; [`Error::during`] adds the operation.
    pub fn refused(code: Code, why: impl fmt::Display) -> Self {
        Self::of(code, Operation::default()).because(why)
    }

    /// Appends the reason to the message: `MESSAGE: WHY`.
    #[must_use]
    pub fn because(mut self, why: impl fmt::Display) -> Self {
        self.0.message = format!("{}: {why}", self.0.message).into();
        self
    }

    /// The same error during another operation: what it happened in, where that says more.
    #[must_use]
    pub fn during(mut self, operation: impl Into<Operation>) -> Self {
        self.0.operation = operation.into();
        self
    }

    /// The same error under the code that says what it means here. Message and persistence become those of the code.
    #[must_use]
    pub fn meaning(self, code: Code) -> Self {
        Self::of(code, self.0.operation)
    }

    /// Says on which side of a copy it happened, unless that is known already.
    #[must_use]
    pub fn at(mut self, side: Side) -> Self {
        self.0.side.get_or_insert(side);
        self
    }

    /// The cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// Whether trying again can help, where that differs from the code's own.
    #[must_use]
    pub fn with_persistence(mut self, persistence: Persistence) -> Self {
        self.0.persistence = persistence;
        self
    }

    /// The HTTP status of the answer that is this error.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// The stable code as text, for logs and answers.
    pub fn code(&self) -> &'static str {
        self.0.code.as_str()
    }

    /// The stable code.
    pub fn kind(&self) -> Code {
        self.0.code
    }

    /// True if it has this code.
    pub fn is(&self, code: Code) -> bool {
        self.0.code == code
    }

    /// During what it happened.
    pub fn operation(&self) -> &Operation {
        &self.0.operation
    }

    /// The verb of [`Error::operation`].
    pub fn verb(&self) -> Option<Verb> {
        self.0.operation.verb()
    }

    /// On which side of a copy it happened, if that is known.
    pub fn side(&self) -> Option<Side> {
        self.0.side
    }

    /// The sentence without the operation.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP status of the answer that is this error, if it is one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Whether trying again can help.
    pub fn persistence(&self) -> Persistence {
        self.0.persistence
    }

    /// True if the same request fails in the same way.
    pub fn is_permanent(&self) -> bool {
        self.0.persistence.is_permanent()
    }

    /// True if the source of a copy does not have the image, or the blob, that was asked for.
    pub fn is_not_found(&self) -> bool {
        matches!(self.0.code, Code::SourceNotFound | Code::BlobNotFound)
    }
}

/// Says on which side of a copy a result failed.
pub trait AtSide {
    /// [`Error::at`] of the error, if it is one.
    #[must_use]
    fn at(self, side: Side) -> Self;
}

impl<T> AtSide for Result<T> {
    fn at(self, side: Side) -> Self {
        self.map_err(|error| error.at(side))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.operation.is_unknown() {
            formatter.write_str(&self.0.message)
        } else {
            write!(formatter, "{}: {}", self.0.operation, self.0.message)
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_operation_and_its_message() {
        let error = Error::of(Code::RateLimited, Verb::ManifestGet.on("r.example/app:v1"));
        assert_eq!(
            error.to_string(),
            format!("manifest_get r.example/app:v1: {}", Code::RateLimited.meaning())
        );
        let error = Error::new(Code::QueueUnavailable, Verb::Queue.on("send"), "no answer").because("it is down");
        assert_eq!(error.to_string(), "queue send: no answer: it is down");
        let refused = Error::refused(Code::InvalidDigest, shown("x\n"));
        assert_eq!(
            refused.to_string(),
            format!("{}: \"x\\n\"", Code::InvalidDigest.meaning())
        );
        assert_eq!(refused.during(Verb::Login).verb(), Some(Verb::Login));
        assert!(size_of::<Error>() <= size_of::<usize>());
    }

    #[test]
    fn the_side_that_is_known_first_stays() {
        let error = Error::of(Code::NotFound, Verb::Ping)
            .at(Side::Source)
            .at(Side::Destination);
        assert_eq!(error.side(), Some(Side::Source));
    }
}
