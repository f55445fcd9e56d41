//! Parses YAML or JSON, and reports every mistake with its path, its line and a suggestion.
//!
//! The text may contain secrets by mistake, so messages have no snippets, and a value of the wrong type under `credentials` or
//! `webhook` is not repeated.

use serde_saphyr::Error as Cause;

use transship_oci::Code;

use crate::error::{Error, Errors, Position, fault, shown};
use crate::path::{Path, locate};
use crate::raw;

/// Maximum size of a document in bytes.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// Reads the text.
pub(crate) fn read(text: &str) -> Result<raw::Document, Errors> {
    if text.len() > MAX_DOCUMENT_BYTES {
        let sentence = format!(
            "the document has {} bytes, but the limit is {MAX_DOCUMENT_BYTES}",
            text.len()
        );
        return Err(Error::new(fault(Code::ConfigInvalid, sentence), "").into());
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
    };
    let mut path = Path::default();
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            path = Path::from(error.path());
            error.into_inner()
        })
    })
    .map_err(|cause| refusal(text, &path, &cause).into())
}

fn refusal(text: &str, path: &Path, cause: &Cause) -> Error {
    let cause = cause.without_snippet();
    let path = match cause {
        // The path ends at the mapping that holds the key.
        Cause::SerdeUnknownField { field, .. } if !path.ends_with(field) => path.key(field),
        _ => path.clone(),
    };
    let reported = cause.location().map(|location| Position {
        line: location.line(),
        column: location.column(),
    });
    let quotes = reported.as_ref().and_then(|position| quoting_advice(text, position));
    let position = match cause {
        Cause::SerdeMissingField { .. } => locate(text, &path).or(reported),
        _ => reported.or_else(|| locate(text, &path)),
    };
    Error {
        position,
        ..Error::new(
            fault(Code::ConfigInvalid, sentence(&path, cause, quotes)),
            path.to_string(),
        )
    }
}

/// The sentence for a pattern without the quotes that YAML needs, judged by the text where the parser stopped.
fn quoting_advice(text: &str, position: &Position) -> Option<String> {
    let line = text.lines().nth(usize::try_from(position.line).ok()?.checked_sub(1)?)?;
    let (key, value) = line.split_once(':').unwrap_or(("", line));
    let is_comment = key.trim_start().starts_with('#');
    // What follows a key, a bracket, a comma or a dash.
    let begins = |sign: char| {
        let after =
            |before: char| value.contains(&format!("{before} {sign}")) || value.contains(&format!("{before}{sign}"));
        value.trim_start().starts_with(sign) || [':', '[', '{', ',', '-'].into_iter().any(after)
    };
    let sign = ['*', '!', '&', '%', '@', '`'].into_iter().find(|sign| begins(*sign));
    match sign {
        Some(sign) if !is_comment => Some(format!(
            "YAML gives {sign} at the start of a value a meaning of its own: put the value in quotes, as in \"{sign}…\""
        )),
        None if value.contains('"') && value.contains('\\') => Some(
            "in double quotes a backslash starts an escape: put the value in single quotes, as in '^v\\d+$'".to_owned(),
        ),
        _ => None,
    }
}

/// `quotes` is the sentence for an error of the syntax, if the text suggests one.
fn sentence(path: &Path, cause: &Cause, quotes: Option<String>) -> String {
    let is_secret = path.passes("credentials") || path.passes("webhook");
    match cause {
        Cause::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Cause::SerdeUnknownVariant { variant, expected, .. } => unknown("word", variant, expected),
        Cause::SerdeMissingField { field, .. } => format!("the key {field} is missing: add it"),
        Cause::SerdeInvalidType { expected, .. } | Cause::SerdeInvalidValue { expected, .. } if is_secret => {
            format!("wrong type: expected {expected}")
        }
        Cause::SerdeInvalidType {
            unexpected, expected, ..
        } => {
            format!("wrong type: found {unexpected}, expected {expected}")
        }
        Cause::SerdeInvalidValue {
            unexpected, expected, ..
        } => {
            format!("{unexpected} is not valid here: expected {expected}")
        }
        Cause::DuplicateMappingKey { key: Some(key), .. } => {
            format!("duplicate key {}: keep one", shown(key))
        }
        Cause::Unexpected { expected, .. } => match *expected {
            "mapping start" => "expected a mapping of keys and values".to_owned(),
            "sequence start" => "expected a list: write [] for an empty one".to_owned(),
            "string scalar" => "expected a text".to_owned(),
            other => format!("expected {other}"),
        },
        Cause::InvalidBooleanStrict { .. } => "expected true or false".to_owned(),
        Cause::NullIntoString { .. } => "expected a text: write \"\" for an empty one".to_owned(),
        Cause::MultipleDocuments { .. } => "the file contains more than one document: keep one".to_owned(),
        Cause::Eof { .. } => "the document is empty: add version, registries and rules".to_owned(),
        cause => quotes.unwrap_or_else(|| plain(cause)),
    }
}

/// The library's message in one line, without the position, which the caller adds.
fn plain(cause: &Cause) -> String {
    let text = serde_saphyr::Error::render_with_options(
        cause,
        serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off },
    );
    let line = text.lines().next().unwrap_or_default();
    match line.rsplit_once(" at line ") {
        Some((sentence, _)) => sentence.to_owned(),
        None => line.to_owned(),
    }
}

fn unknown(what: &str, written: &str, expected: &[&'static str]) -> String {
    let nearest = expected
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, written), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 2);
    match nearest {
        Some((_, name)) => format!("unknown {what} {}: did you mean {name}?", shown(written)),
        None => format!(
            "unknown {what} {}: expected one of {}",
            shown(written),
            expected.join(", ")
        ),
    }
}
