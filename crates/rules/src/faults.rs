//! Collects what is wrong with a document, and what is merely unwise, while the rest of it is still looked at.

use crate::error::{Error, ErrorKind, Errors};
use crate::path::{Path, locate};

/// So many faults are told; a document that has more is not mended one by one.
const MAX_TOLD: usize = 50;

/// Something that loads and will probably not do what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The path of the field, as `registries.hub.webhook`.
    pub path: String,
    /// What to expect, and what to do about it.
    pub message: String,
}

/// Faults and warnings found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    errors: Vec<(Path, ErrorKind)>,
    warnings: Vec<Warning>,
}

impl Faults {
    /// Notes a fault.
    pub(crate) fn refuse(&mut self, path: Path, kind: ErrorKind) {
        if self.errors.len() < MAX_TOLD {
            self.errors.push((path, kind));
        }
    }

    /// The value, or a fault noted and [`None`].
    pub(crate) fn accept<T>(&mut self, path: &Path, result: Result<T, ErrorKind>) -> Option<T> {
        result.map_err(|kind| self.refuse(path.clone(), kind)).ok()
    }

    /// Notes that `what` is not honoured yet. Never silently: a rule that does less than it says loses images.
    pub(crate) fn not_yet(&mut self, path: Path, what: &str) {
        let sentence = format!("{what} is not supported by this version: remove it");
        self.refuse(path, ErrorKind::NotYetSupported(sentence));
    }

    /// Notes a warning.
    pub(crate) fn warn(&mut self, path: &Path, message: impl Into<String>) {
        self.warnings.push(Warning {
            path: path.to_string(),
            message: message.into(),
        });
    }

    /// True if nothing was refused.
    pub(crate) const fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// The warnings, or every fault with its place in `text`.
    pub(crate) fn finish(self, text: &str) -> Result<Vec<Warning>, Errors> {
        let errors = self
            .errors
            .into_iter()
            .map(|(path, kind)| Error {
                place: locate(text, &path),
                ..Error::new(kind, path.to_string())
            })
            .collect();
        Errors::of(errors).map_or(Ok(self.warnings), Err)
    }
}
