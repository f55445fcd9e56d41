//! Parses YAML or JSON, and reports every mistake with its path, its line and a suggestion.
//!
//! The text may contain secrets by mistake, so messages have no snippets, and a value of the wrong type under `credentials` or
//! `webhook` is not repeated.

use serde_saphyr::Error as Cause;

use transship_oci::Code;

use crate::error::{Error, Errors, fault, shown};
use crate::path::{Path, locate};
use crate::pitfalls::Place;
use crate::raw;

/// Maximum size of a document in bytes.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// Maximum number of values of a document: ten thousand rules have about 300,000.
const MAX_NODES: usize = 1_000_000;
/// Maximum number of aliases and merge keys.
const MAX_ALIASES: usize = 50_000;
/// Maximum number of values that aliases repeat.
const MAX_REPEATED_NODES: usize = 400_000;

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
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_merge_keys: MAX_ALIASES,
            // The limit of what aliases repeat is the one that counts.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPEATED_NODES,
        },
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
    let outer = cause.without_snippet();
    let cause = innermost(outer);
    let path = match cause {
        // The path ends at the mapping that holds the key.
        Cause::SerdeUnknownField { field, .. } if !path.ends_with(field) => path.key(field),
        _ => path.clone(),
    };
    let reported = outer.location().map(|location| crate::error::Position {
        line: location.line(),
        column: location.column(),
    });
    let place = Place {
        text,
        position: reported,
    };
    let located = || locate(text, &[&path]).pop().flatten();
    let position = match cause {
        Cause::SerdeMissingField { .. } => located().or(reported),
        _ => reported.or_else(located),
    };
    Error {
        position,
        ..Error::new(
            fault(Code::ConfigInvalid, sentence(&path, cause, &place)),
            path.to_string(),
        )
    }
}

/// The error itself, where an alias brought it in.
fn innermost(mut cause: &Cause) -> &Cause {
    while let Cause::AliasError { error, .. } = cause {
        cause = error.without_snippet();
    }
    cause
}

/// `place` is where the parser or the reader stopped.
fn sentence(path: &Path, cause: &Cause, place: &Place<'_>) -> String {
    let is_secret = path.passes("credentials") || path.passes("webhook") || path.passes("key");
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
            let advice = place.type_advice(expected).unwrap_or_default();
            format!("wrong type: found {unexpected}, expected {expected}{advice}")
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
            "mapping start" => {
                "expected a mapping of keys and values, as in \"key: value\" with a space after the colon".to_owned()
            }
            "sequence start" => "expected a list: write [] for an empty one".to_owned(),
            "string scalar" => "expected a text".to_owned(),
            other => format!("expected {other}"),
        },
        Cause::InvalidBooleanStrict { .. } => match place.token() {
            Some("yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y") => {
                "expected true or false: write true".to_owned()
            }
            Some("no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N") => {
                "expected true or false: write false".to_owned()
            }
            _ => "expected true or false".to_owned(),
        },
        Cause::NullIntoString { .. } => match place.comment_advice() {
            Some(advice) => advice,
            None => "expected a text: write \"\" for an empty one".to_owned(),
        },
        Cause::MultipleDocuments { .. } => "the file contains more than one document: keep one".to_owned(),
        Cause::Eof { .. } => "the document is empty: add version, registries and rules".to_owned(),
        Cause::Budget { .. } => {
            "the document has too many values, or they are nested too deeply: split it, or write fewer".to_owned()
        }
        Cause::AliasReplayLimitExceeded { .. }
        | Cause::AliasExpansionLimitExceeded { .. }
        | Cause::AliasReplayStackDepthExceeded { .. }
        | Cause::AliasReplayCounterOverflow { .. } => {
            "aliases repeat too much of the document: write the values out, or fewer of them".to_owned()
        }
        cause => place.syntax_advice().unwrap_or_else(|| plain(cause)),
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
