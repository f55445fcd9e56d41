//! Reads the filters of repositories and tags: a name, a glob, a list of both, or a mapping of conditions.

use std::str::FromStr;
use std::sync::Arc;

use transship_oci::{Code, Repository, Result, Tag};

use crate::error::{Diagnostics, fault, shown};
use crate::path::Path;
use crate::pattern::{Alphabet, Filter, Form, Matcher, VersionRange};
use crate::raw::{Exclude, OneOrMany, PatternTable, TagTable, TextOr};

/// What a filter selects.
pub(super) trait Named: FromStr {
    const WHAT: &'static str;
    const ALPHABET: Alphabet;
}

impl Named for Repository {
    const WHAT: &'static str = "repository name";
    const ALPHABET: Alphabet = Alphabet::Repository;
}

impl Named for Tag {
    const WHAT: &'static str = "tag";
    const ALPHABET: Alphabet = Alphabet::Tag;
}

/// The conditions of a mapping, which have the same form for repositories and tags.
pub(super) struct Conditions<'a> {
    glob: Option<&'a OneOrMany<String>>,
    regex: Option<&'a OneOrMany<String>>,
    semver: Option<&'a OneOrMany<String>>,
    exclude: Option<&'a OneOrMany<TextOr<Exclude>>>,
}

impl<'a> From<&'a PatternTable> for Conditions<'a> {
    fn from(table: &'a PatternTable) -> Self {
        Self {
            glob: table.glob.as_ref(),
            regex: table.regex.as_ref(),
            semver: None,
            exclude: table.exclude.as_ref(),
        }
    }
}

impl<'a> From<&'a TagTable> for Conditions<'a> {
    fn from(table: &'a TagTable) -> Self {
        Self {
            glob: table.glob.as_ref(),
            regex: table.regex.as_ref(),
            semver: table.semver.as_ref(),
            exclude: table.exclude.as_ref(),
        }
    }
}

/// The filter at `path`; without one, every `N` passes. [`None`] if it cannot be read, which is recorded.
pub(super) fn of<'a, N, T>(
    raw: Option<&'a OneOrMany<TextOr<T>>>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Filter>
where
    N: Named,
    Conditions<'a>: From<&'a T>,
{
    let Some(raw) = raw else {
        return Some(Filter::default());
    };
    let filter = match raw.items.as_slice() {
        [TextOr::Table(table)] if !raw.is_list => conditions::<N>(&table.into(), path, diagnostics)?,
        _ => Filter {
            include: vec![entries(
                raw,
                path,
                diagnostics,
                |entry, path, diagnostics| match entry {
                    TextOr::Text(text) => text_matcher::<N>(text, path, diagnostics),
                    TextOr::Table(_) => {
                        let sentence = "a list has names and globs: for other conditions write one mapping with lists, such as { glob: [\"a-*\", \"b-*\"] }";
                        diagnostics.error(path.clone(), fault(Code::RuleInvalid, sentence));
                        None
                    }
                },
            )?],
            exclude: Vec::new(),
        },
    };
    refuse_contradictions(&filter, N::WHAT, path, diagnostics)?;
    Some(filter)
}

fn conditions<N: Named>(raw: &Conditions<'_>, path: &Path, diagnostics: &mut Diagnostics) -> Option<Filter> {
    let glob = expressions::<N>(raw.glob, Form::Glob, &path.key("glob"), diagnostics);
    let regex = expressions::<N>(raw.regex, Form::Regex, &path.key("regex"), diagnostics);
    let semver = versions(raw.semver, &path.key("semver"), diagnostics);
    let exclude = match raw.exclude {
        None => Some(Vec::new()),
        Some(raw) => exclude::<N>(raw, &path.key("exclude"), diagnostics),
    };
    let include = [glob?, regex?, semver?];
    Some(Filter {
        include: include.into_iter().filter(|list| !list.is_empty()).collect(),
        exclude: exclude?,
    })
}

fn exclude<N: Named>(
    raw: &OneOrMany<TextOr<Exclude>>,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Matcher>> {
    let lists = entries(raw, path, diagnostics, |entry, path, diagnostics| match entry {
        TextOr::Text(text) => Some(vec![text_matcher::<N>(text, path, diagnostics)?]),
        TextOr::Table(table) => exclude_table::<N>(table, path, diagnostics),
    })?;
    Some(lists.into_iter().flatten().collect())
}

fn exclude_table<N: Named>(table: &Exclude, path: &Path, diagnostics: &mut Diagnostics) -> Option<Vec<Matcher>> {
    let given = [table.glob.is_some(), table.regex.is_some(), table.semver.is_some()];
    let problem = match given.into_iter().filter(|is_given| *is_given).count() {
        1 if table.semver.is_some() && N::ALPHABET != Alphabet::Tag => Some("semver is for tags"),
        1 => None,
        0 => Some("it is empty: write what is excluded, or leave it out"),
        // Whether both or one of them must match would be a guess.
        _ => Some(
            "a mapping under exclude has one condition: write a list, such as [{ glob: \"*-rc*\" }, { regex: \"^dev\" }]",
        ),
    };
    if let Some(sentence) = problem {
        diagnostics.error(path.clone(), fault(Code::RuleInvalid, sentence));
        return None;
    }
    let glob = expressions::<N>(table.glob.as_ref(), Form::Glob, &path.key("glob"), diagnostics);
    let regex = expressions::<N>(table.regex.as_ref(), Form::Regex, &path.key("regex"), diagnostics);
    let semver = versions(table.semver.as_ref(), &path.key("semver"), diagnostics);
    Some([glob?, regex?, semver?].concat())
}

/// What `read` makes of each entry; [`None`] if one of them cannot be read, or if the list is empty.
fn entries<T, R>(
    raw: &OneOrMany<T>,
    path: &Path,
    diagnostics: &mut Diagnostics,
    mut read: impl FnMut(&T, &Path, &mut Diagnostics) -> Option<R>,
) -> Option<Vec<R>> {
    if raw.items.is_empty() {
        let sentence = "the list is empty, so nothing can match: leave it out to match everything";
        diagnostics.error(path.clone(), fault(Code::RuleNeverMatches, sentence));
        return None;
    }
    let mut read_entries = Vec::with_capacity(raw.items.len());
    for (position, item) in raw.items.iter().enumerate() {
        let entry = if raw.is_list {
            read(item, &path.index(position), diagnostics)
        } else {
            read(item, path, diagnostics)
        };
        read_entries.extend(entry);
    }
    (read_entries.len() == raw.items.len()).then_some(read_entries)
}

/// A matcher that is written as one text: a name, or a glob.
fn text_matcher<N: Named>(text: &str, path: &Path, diagnostics: &mut Diagnostics) -> Option<Matcher> {
    let matcher = if text.parse::<N>().is_ok() {
        Ok(Matcher::Exact(text.into()))
    } else if text.contains(['^', '$', '\\', '(']) {
        Err(fault(
            Code::RuleInvalid,
            format!(
                "{} looks like a regular expression, but a text is a glob: write {{ regex: .. }} for a regular expression",
                shown(text)
            ),
        ))
    } else if text.contains(['*', '?', '[', '{']) {
        expression::<N>(text, Form::Glob, diagnostics)
    } else {
        Err(fault(
            Code::RuleInvalid,
            format!(
                "{} is not a valid {}, so nothing can match it: write a glob such as \"v*\", or {{ regex: .. }}",
                shown(text),
                N::WHAT
            ),
        ))
    };
    diagnostics.accept(path, matcher)
}

fn expression<N: Named>(text: &str, form: Form, diagnostics: &mut Diagnostics) -> Result<Matcher> {
    let expression = diagnostics.expressions.read(form, text, N::ALPHABET)?;
    Ok(Matcher::Expression(expression))
}

/// No matchers if there is no such condition.
fn expressions<N: Named>(
    raw: Option<&OneOrMany<String>>,
    form: Form,
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Matcher>> {
    let Some(raw) = raw else {
        return Some(Vec::new());
    };
    entries(raw, path, diagnostics, |text, path, diagnostics| {
        let matcher = expression::<N>(text, form, diagnostics);
        diagnostics.accept(path, matcher)
    })
}

fn versions(raw: Option<&OneOrMany<String>>, path: &Path, diagnostics: &mut Diagnostics) -> Option<Vec<Matcher>> {
    let Some(raw) = raw else {
        return Some(Vec::new());
    };
    entries(raw, path, diagnostics, |text, path, diagnostics| {
        let range = VersionRange::parse(text);
        let range = diagnostics.accept(path, range)?;
        Some(Matcher::Versions(Arc::new(range)))
    })
}

/// Refuses a filter that nothing can pass, as far as this follows from its names and from what its patterns begin with.
fn refuse_contradictions(filter: &Filter, what: &str, path: &Path, diagnostics: &mut Diagnostics) -> Option<()> {
    let scopes = filter.scopes();
    let excluded: Vec<_> = filter.excluded().collect();
    let never = if scopes.is_empty() {
        Some("none of its names meets the other conditions")
    } else if scopes
        .iter()
        .all(|scope| excluded.iter().any(|whole| whole.holds(scope)))
    {
        Some("exclude leaves nothing of what it includes")
    } else if filter.conditions_are_apart() {
        Some("two of its conditions have no text in common")
    } else {
        None
    };
    let Some(why) = never else { return Some(()) };
    let sentence = format!("no {what} can match: {why}");
    diagnostics.error(path.clone(), fault(Code::RuleNeverMatches, sentence));
    None
}
