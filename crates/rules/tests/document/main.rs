//! The document from the outside: what is accepted, what is refused and how, and what rules say of pushes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "the linter knows tests by their functions, and these are what the functions are made of"
)]

mod failover;
mod imports;
mod language;
mod matching;
mod properties;
mod refusals;
mod senders;
mod topology;

use transship_rules::{Document, Parsed};

/// A document with two registries, followed by the given rules and other keys.
pub fn with(rest: &str) -> String {
    format!(
        "version: 1
registries:
  a: {{ provider: distribution, endpoint: \"http://127.0.0.1:5000\", webhook: {{ secret: \"env:HOOK\" }} }}
  b: {{ provider: distribution, endpoint: \"http://127.0.0.1:5001\" }}
{rest}"
    )
}

/// [`with`], accepted.
pub fn parse(rest: &str) -> Parsed {
    Document::parse(&with(rest)).unwrap_or_else(|errors| panic!("{errors}\n{rest}"))
}

/// The refusals of [`with`], one line each.
pub fn refused(rest: &str) -> String {
    match Document::parse(&with(rest)) {
        Ok(_) => panic!("accepted: {rest}"),
        Err(errors) => errors.to_string(),
    }
}
