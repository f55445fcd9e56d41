//! A namespace: a path of whole components that holds repositories.

use std::fmt;

use transship_oci::Repository;

use crate::pattern::Scope;

/// A path of components, or the root. `core` contains `core/app` and `core/a/b`, but neither `corex/app` nor `core`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespace(String);

impl Namespace {
    /// Parses `text`; "" is the root.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.parse::<Repository>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        Err(if text.starts_with('/') || text.ends_with('/') {
            "must not start or end with a slash: expected a path such as core or core/team, or \"\" for the root"
        } else if text.contains(['*', '?', '[', '{', '^', '$']) {
            "must be a literal path: put patterns in source.repository"
        } else {
            "is not a path of lower-case components such as core/team; \"\" is the root"
        })
    }

    /// The text; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the root, which contains every repository.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The scope of whole names whose part below this namespace is `below`.
    pub(crate) fn scope(&self, below: &Scope) -> Scope {
        if self.is_root() {
            return below.clone();
        }
        Scope {
            text: format!("{}/{}", self.0, below.text),
            is_exact: below.is_exact,
        }
    }

    /// The number of components.
    pub(crate) fn levels(&self) -> usize {
        if self.is_root() { 0 } else { self.0.split('/').count() }
    }

    /// The path without its first `count` components.
    pub(crate) fn without(&self, count: usize) -> &str {
        self.0.splitn(count + 1, '/').nth(count).unwrap_or_default()
    }

    /// The path of `repository` below this namespace, or [`None`] if it is not below it.
    pub fn below<'a>(&self, repository: &'a str) -> Option<&'a str> {
        if self.is_root() {
            return Some(repository);
        }
        repository.strip_prefix(&self.0)?.strip_prefix('/')
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_holds_whole_components_below_it() {
        let core = Namespace::parse("core").unwrap();
        assert_eq!(core.below("core/app"), Some("app"));
        assert_eq!(core.below("core/a/b"), Some("a/b"));
        assert_eq!(core.below("corex/app"), None);
        assert_eq!(core.below("core"), None);
        assert_eq!(Namespace::default().below("app"), Some("app"));
    }

    #[test]
    fn a_namespace_that_is_no_path_is_refused() {
        for text in ["/", "/core", "core/", "Core", "core/*", "a//b", "..", "a b"] {
            assert!(Namespace::parse(text).is_err(), "{text}");
        }
    }
}
