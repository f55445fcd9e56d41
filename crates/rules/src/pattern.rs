//! Patterns of repositories and tags: a name, a glob or a regular expression, and exclusions.
//!
//! Patterns are limited in length and compiled size, and are matched in time linear in the text, so that no pattern can delay
//! deliveries.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::error::shown;

/// Maximum length of a pattern in bytes.
const MAX_PATTERN_BYTES: usize = 4096;
/// Maximum size of a compiled pattern in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;
/// Maximum nesting of a regular expression.
const MAX_NESTING: u32 = 50;

/// A pattern with its exclusion.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern {
    /// What matches; [`None`] for every text.
    pub(crate) include: Option<Matcher>,
    /// What is excluded; [`None`] for no text.
    pub(crate) exclude: Option<Matcher>,
}

/// One form of a pattern, compiled.
#[derive(Debug, Clone)]
pub(crate) enum Matcher {
    /// Exactly this text.
    Exact(String),
    /// The whole text: `*` within a component, `**` across components.
    Glob {
        /// The glob as written.
        text: String,
        /// The compiled glob, which is an expression over bytes.
        regex: Regex,
    },
    /// A regular expression that matches anywhere in the text. `\w`, `\d` and `\s` mean ASCII: names have nothing else.
    Regex(Regex),
}

/// Result of matching a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Included,
    NotIncluded,
    Excluded,
}

impl Pattern {
    pub(crate) fn matches(&self, text: &str) -> Match {
        let is_in = |matcher: &Option<Matcher>| matcher.as_ref().map(|matcher| matcher.is_match(text));
        if is_in(&self.include) == Some(false) {
            Match::NotIncluded
        } else if is_in(&self.exclude) == Some(true) {
            Match::Excluded
        } else {
            Match::Included
        }
    }
}

impl Matcher {
    /// Compiles a glob for the whole text.
    pub(crate) fn glob(text: &str) -> Result<Self, String> {
        check_length(text)?;
        if text
            .split('/')
            .any(|component| component.contains("**") && component != "**")
        {
            return Err(format!(
                "the glob {} has ** within a component: ** matches whole components, as in core/**; use * within one",
                shown(text)
            ));
        }
        let glob = globset::GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| format!("the glob {} is not valid: {}", shown(text), error.kind()))?;
        let regex = RegexBuilder::new(glob.regex())
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| why("glob", text, &error))?;
        Ok(Self::Glob {
            text: text.to_owned(),
            regex,
        })
    }

    /// Compiles a regular expression that matches anywhere in the text.
    pub(crate) fn regex(text: &str) -> Result<Self, String> {
        check_length(text)?;
        RegexBuilder::new(text)
            .unicode(false)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_COMPILED_BYTES)
            .nest_limit(MAX_NESTING)
            .build()
            .map(Self::Regex)
            .map_err(|error| why("regex", text, &error))
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Exact(name) => name == text,
            Self::Glob { regex, .. } | Self::Regex(regex) => regex.is_match(text.as_bytes()),
        }
    }

    /// The path at or below which every matching text is, and whether it can only be that path itself.
    pub(crate) fn scope(&self) -> (&str, bool) {
        match self {
            Self::Exact(name) => (name, true),
            Self::Glob { text, .. } => literal_components(text),
            Self::Regex(_) => ("", false),
        }
    }

    /// The path below which everything is matched, if the pattern is `path/**`.
    pub(crate) fn whole_tree(&self) -> Option<&str> {
        match self {
            Self::Glob { text, .. } => text
                .strip_suffix("/**")
                .filter(|path| literal_components(path) == (*path, true)),
            Self::Exact(_) | Self::Regex(_) => None,
        }
    }
}

/// The literal components at the start of a glob, and whether the glob consists only of these.
fn literal_components(glob: &str) -> (&str, bool) {
    let Some(meta) = glob.find(['*', '?', '[', ']', '{', '}', '\\']) else {
        return (glob, true);
    };
    (glob[..meta].rfind('/').map_or("", |slash| &glob[..slash]), false)
}

/// The size of a regular expression before it is compiled: its characters and ranges, as often as they are repeated.
pub(crate) fn units(text: &str) -> Result<u64, String> {
    check_length(text)?;
    let mut parser = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(MAX_NESTING)
        .build();
    let parsed = parser
        .parse(text)
        .map_err(|error| why("regex", text, &regex::Error::Syntax(error.to_string())))?;
    Ok(size(&parsed))
}

/// The recursion is bounded by [`MAX_NESTING`].
fn size(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            size(&repetition.sub).saturating_mul(times.into())
        }
        HirKind::Capture(capture) => size(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(size).fold(1, u64::saturating_add),
    }
}

fn check_length(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the pattern is empty: omit it to match everything".to_owned());
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "the pattern has {} bytes, but the limit is {MAX_PATTERN_BYTES}: split it into several rules",
            text.len()
        ));
    }
    Ok(())
}

fn why(form: &str, text: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!(
            "the {form} {} is larger than {limit} bytes when compiled: use smaller repetitions",
            shown(text)
        ),
        error => {
            // The library's message has several lines; the last one is the sentence.
            let picture = error.to_string();
            let sentence = picture.lines().last().unwrap_or_default();
            format!(
                "the {form} {} is not valid: {}",
                shown(text),
                sentence.trim_start_matches("error: ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str, name: &str) -> bool {
        Matcher::glob(text).unwrap().is_match(name)
    }

    #[test]
    fn a_glob_matches_the_whole_text_and_a_star_one_component() {
        for (pattern, name, matches) in [
            ("**", "a/b/c", true),
            ("*", "app", true),
            ("*", "team/app", false),
            ("team/*", "team/app", true),
            ("team/*", "team/a/b", false),
            ("team/**", "team/a/b", true),
            ("team/**", "team", false),
            ("**/app", "app", true),
            ("**/app", "a/b/app", true),
            ("**/app", "a/xapp", false),
            ("app", "app2", false),
            ("v?.{1,2}", "v3.2", true),
            ("*-rc*", "v1-rc.1", true),
            ("*-rc*", "v1", false),
        ] {
            assert_eq!(glob(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_regex_is_searched_for() {
        let regex = Matcher::regex("^v\\d+").unwrap();
        assert!(regex.is_match("v1.2"));
        assert!(!regex.is_match("rev1"));
        assert!(Matcher::regex("(a+)+$").unwrap().is_match(&"a".repeat(128)));
    }

    #[test]
    fn classes_are_ascii_so_that_the_grammar_of_tags_fits() {
        for text in [r"^[\w][\w.-]{0,127}$", r"^\w{1,128}$", r"^v\d{1,4}(\.\d{1,4}){2}$"] {
            assert!(Matcher::regex(text).is_ok(), "{text}");
        }
        assert!(!Matcher::regex(r"^\w+$").unwrap().is_match("é"));
    }

    #[test]
    fn the_size_of_a_regex_is_known_before_it_is_compiled() {
        assert_eq!(units("abc").unwrap(), 3);
        assert_eq!(units("[a-c]{10}").unwrap(), 10);
        assert!(units(r"(\w{1,100}){1,100}").unwrap() > 10_000);
        assert!(units("x{1000}{1000}{1000}").unwrap() >= 1_000_000_000);
    }

    #[test]
    fn what_would_cost_too_much_is_refused() {
        let long = "x".repeat(50_000);
        for text in ["x{1000}{1000}", "(", "[z-a]", "", long.as_str(), "(?=x)"] {
            let why = Matcher::regex(text).unwrap_err();
            assert!(why.len() < 300 && !why.contains('\n'), "{why}");
        }
        let nested = format!("{}{}", "(".repeat(200), ")".repeat(200));
        assert!(Matcher::regex(&nested).is_err());
        for text in ["", "[", "{a", "core**", "a/**b/c", long.as_str()] {
            assert!(Matcher::glob(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_excluded_is_told_from_what_was_never_included() {
        let pattern = Pattern {
            include: Some(Matcher::regex("^v").unwrap()),
            exclude: Some(Matcher::glob("*-rc*").unwrap()),
        };
        assert_eq!(pattern.matches("v1"), Match::Included);
        assert_eq!(pattern.matches("v1-rc1"), Match::Excluded);
        assert_eq!(pattern.matches("test-rc1"), Match::NotIncluded);
        assert_eq!(Pattern::default().matches("anything"), Match::Included);
    }

    #[test]
    fn the_scope_of_a_pattern_is_its_literal_path() {
        for (text, scope) in [
            ("**", ("", false)),
            ("team/**", ("team", false)),
            ("a/b-*/c", ("a", false)),
            ("a/b", ("a/b", true)),
        ] {
            assert_eq!(Matcher::glob(text).unwrap().scope(), scope, "{text}");
        }
        assert_eq!(Matcher::glob("backup/**").unwrap().whole_tree(), Some("backup"));
        assert_eq!(Matcher::glob("b*/**").unwrap().whole_tree(), None);
    }

    /// The meaning of `*`, `**` and literals, written down the slow way.
    fn naive(pattern: &[&str], name: &[&str]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((&"**", [])) => !name.is_empty(),
            Some((&"**", rest)) => (0..=name.len()).any(|skipped| naive(rest, &name[skipped..])),
            Some((component, rest)) => name.split_first().is_some_and(|(first, names)| {
                naive_component(component.as_bytes(), first.as_bytes()) && naive(rest, names)
            }),
        }
    }

    fn naive_component(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| naive_component(rest, &text[skipped..])),
            Some((byte, rest)) => text
                .split_first()
                .is_some_and(|(first, text)| first == byte && naive_component(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn globs_mean_what_the_naive_matcher_says(
            pattern in prop::collection::vec(prop_oneof![Just("**".to_owned()), "[ab]{0,2}\\*?[ab]{1,2}", Just("*".to_owned())], 1..4),
            name in prop::collection::vec("[ab]{1,3}", 1..5),
        ) {
            let components: Vec<&str> = pattern.iter().map(String::as_str).collect();
            let names: Vec<&str> = name.iter().map(String::as_str).collect();
            prop_assert_eq!(glob(&pattern.join("/"), &name.join("/")), naive(&components, &names));
        }

        #[test]
        fn no_pattern_panics(text in "\\PC{0,40}") {
            if let Ok(matcher) = Matcher::glob(&text) {
                matcher.is_match("a/b");
                matcher.scope();
            }
            if let Ok(matcher) = Matcher::regex(&text) {
                matcher.is_match("a/b");
            }
        }
    }
}
