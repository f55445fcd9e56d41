//! Tags as versions: `v1.2.3`, `1.2`, `2.0.0-rc.1`, and ranges of them.
//!
//! Versions are compared as <https://semver.org> says. As in the version ranges of Cargo and npm, a pre-release is in a range
//! only if the range names a pre-release of the same version.

use std::fmt;

use semver::{BuildMetadata, Comparator, Op, Prerelease, Version, VersionReq};

use transship_oci::Code;

use crate::error::{fault, shown};

/// Maximum length of a version range in bytes.
const MAX_RANGE_BYTES: usize = 256;

/// The version that a tag names: an optional `v`, one to three numbers, then a pre-release after `-` and build metadata after `_`
/// or `+`. (A tag cannot contain `+`; Helm writes `_` for it.)
pub(crate) fn version_of(tag: &str) -> Option<Version> {
    let text = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
    let (text, build) = match text.find(['_', '+']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (numbers, pre) = match text.split_once('-') {
        Some((_, "")) => return None,
        Some((numbers, pre)) => (numbers, Some(pre)),
        None => (text, None),
    };
    let mut parts = numbers.split('.');
    let number = |part: Option<&str>| match part {
        None => Some(0),
        Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => part.parse::<u64>().ok(),
        Some(_) => None,
    };
    let major = number(Some(parts.next()?))?;
    let (minor, patch) = (number(parts.next())?, number(parts.next())?);
    if parts.next().is_some() {
        return None;
    }
    Some(Version {
        major,
        minor,
        patch,
        pre: pre.map_or(Some(Prerelease::EMPTY), |pre| Prerelease::new(pre).ok())?,
        build: build.map_or(Some(BuildMetadata::EMPTY), |build| BuildMetadata::new(build).ok())?,
    })
}

/// Versions of a range such as `>=1.2 <2`, `^1.4 || ~2.0`, `1.x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionRange(Vec<VersionReq>);

impl VersionRange {
    /// Parses comparators that are separated by spaces or commas (all must hold), in alternatives that are separated by `||`.
    /// `RULE_INVALID` or `RULE_NEVER_MATCHES`.
    pub(crate) fn parse(text: &str) -> transship_oci::Result<Self> {
        let why = |code, problem: &str| {
            let range = shown(text);
            let advice = "write one such as \">=1.2 <2\", \"^1.4\" or \"*\"";
            fault(code, format!("the version range {range} {problem}: {advice}"))
        };
        if text.len() > MAX_RANGE_BYTES {
            return Err(why(Code::RuleInvalid, "is longer than 256 bytes"));
        }
        let alternatives = text
            .split("||")
            .map(|part| {
                requirement(part).map_err(|problem| why(Code::RuleInvalid, &format!("is not valid ({problem})")))
            })
            .collect::<transship_oci::Result<Vec<_>>>()?;
        if alternatives.iter().all(is_empty) {
            return Err(why(Code::RuleNeverMatches, "holds no version"));
        }
        Ok(Self(alternatives))
    }

    /// True if `tag` is a version in the range.
    pub(crate) fn holds(&self, tag: &str) -> bool {
        version_of(tag).is_some_and(|version| self.0.iter().any(|range| range.matches(&version)))
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.0.iter().enumerate() {
            let between = if number > 0 { " || " } else { "" };
            write!(formatter, "{between}{range}")?;
        }
        Ok(())
    }
}

/// The library separates comparators by commas only, and has no `v`.
fn requirement(text: &str) -> Result<VersionReq, String> {
    let spaced = text.replace(',', " ");
    let mut comparators: Vec<String> = Vec::new();
    let mut operator = String::new();
    for word in spaced.split_whitespace() {
        let version = word.trim_start_matches(['<', '>', '=', '^', '~']);
        operator.push_str(&word[..word.len() - version.len()]);
        if !version.is_empty() {
            let version = version.strip_prefix('v').unwrap_or(version);
            comparators.push(format!("{}{version}", std::mem::take(&mut operator)));
        }
    }
    if !operator.is_empty() {
        return Err(format!("{operator} has no version"));
    }
    match comparators.as_slice() {
        [] => Err("it is empty".to_owned()),
        comparators => VersionReq::parse(&comparators.join(", ")).map_err(|error| error.to_string()),
    }
}

/// True if no version can satisfy all comparators, judged by their bounds.
fn is_empty(range: &VersionReq) -> bool {
    let bounds: Vec<Bounds> = range.comparators.iter().map(Bounds::of).collect();
    let lowest = bounds.iter().map(|bounds| bounds.from).max();
    let end = bounds.iter().filter_map(|bounds| bounds.end).min();
    match (lowest, end) {
        (Some(lowest), Some(end)) => lowest >= end,
        _ => false,
    }
}

/// Releases from one version up to, but not including, another, as numbers. Pre-releases count as their release.
struct Bounds {
    from: [u64; 3],
    end: Option<[u64; 3]>,
}

impl Bounds {
    fn of(comparator: &Comparator) -> Self {
        let (major, minor, patch) = (comparator.major, comparator.minor, comparator.patch);
        let is_pre = !comparator.pre.is_empty();
        let this = [major, minor.unwrap_or(0), patch.unwrap_or(0)];
        // What follows the versions that a partial version such as 1.2 stands for.
        let next = match (minor, patch) {
            (None, _) => [major.saturating_add(1), 0, 0],
            (Some(minor), None) => [major, minor.saturating_add(1), 0],
            (Some(minor), Some(patch)) => [major, minor, patch.saturating_add(1)],
        };
        let (from, end) = match comparator.op {
            Op::Greater if is_pre => (this, None),
            Op::Greater => (next, None),
            Op::GreaterEq => (this, None),
            Op::Less if is_pre => ([0; 3], Some(next)),
            Op::Less => ([0; 3], Some(this)),
            Op::LessEq => ([0; 3], Some(next)),
            Op::Tilde if minor.is_some() => (this, Some([major, minor.unwrap_or(0).saturating_add(1), 0])),
            Op::Caret => (this, Some(caret_end(comparator))),
            _ => (this, Some(next)),
        };
        Self { from, end }
    }
}

/// The first version that is not compatible.
fn caret_end(comparator: &Comparator) -> [u64; 3] {
    match (comparator.major, comparator.minor, comparator.patch) {
        (0, Some(0), Some(patch)) => [0, 0, patch.saturating_add(1)],
        (0, Some(minor), _) => [0, minor.saturating_add(1), 0],
        (major, ..) => [major.saturating_add(1), 0, 0],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_that_name_versions_are_read() {
        for (tag, version) in [
            ("1.2.3", "1.2.3"),
            ("v1.2.3", "1.2.3"),
            ("V1", "1.0.0"),
            ("1.2", "1.2.0"),
            ("01.02.03", "1.2.3"),
            ("2.0.0-rc.1", "2.0.0-rc.1"),
            ("1.2-alpine", "1.2.0-alpine"),
            ("1.0.0_build.5", "1.0.0+build.5"),
        ] {
            assert_eq!(
                version_of(tag).map(|version| version.to_string()).as_deref(),
                Some(version),
                "{tag}"
            );
        }
        for tag in [
            "",
            "v",
            "latest",
            "1.2.3.4",
            "1.x",
            "1..2",
            "1.",
            "-1",
            "1.0-",
            "20240101120000000000000",
        ] {
            assert_eq!(version_of(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_range_holds_what_its_comparators_say() {
        for (range, inside, outside) in [
            (">=1.2", vec!["1.2.0", "v9"], vec!["1.1.9", "latest", "1.3.0-rc.1"]),
            (">=1.2 <2", vec!["1.2", "1.99.0"], vec!["2.0.0", "1.1"]),
            (">= 1.2, < 2", vec!["1.2"], vec!["2.0.0"]),
            ("^1.4 || ~2.0", vec!["1.5.0", "2.0.9"], vec!["2.1.0", "1.3.0"]),
            ("1.x", vec!["1.0.0", "1.9.9"], vec!["2.0.0"]),
            ("=v1.2.3", vec!["v1.2.3"], vec!["1.2.4"]),
            ("*", vec!["0.0.1", "v3"], vec!["latest", "1.0.0-rc.1"]),
            (
                ">=2.0.0-rc.1",
                vec!["2.0.0-rc.2", "2.0.0", "3.0.0"],
                vec!["2.0.0-beta", "2.1.0-rc.1"],
            ),
        ] {
            let parsed = VersionRange::parse(range).unwrap();
            assert!(inside.iter().all(|tag| parsed.holds(tag)), "{range} {inside:?}");
            assert!(!outside.iter().any(|tag| parsed.holds(tag)), "{range} {outside:?}");
        }
    }

    #[test]
    fn a_range_that_cannot_be_used_is_refused() {
        for range in [
            "",
            " ",
            ">",
            "a",
            ">=1 || ",
            "1 - 2",
            ">2 <1",
            ">=2, <2",
            "^1 ^2",
            "~1.2 >=1.3",
            "=1.2.3 =1.2.4",
        ] {
            let why = VersionRange::parse(range).unwrap_err();
            assert!(why.message().contains("write one such as"), "{range}: {why}");
        }
    }

    proptest! {
        #[test]
        fn a_range_that_is_refused_as_empty_holds_no_version(
            comparators in prop::collection::vec("(<|<=|>|>=|=|\\^|~)[0-2](\\.[0-2](\\.[0-2])?)?", 1..4),
            version in "[0-3]\\.[0-3]\\.[0-3]",
        ) {
            if let Ok(range) = requirement(&comparators.join(" ")) {
                let held = range.matches(&Version::parse(&version).unwrap());
                prop_assert!(!(is_empty(&range) && held), "{range} {version}");
            }
        }
    }
}
