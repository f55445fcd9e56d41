//! What is wrong with a document: every error with a stable code, the path of the field and its position; and warnings.
//!
//! A document with an error is refused as a whole. All errors are collected first, so that the author can fix them in one
//! round. No message repeats the text of a credential or of a secret: a password pasted into the wrong field is not printed.

use std::fmt;

use transship_oci::{Code, Operation};

use crate::path::{Path, locate};
use crate::pattern::Expressions;

/// One fault of a document: what is wrong, and at which field.
///
/// Displayed as `rules[0].source.registry (line 9, column 15): there is no registry "a"`, without the code.
#[derive(Debug)]
pub struct Error {
    /// What is wrong, and what to do. Always permanent, because the same document has the same faults.
    pub fault: transship_oci::Error,
    /// The path of the field, such as `rules[0].source.namespace`; empty for the document as a whole.
    pub path: String,
    /// The position of the field in the text, if it is known.
    pub position: Option<Position>,
}

/// A position in the text, counted from 1 in lines and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character within the line.
    pub column: u64,
}

/// What is wrong with a field, under `code`.
pub(crate) fn fault(code: Code, message: impl Into<String>) -> transship_oci::Error {
    transship_oci::Error::new(code, Operation::default(), message.into())
}

impl Error {
    /// Creates an error at the field `path`.
    pub fn new(fault: transship_oci::Error, path: impl Into<String>) -> Self {
        Self {
            fault,
            path: path.into(),
            position: None,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }

    /// The path of the field at fault; empty for the document as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self
            .position
            .map(|position| format!("line {}, column {}", position.line, position.column));
        let message = self.fault.message();
        match (self.path.as_str(), position) {
            ("", None) => write!(formatter, "{message}"),
            ("", Some(position)) => write!(formatter, "{position}: {message}"),
            (path, None) => write!(formatter, "{path}: {message}"),
            (path, Some(position)) => write!(formatter, "{path} ({position}): {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.fault)
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
    pub fn code(&self) -> &'static str {
        self.first.code()
    }

    /// The code of the first fault.
    pub fn kind(&self) -> Code {
        self.first.fault.kind()
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
pub(crate) const MAX_ERRORS: usize = 50;

/// The most warnings that are reported.
const MAX_WARNINGS: usize = 50;

/// A setting that is valid but probably a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The stable code.
    pub code: Code,
    /// The path of the field, such as `registries.hub.webhook`.
    pub path: String,
    /// The position of the field in the text, if it is known.
    pub position: Option<Position>,
    /// The consequence, and what to do about it.
    pub message: String,
}

/// Errors and warnings found so far, while the rest of the document is still checked.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    errors: Vec<(Path, transship_oci::Error)>,
    warnings: Vec<(Path, Code, String)>,
    /// Warnings beyond [`MAX_WARNINGS`].
    more_warnings: usize,
    /// The patterns so far.
    pub(crate) expressions: Expressions,
}

impl Diagnostics {
    /// Records an error at `path`.
    pub(crate) fn error(&mut self, path: Path, fault: transship_oci::Error) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push((path, fault));
        }
    }

    /// The value, or [`None`] with the error recorded at `path`.
    pub(crate) fn accept<T>(&mut self, path: &Path, result: transship_oci::Result<T>) -> Option<T> {
        result.map_err(|fault| self.error(path.clone(), fault)).ok()
    }

    /// Records that this version does not support `what`. Ignoring it silently would lose images.
    pub(crate) fn not_yet(&mut self, path: Path, what: &str) {
        let sentence = format!("{what} is not supported by this version: remove it");
        self.error(path, fault(Code::NotYetSupported, sentence));
    }

    /// Records a warning.
    pub(crate) fn warn(&mut self, code: Code, path: &Path, message: impl Into<String>) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push((path.clone(), code, message.into()));
        } else {
            self.more_warnings += 1;
        }
    }

    /// The first error, as a sentence.
    pub(crate) fn first(&self) -> Option<String> {
        self.errors.first().map(|(_, fault)| fault.message().to_owned())
    }

    /// True if there is no error so far.
    pub(crate) const fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// The warnings, or every error, with their positions in `text`.
    pub(crate) fn finish(self, text: &str) -> Result<Vec<Warning>, Errors> {
        let paths: Vec<&Path> = if self.errors.is_empty() {
            self.warnings.iter().map(|(path, ..)| path).collect()
        } else {
            self.errors.iter().map(|(path, _)| path).collect()
        };
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let positions = locate(text, &paths);
        let errors = self
            .errors
            .into_iter()
            .zip(&positions)
            .map(|((path, fault), position)| Error {
                position: *position,
                ..Error::new(fault, path.to_string())
            });
        if let Some(errors) = Errors::of(errors.collect()) {
            return Err(errors);
        }
        let warnings = self.warnings.into_iter().zip(positions);
        let mut warnings: Vec<Warning> = warnings
            .map(|((path, code, message), position)| Warning {
                code,
                path: path.to_string(),
                position,
                message,
            })
            .collect();
        if self.more_warnings > 0 {
            warnings.push(Warning {
                code: Code::ConfigInvalid,
                path: String::new(),
                position: None,
                message: format!("{} more warnings are not shown", self.more_warnings),
            });
        }
        Ok(warnings)
    }
}

/// Prepares `text` for a message: at most 80 characters, control characters escaped, in quotes.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    let more = if text.chars().nth(80).is_some() { "…" } else { "" };
    format!("\"{short}{more}\"")
}
