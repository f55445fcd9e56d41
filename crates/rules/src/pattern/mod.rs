//! Filters of repositories and tags: names, globs, regular expressions and version ranges, and exclusions.
//!
//! Patterns are limited in length and compiled size, and are matched in time linear in the text, so that no pattern can delay
//! deliveries.

mod expression;
mod shape;
mod version;

use std::sync::Arc;

pub(crate) use expression::{Expression, Expressions, Form};
pub(crate) use shape::Alphabet;
pub(crate) use version::{VersionRange, version_of};

/// The conditions on a name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// A name passes if at least one matcher of each list matches it. Without lists, every name passes.
    pub(crate) include: Vec<Vec<Matcher>>,
    /// A name that one of these matches does not pass.
    pub(crate) exclude: Vec<Matcher>,
}

/// One condition.
#[derive(Debug, Clone)]
pub(crate) enum Matcher {
    /// Exactly this name.
    Exact(Box<str>),
    /// A glob or a regular expression.
    Expression(Arc<Expression>),
    /// A version within this range; a name that is not a version does not match.
    Versions(Arc<VersionRange>),
}

/// Result of matching a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Included,
    NotIncluded,
    /// A version range is the only list that does not match.
    OutsideVersions,
    Excluded,
}

/// Names that begin with a text, or one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope {
    /// What every name begins with, or the name.
    pub(crate) text: String,
    /// There is only this one name.
    pub(crate) is_exact: bool,
}

impl Scope {
    /// Every name.
    pub(crate) const ALL: Self = Self {
        text: String::new(),
        is_exact: false,
    };

    /// One name.
    pub(crate) fn exact(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_exact: true,
        }
    }

    /// Names that begin with `text`.
    pub(crate) fn prefix(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_exact: false,
        }
    }

    /// True if every name of `other` is one of these.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        if self.is_exact {
            other.is_exact && self.text == other.text
        } else {
            other.text.starts_with(&self.text)
        }
    }

    /// True if a name can belong to both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.holds(other) || other.holds(self)
    }
}

impl Filter {
    pub(crate) fn matches(&self, name: &str) -> Match {
        let mut failed = self
            .include
            .iter()
            .filter(|list| !list.iter().any(|matcher| matcher.is_match(name)))
            .peekable();
        if failed.peek().is_some() {
            let only_versions = failed.all(|list| matches!(list.first(), Some(Matcher::Versions(_))));
            return if only_versions {
                Match::OutsideVersions
            } else {
                Match::NotIncluded
            };
        }
        if self.exclude.iter().any(|matcher| matcher.is_match(name)) {
            return Match::Excluded;
        }
        Match::Included
    }

    pub(crate) fn admits(&self, name: &str) -> bool {
        self.matches(name) == Match::Included
    }

    /// True if a version range is among the conditions, so that every name that passes is a version.
    pub(crate) fn has_versions(&self) -> bool {
        let is_range = |matcher: &Matcher| matches!(matcher, Matcher::Versions(_));
        self.include.iter().any(|list| list.iter().all(is_range))
    }

    /// The only names that can pass, if the filter lists names.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        let lists = self.include.iter();
        let listed = lists.map(|list| list.iter().map(Matcher::name).collect::<Option<Vec<_>>>());
        let listed = listed.flatten().next()?;
        Some(listed.into_iter().filter(|name| self.admits(name)).collect())
    }

    /// Scopes that together hold every name that passes: those of the list that is the most specific.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        if let Some(names) = self.names() {
            return names.into_iter().map(Scope::exact).collect();
        }
        let best = self
            .include
            .iter()
            .map(|list| list.iter().map(Matcher::scope).collect::<Vec<_>>())
            .max_by_key(|scopes| scopes.iter().map(|scope| scope.text.len()).min());
        best.unwrap_or_else(|| vec![Scope::ALL])
    }

    /// Scopes of which no name passes.
    pub(crate) fn excluded(&self) -> impl Iterator<Item = Scope> {
        self.exclude.iter().filter_map(Matcher::whole)
    }

    /// True if two lists of conditions have no name in common, judged by what their names begin with.
    pub(crate) fn conditions_are_apart(&self) -> bool {
        let scopes: Vec<Vec<Scope>> = self
            .include
            .iter()
            .map(|list| list.iter().map(Matcher::scope).collect())
            .collect();
        scopes.iter().enumerate().any(|(number, one)| {
            let mut others = scopes[number + 1..].iter();
            others.any(|other| !one.iter().any(|scope| other.iter().any(|other| scope.meets(other))))
        })
    }

    /// True if a name certainly passes both filters, provided that each passes some name.
    pub(crate) fn certainly_meets(&self, other: &Self) -> bool {
        let one_covers = |one: &Self, other: &Self| {
            let covered = || {
                let whole: Vec<Scope> = one.include.iter().flatten().filter_map(Matcher::whole).collect();
                other
                    .scopes()
                    .iter()
                    .any(|scope| whole.iter().any(|whole| whole.holds(scope)))
            };
            one.exclude.is_empty() && (one.include.is_empty() || one.include.len() == 1 && covered())
        };
        let names_meet = |one: &Self, other: &Self| {
            let names = one.names().unwrap_or_default();
            names.iter().any(|name| other.admits(name))
        };
        self.signature() == other.signature()
            || one_covers(self, other)
            || one_covers(other, self)
            || names_meet(self, other)
            || names_meet(other, self)
    }

    /// The least and the largest number of path components of a name that passes; [`None`] for no limit.
    pub(crate) fn levels(&self) -> (usize, Option<usize>) {
        let scopes = self.scopes();
        let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
        let least = scopes.iter().map(|scope| slashes(&scope.text) + 1).min().unwrap_or(1);
        let of_list = |list: &Vec<Matcher>| {
            let most = list.iter().map(Matcher::max_levels).collect::<Option<Vec<_>>>()?;
            most.into_iter().max()
        };
        (least, self.include.iter().filter_map(of_list).min())
    }

    /// A text that is the same for two filters only if they pass the same names.
    pub(crate) fn signature(&self) -> String {
        let list = |list: &Vec<Matcher>| {
            let mut texts: Vec<String> = list.iter().map(Matcher::signature).collect();
            texts.sort_unstable();
            texts.join("\n")
        };
        let mut lists: Vec<String> = self.include.iter().map(list).collect();
        lists.sort_unstable();
        format!("{}\n\n\n{}", lists.join("\n\n"), list(&self.exclude))
    }
}

impl Matcher {
    pub(crate) fn is_match(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Expression(expression) => expression.is_match(name),
            Self::Versions(range) => range.holds(name),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Exact(name) => Some(name),
            Self::Expression(expression) => expression.only_name(),
            Self::Versions(_) => None,
        }
    }

    fn scope(&self) -> Scope {
        match self {
            Self::Exact(name) => Scope::exact(&**name),
            Self::Expression(expression) => expression.scope().clone(),
            Self::Versions(_) => Scope::ALL,
        }
    }

    /// The names that the matcher matches, if it matches a scope as a whole.
    pub(crate) fn whole(&self) -> Option<Scope> {
        match self {
            Self::Exact(name) => Some(Scope::exact(&**name)),
            Self::Expression(expression) => expression.whole(),
            Self::Versions(_) => None,
        }
    }

    /// The largest number of path components of a matching name.
    fn max_levels(&self) -> Option<usize> {
        let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
        match self {
            Self::Exact(name) => Some(slashes(name) + 1),
            Self::Expression(expression) => {
                let text = expression.only_name().unwrap_or(expression.text());
                let is_known = expression.only_name().is_some()
                    || expression.form() == Form::Glob && !text.contains("**") && !text.contains(['{', '[']);
                is_known.then(|| slashes(text) + 1)
            }
            Self::Versions(_) => None,
        }
    }

    fn signature(&self) -> String {
        match self {
            Self::Exact(name) => format!("= {name}"),
            Self::Expression(expression) => format!("{:?} {}", expression.form(), expression.text()),
            Self::Versions(range) => format!("v {range}"),
        }
    }
}
