//! Reads the patterns of repositories and tags, which have the same form: one name, or a mapping of `glob`, `regex` and
//! `exclude`.

use std::str::FromStr;

use transship_oci::{Code, Repository, Tag};

use crate::error::{Diagnostics, fault, shown};
use crate::path::Path;
use crate::pattern::{Matcher, Pattern, units};
use crate::raw::{Exclude, PatternKeys, TextOr};

/// A name that a pattern can be instead of a mapping.
pub(super) trait Named: FromStr {
    const WHAT: &'static str;
}

impl Named for Repository {
    const WHAT: &'static str = "repository name";
}

impl Named for Tag {
    const WHAT: &'static str = "tag";
}

/// The pattern at `path`; without one, every `N` matches. [`None`] if it cannot be read, which is recorded.
pub(super) fn of<N: Named, T: PatternKeys>(
    raw: Option<&TextOr<T>>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Pattern> {
    match raw {
        None => Some(Pattern::default()),
        Some(TextOr::Text(text)) => Some(Pattern {
            include: Some(text_pattern::<N>(text, path, diagnostics).ok()?),
            exclude: None,
        }),
        Some(TextOr::Table(table)) => {
            let include = matcher(table.glob(), table.regex(), path, diagnostics);
            let exclude = exclude::<N>(table.exclude(), &path.key("exclude"), diagnostics);
            Some(Pattern {
                include: include.ok()?,
                exclude: exclude.ok()?,
            })
        }
    }
}

/// The pattern could not be read, and the error is recorded.
struct Unreadable;

/// A pattern that is written as one text: a name, or a glob.
fn text_pattern<N: Named>(text: &str, path: &Path, diagnostics: &mut Diagnostics) -> Result<Matcher, Unreadable> {
    let matcher = if text.parse::<N>().is_ok() {
        Ok(Matcher::Exact(text.to_owned()))
    } else if text.contains(['^', '$', '\\', '(']) {
        Err(format!(
            "{} looks like a regular expression, but a text is a glob: write {{ regex: .. }} for a regular expression",
            shown(text)
        ))
    } else if text.contains(['*', '?', '[', '{']) {
        diagnostics
            .count_pattern(text.len() as u64)
            .and_then(|()| Matcher::glob(text))
    } else {
        Err(format!(
            "{} is not a valid {}, so nothing can match it: write a glob such as \"v*\", or {{ regex: .. }}",
            shown(text),
            N::WHAT
        ))
    };
    let matcher = matcher.map_err(|why| fault(Code::RuleInvalid, why));
    diagnostics.accept(path, matcher).ok_or(Unreadable)
}

fn exclude<N: Named>(
    raw: Option<&TextOr<Exclude>>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Result<Option<Matcher>, Unreadable> {
    match raw {
        None => Ok(None),
        Some(TextOr::Text(text)) => text_pattern::<N>(text, path, diagnostics).map(Some),
        Some(TextOr::Table(table)) => matcher(table.glob.as_deref(), table.regex.as_deref(), path, diagnostics),
    }
}

/// [`None`] if there is neither a glob nor a regex.
fn matcher(
    glob: Option<&str>,
    regex: Option<&str>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Result<Option<Matcher>, Unreadable> {
    let (key, compiled) = match (glob, regex) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let sentence = "glob and regex cannot be combined: keep one".to_owned();
            diagnostics.error(path.clone(), fault(Code::RuleInvalid, sentence));
            return Err(Unreadable);
        }
        (Some(glob), None) => {
            let counted = diagnostics.count_pattern(glob.len() as u64);
            ("glob", counted.and_then(|()| Matcher::glob(glob)))
        }
        (None, Some(regex)) => {
            let counted = units(regex).and_then(|units| diagnostics.count_pattern(units));
            ("regex", counted.and_then(|()| Matcher::regex(regex)))
        }
    };
    diagnostics
        .accept(&path.key(key), compiled.map_err(|why| fault(Code::RuleInvalid, why)))
        .map(Some)
        .ok_or(Unreadable)
}
