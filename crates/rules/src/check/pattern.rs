//! Reads the patterns of repositories and tags, which have the same form: one name, or a mapping of `glob`, `regex` and
//! `exclude`.

use std::str::FromStr;

use transship_oci::{Code, Repository, Tag};

use crate::error::{Diagnostics, fault, shown};
use crate::path::Path;
use crate::pattern::{Matcher, Pattern};
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
        Some(TextOr::Text(name)) => exact::<N>(name, path, diagnostics),
        Some(TextOr::Table(table)) => {
            let include = matcher(table.glob(), table.regex(), path, diagnostics);
            let exclude = exclude(table.exclude(), &path.key("exclude"), diagnostics);
            Some(Pattern {
                include: include.ok()?,
                exclude: exclude.ok()?,
            })
        }
    }
}

fn exact<N: Named>(text: &str, path: &Path, diagnostics: &mut Diagnostics) -> Option<Pattern> {
    if text.parse::<N>().is_err() {
        let sentence = format!(
            "{} is not a valid {}, so nothing can match it: write {{ glob: .. }} or {{ regex: .. }} for a pattern",
            shown(text),
            N::WHAT
        );
        diagnostics.error(path.clone(), fault(Code::RuleInvalid, sentence));
        return None;
    }
    Some(Pattern {
        include: Some(Matcher::Exact(text.to_owned())),
        exclude: None,
    })
}

/// The pattern could not be read, and the error is recorded.
struct Unreadable;

fn exclude(
    raw: Option<&TextOr<Exclude>>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Result<Option<Matcher>, Unreadable> {
    match raw {
        None => Ok(None),
        Some(TextOr::Text(text)) => Ok(Some(Matcher::Exact(text.clone()))),
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
        (Some(glob), None) => ("glob", Matcher::glob(glob)),
        (None, Some(regex)) => ("regex", Matcher::regex(regex)),
    };
    diagnostics
        .accept(&path.key(key), compiled.map_err(|why| fault(Code::RuleInvalid, why)))
        .map(Some)
        .ok_or(Unreadable)
}
