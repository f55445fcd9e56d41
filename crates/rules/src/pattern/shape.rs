//! What follows from the text of a regular expression alone: its size, what every match begins with, and whether it can match
//! a name at all.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::Scope;

/// The characters of a kind of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Alphabet {
    /// Paths of repositories.
    Repository,
    /// Tags.
    Tag,
}

impl Alphabet {
    const fn has(self, byte: u8) -> bool {
        match self {
            Self::Repository => {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-' | b'/')
            }
            Self::Tag => byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'),
        }
    }

    const fn max_bytes(self) -> usize {
        match self {
            Self::Repository => 255,
            Self::Tag => 128,
        }
    }

    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Tag => "tag",
        }
    }

    pub(crate) const fn grammar(self) -> &'static str {
        match self {
            Self::Repository => "a repository has lower-case letters, digits and . _ - / only, at most 255",
            Self::Tag => "a tag has letters, digits and . _ - only, at most 128",
        }
    }
}

/// The size of a regular expression before it is compiled: its characters and ranges, as often as they are repeated. The
/// recursion is bounded by the nesting that the parser allows.
pub(super) fn units(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            units(&repetition.sub).saturating_mul(times.into())
        }
        HirKind::Capture(capture) => units(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(units).fold(1, u64::saturating_add),
    }
}

/// False if no name of `alphabet` matches. True does not say that one does.
pub(super) fn can_match(hir: &Hir, alphabet: Alphabet) -> bool {
    let is_short = hir
        .properties()
        .minimum_len()
        .is_some_and(|bytes| bytes <= alphabet.max_bytes());
    is_short && is_possible(hir, alphabet)
}

fn is_possible(hir: &Hir, alphabet: Alphabet) -> bool {
    let has_some = |start: u8, end: u8| (start..=end).any(|byte| alphabet.has(byte));
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Unicode(_)) => true,
        HirKind::Literal(literal) => literal.0.iter().all(|byte| alphabet.has(*byte)),
        HirKind::Class(Class::Bytes(class)) => class.ranges().iter().any(|range| has_some(range.start(), range.end())),
        HirKind::Repetition(repetition) => repetition.min == 0 || is_possible(&repetition.sub, alphabet),
        HirKind::Capture(capture) => is_possible(&capture.sub, alphabet),
        HirKind::Concat(parts) => parts.iter().all(|part| is_possible(part, alphabet)),
        HirKind::Alternation(parts) => parts.iter().any(|part| is_possible(part, alphabet)),
    }
}

/// What every match begins with, and whether everything that begins so matches.
pub(super) fn scope(hir: &Hir) -> (Scope, bool) {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(hir),
    };
    let [first, rest @ ..] = parts else {
        return (Scope::ALL, false);
    };
    if !matches!(first.kind(), HirKind::Look(Look::Start)) {
        return (Scope::ALL, false);
    }
    let mut text = String::new();
    let mut rest = rest.iter();
    for part in rest.by_ref() {
        match part.kind() {
            HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
            HirKind::Look(Look::End) if rest.len() == 0 => return (Scope::exact(text), true),
            _ => return (Scope::prefix(text), false),
        }
    }
    (Scope::prefix(text), true)
}
