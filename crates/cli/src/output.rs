//! Standard output: text or JSON. A closed pipe is not a failure.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::failure::{Exit, Failure};
use transship_oci::Result;

/// Format of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Human-readable text.
    Text,
    /// JSON for scripts.
    Json,
}

impl Form {
    /// Prints `value` as JSON, or formatted by `text`.
    pub(crate) fn print<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Text => print(&text(value)),
            Self::Json => print_json(value),
        }
    }
}

/// Prints `text`, with a newline if it has none.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritable(&error)),
        _ => Ok(()),
    }
}

/// Prints `value` as JSON.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "OUTPUT_FAILED",
            format!("cannot serialize the result: {error}"),
        )
    })?;
    print(&text)
}

/// Prints a line on standard error that is not an error.
pub(crate) fn note(text: &str) {
    // A failure to write to standard error cannot be reported.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn unwritable(error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "OUTPUT_FAILED",
        format!("cannot write to standard output: {error}"),
    )
}
