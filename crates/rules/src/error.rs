//! What is wrong with a document: every error with a stable code, the path of the field and its position; and warnings.
//!
//! A document with an error is refused as a whole. All errors are collected first, so that the author can fix them in one
//! round. No message repeats the text of a credential or of a secret: a password pasted into the wrong field is not printed.

use std::fmt;

use transship_oci::Persistence;

use crate::path::{Path, locate};

/// One fault of a document: its kind, its field, and the cause.
///
/// Displayed as `rules[0].source.registry (line 9, column 15): there is no registry "a"`, without the code.
#[derive(Debug)]
pub struct Error {
    /// Kind of the fault.
    pub kind: ErrorKind,
    /// The path of the field, such as `rules[0].source.namespace`; empty for the document as a whole.
    pub operation: String,
    /// The position of the field in the text, if it is known.
    pub position: Option<Position>,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A position in the text, counted from 1 in lines and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character within the line.
    pub column: u64,
}

/// Kinds of faults, each with a stable code and a message that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// `CONFIG_INVALID`: the syntax, an unknown key, a wrong type, or a value out of range.
    #[error("{0}")]
    ConfigInvalid(String),
    /// `RULE_INVALID`: a pattern, name or template that cannot be used.
    #[error("{0}")]
    RuleInvalid(String),
    /// `UNKNOWN_REGISTRY`: a registry that is used but missing under `registries`.
    #[error("{0}")]
    UnknownRegistry(String),
    /// `RULE_CYCLE`: a rule would start itself again, directly or through other rules.
    #[error("{0}")]
    RuleCycle(String),
    /// `TOPOLOGY_STRICT`: allowed by `acyclic`, not allowed by `strict`.
    #[error("{0}")]
    TopologyStrict(String),
    /// `PARTITION_REFUSED`: from the public partition into another one, without a link.
    #[error("{0}")]
    PartitionRefused(String),
    /// `EDITION_CANNOT_BE_SOURCE`: a registry of the basic edition as a source.
    #[error("{0}")]
    EditionCannotBeSource(String),
    /// `DUPLICATE_RULE`: two rules of one name.
    #[error("{0}")]
    DuplicateRule(String),
    /// `INVALID_ENDPOINT`: not the address of a registry.
    #[error("{0}")]
    InvalidEndpoint(String),
    /// `CREDENTIALS_INVALID`: not one of the forms in which a secret is referred to.
    #[error("{0}")]
    CredentialsInvalid(String),
    /// `NOT_YET_SUPPORTED`: part of the document's language, but not supported by this version.
    #[error("{0}")]
    NotYetSupported(String),
}

impl ErrorKind {
    /// The stable code users and scripts rely on.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ConfigInvalid(_) => "CONFIG_INVALID",
            Self::RuleInvalid(_) => "RULE_INVALID",
            Self::UnknownRegistry(_) => "UNKNOWN_REGISTRY",
            Self::RuleCycle(_) => "RULE_CYCLE",
            Self::TopologyStrict(_) => "TOPOLOGY_STRICT",
            Self::PartitionRefused(_) => "PARTITION_REFUSED",
            Self::EditionCannotBeSource(_) => "EDITION_CANNOT_BE_SOURCE",
            Self::DuplicateRule(_) => "DUPLICATE_RULE",
            Self::InvalidEndpoint(_) => "INVALID_ENDPOINT",
            Self::CredentialsInvalid(_) => "CREDENTIALS_INVALID",
            Self::NotYetSupported(_) => "NOT_YET_SUPPORTED",
        }
    }
}

impl Error {
    /// Creates a fault of `kind` at the field `path`.
    pub fn new(kind: ErrorKind, path: impl Into<String>) -> Self {
        Self {
            kind,
            operation: path.into(),
            position: None,
            source: None,
        }
    }

    /// The stable code of [`ErrorKind::code`].
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The path of the field at fault; empty for the document as a whole.
    pub fn path(&self) -> &str {
        &self.operation
    }

    /// Always [`Persistence::Permanent`], because the same document has the same faults.
    pub const fn persistence(&self) -> Persistence {
        Persistence::Permanent
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self
            .position
            .map(|position| format!("line {}, column {}", position.line, position.column));
        match (self.operation.as_str(), position) {
            ("", None) => write!(formatter, "{}", self.kind),
            ("", Some(position)) => write!(formatter, "{position}: {}", self.kind),
            (path, None) => write!(formatter, "{path}: {}", self.kind),
            (path, Some(position)) => write!(formatter, "{path} ({position}): {}", self.kind),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Every fault of a document, in the order of its text; never empty.
///
/// Displayed as one line `CODE: sentence` per fault.
#[derive(Debug)]
pub struct Errors {
    first: Box<Error>,
    more: Vec<Error>,
}

impl Errors {
    /// All of `faults`, or [`None`] if there are none.
    pub(crate) fn of(mut faults: Vec<Error>) -> Option<Self> {
        // Diagnostics found across rules come last; the reader goes through the text from its top.
        faults.sort_by_key(|error| {
            error
                .position
                .map_or((u64::MAX, 0), |position| (position.line, position.column))
        });
        let mut faults = faults.into_iter();
        Some(Self {
            first: Box::new(faults.next()?),
            more: faults.collect(),
        })
    }

    /// The faults.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        std::iter::once(&*self.first).chain(&self.more)
    }

    /// The first fault.
    pub const fn first(&self) -> &Error {
        &self.first
    }

    /// The code of the first fault.
    pub const fn code(&self) -> &'static str {
        self.first.kind.code()
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self {
            first: Box::new(error),
            more: Vec::new(),
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.iter().enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{}: {error}", error.code())?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.first)
    }
}

/// The most errors that are reported; the author of a document with more of them fixes these first.
const MAX_ERRORS: usize = 50;

/// A setting that is valid but probably a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The path of the field, such as `registries.hub.webhook`.
    pub path: String,
    /// The consequence, and what to do about it.
    pub message: String,
}

/// Errors and warnings found so far, while the rest of the document is still checked.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    errors: Vec<(Path, ErrorKind)>,
    warnings: Vec<Warning>,
}

impl Diagnostics {
    /// Records an error at `path`.
    pub(crate) fn error(&mut self, path: Path, kind: ErrorKind) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push((path, kind));
        }
    }

    /// The value, or [`None`] with the error recorded at `path`.
    pub(crate) fn accept<T>(&mut self, path: &Path, result: Result<T, ErrorKind>) -> Option<T> {
        result.map_err(|kind| self.error(path.clone(), kind)).ok()
    }

    /// Records that this version does not support `what`. Ignoring it silently would lose images.
    pub(crate) fn not_yet(&mut self, path: Path, what: &str) {
        let sentence = format!("{what} is not supported by this version: remove it");
        self.error(path, ErrorKind::NotYetSupported(sentence));
    }

    /// Records a warning.
    pub(crate) fn warn(&mut self, path: &Path, message: impl Into<String>) {
        self.warnings.push(Warning {
            path: path.to_string(),
            message: message.into(),
        });
    }

    /// True if there is no error so far.
    pub(crate) const fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// The warnings, or every error with its position in `text`.
    pub(crate) fn finish(self, text: &str) -> Result<Vec<Warning>, Errors> {
        let errors = self
            .errors
            .into_iter()
            .map(|(path, kind)| Error {
                position: locate(text, &path),
                ..Error::new(kind, path.to_string())
            })
            .collect();
        Errors::of(errors).map_or(Ok(self.warnings), Err)
    }
}

/// Prepares `text` for a message: at most 80 characters, control characters escaped, in quotes.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    let more = if text.chars().nth(80).is_some() { "…" } else { "" };
    format!("\"{short}{more}\"")
}
