//! Standard output: text for people, or JSON for scripts. A reader that goes away is no failure.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::failure::{Exit, Failure};

/// What standard output is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

impl Form {
    /// Prints `value` as JSON, or what `text` makes of it.
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
            format!("there is no JSON for it: {error}"),
        )
    })?;
    print(&text)
}

/// A line on standard error that is no error.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn unwritable(error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "OUTPUT_FAILED",
        format!("standard output cannot be written: {error}"),
    )
}
