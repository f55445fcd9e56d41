//! The failure of a command: an exit code, and one line `CODE: sentence` on standard error for each error.
//!
//! Scripts rely on both. A sentence is the error with its causes in one line, without control characters. The lower crates
//! ensure that errors contain no secrets.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use transship_oci::Error;

/// The exit codes of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command was run and failed.
    Failed = 1,
    /// The command line or an input file is not valid.
    Input = 2,
    /// A delivery is not authentic.
    NotAuthentic = 3,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    lines: Vec<String>,
}

impl Failure {
    /// A failure with one line.
    pub(crate) fn new(exit: Exit, code: &str, sentence: impl Display) -> Self {
        Self {
            exit,
            lines: vec![line(code, &sentence.to_string())],
        }
    }

    /// An error of a lower crate, with its causes.
    pub(crate) fn of(exit: Exit, error: &Error) -> Self {
        Self::new(exit, error.code(), sentence(error))
    }

    /// A command line that is not valid.
    pub(crate) fn usage(sentence: impl Display) -> Self {
        Self::new(Exit::Input, "USAGE", sentence)
    }

    /// A document that is not valid: one line for each fault.
    pub(crate) fn document(errors: &transship_rules::Errors) -> Self {
        Self {
            exit: Exit::Input,
            lines: errors
                .iter()
                .map(|error| line(error.code(), &error.to_string()))
                .collect(),
        }
    }

    /// Several errors: one line for each, with code and sentence.
    pub(crate) fn several<'a>(exit: Exit, what: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let lines = what.into_iter().map(|(code, sentence)| line(code, &sentence)).collect();
        Self { exit, lines }
    }

    /// Writes the lines to standard error.
    pub(crate) fn tell(self) -> ExitCode {
        let mut out = std::io::stderr().lock();
        for line in &self.lines {
            // A failure to write to standard error cannot be reported.
            let _ = writeln!(out, "{line}");
        }
        ExitCode::from(self.exit as u8)
    }

    /// The first line: `CODE: sentence`.
    pub(crate) fn first_line(&self) -> &str {
        self.lines.first().map_or("", String::as_str)
    }

    /// The code of the first line.
    #[cfg(test)]
    pub(crate) fn code(&self) -> &str {
        self.lines[0].split(':').next().unwrap_or_default()
    }

    /// The exit code.
    #[cfg(test)]
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(Exit::Failed, &error)
    }
}

fn line(code: &str, sentence: &str) -> String {
    format!("{code}: {}", one_line(sentence))
}

/// The error and those of its causes that add information.
pub(crate) fn sentence(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    one_line(&text)
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl Display for Link {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl StdError for Link {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|link| link as _)
        }
    }

    #[test]
    fn a_chain_becomes_one_line_that_repeats_nothing() {
        let last = Link("it is\n\tnot there\u{1b}[31m", None);
        let middle = Link("open /x", Some(Box::new(last)));
        let first = Link("read: open /x", Some(Box::new(middle)));
        assert_eq!(sentence(&first), "read: open /x: it is not there [31m");
    }
}
