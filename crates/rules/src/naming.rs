//! The name of an image at the destination: flattening, the destination namespace, and templates.
//!
//! The resulting name is always valid and below the destination's namespace: templates are expanded component by component,
//! and the result is validated again.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use transship_oci::{Repository, Tag};

use crate::error::shown;
use crate::namespace::Namespace;
use crate::pattern::Scope;
use crate::rule::Source;

/// What is removed from the front of a repository's path. Its last component is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flatten {
    /// The source namespace of the rule.
    Namespace,
    /// A number of components.
    Components(usize),
    /// All components except the last.
    All,
}

/// How a rule names images at the destination.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    /// The rule's source namespace.
    pub(crate) from: Namespace,
    /// The destination namespace.
    pub(crate) into: Namespace,
    pub(crate) flatten: Flatten,
    pub(crate) repository: Template,
    pub(crate) tag: Template,
    /// The largest number of path components that the destination registry allows.
    pub(crate) levels_max: Option<usize>,
}

/// Text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Repository,
    Tag,
    Namespace,
}

impl Flatten {
    /// What is left of `repository`, which lies below `from`.
    fn apply<'a>(self, from: &Namespace, repository: &'a str) -> &'a str {
        match self {
            Self::Namespace => from.below(repository).unwrap_or(repository),
            Self::Components(count) => (0..count).fold(repository, |rest, _| {
                rest.split_once('/').map_or(rest, |(_, rest)| rest)
            }),
            Self::All => repository.rsplit('/').next().unwrap_or(repository),
        }
    }
}

impl Naming {
    /// The repository at the destination. The error is a sentence. If `tag` is [`None`], a template with a tag fails.
    pub(crate) fn repository(&self, repository: &Repository, tag: Option<&Tag>) -> Result<Repository, String> {
        let name = self.fill(&self.repository, repository, tag)?;
        let name = if self.into.is_root() {
            name
        } else {
            format!("{}/{name}", self.into)
        };
        let repository: Repository = name.parse().map_err(|_| {
            format!(
                "the destination repository would be {}, which is not a valid name",
                shown(&name)
            )
        })?;
        let levels = name.split('/').count();
        if let Some(most) = self.levels_max.filter(|most| levels > *most) {
            return Err(format!(
                "the destination repository would be {}, which has {levels} levels, but the registry allows {most}",
                shown(&name)
            ));
        }
        Ok(repository)
    }

    /// The tag at the destination.
    pub(crate) fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Tag, String> {
        let name = self.fill(&self.tag, repository, Some(tag))?;
        name.parse().map_err(|_| {
            format!(
                "the destination tag would be {}, which is not a valid tag",
                shown(&name)
            )
        })
    }

    fn fill(&self, template: &Template, repository: &Repository, tag: Option<&Tag>) -> Result<String, String> {
        let mut filled = String::new();
        for part in &template.0 {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::Repository => self.flatten.apply(&self.from, repository.as_str()),
                Part::Namespace => self.from.as_str(),
                Part::Tag => tag
                    .map(Tag::as_str)
                    .ok_or("the name at the destination contains the tag, but this push has no tag")?,
            });
        }
        Ok(filled)
    }

    /// The scope of the names at the destination of repositories of `source`.
    pub(crate) fn scope(&self, source: &Scope) -> Scope {
        let mut text = self.into.scope(&Scope::ALL).text;
        for part in &self.repository.0 {
            let (known, is_whole) = match part {
                Part::Text(text) => (text.as_str(), true),
                Part::Namespace => (self.from.as_str(), true),
                Part::Tag => ("", false),
                Part::Repository if source.is_exact => (self.flatten.apply(&self.from, &source.text), true),
                Part::Repository => (self.flatten.prefix(&self.from, &source.text), false),
            };
            text.push_str(known);
            if !is_whole {
                return Scope::prefix(text);
            }
        }
        Scope::exact(text)
    }

    /// A name that the rule can give, for messages.
    pub(crate) fn example(&self, source: &Source) -> String {
        let scopes = source.scopes();
        let written = scopes.first().map_or(Scope::ALL, |scope| self.scope(scope));
        if written.is_exact {
            written.text
        } else {
            format!("{}…", written.text)
        }
    }

    /// A text that is the same for two rules if they give the same names to repositories with the same path below their
    /// namespaces.
    pub(crate) fn pattern(&self) -> String {
        let into = self.into.scope(&Scope::ALL).text;
        format!("{into}{}", self.relative(&self.repository))
    }

    /// The same for tags.
    pub(crate) fn tag_pattern(&self) -> String {
        self.relative(&self.tag)
    }

    /// `template` with the path below the namespace as its only unknown besides the tag. Braces are not valid in names.
    fn relative(&self, template: &Template) -> String {
        let mut text = String::new();
        for part in &template.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Tag => text.push_str("{tag}"),
                Part::Namespace => text.push_str(self.from.as_str()),
                Part::Repository => match self.flatten.beyond(&self.from) {
                    Beyond::Namespace(rest) => {
                        text.push_str(rest);
                        text.push_str("/{below}");
                    }
                    Beyond::Components(0) => text.push_str("{below}"),
                    Beyond::Components(count) => {
                        let _ = write!(text, "{{below {count}}}");
                    }
                    Beyond::All => text.push_str("{last}"),
                },
            }
        }
        text
    }

    /// True if two different images never get the same name. False does not say that two do.
    pub(crate) fn is_injective(&self) -> bool {
        let keeps_path = matches!(
            self.flatten.beyond(&self.from),
            Beyond::Namespace(_) | Beyond::Components(0)
        );
        let has = |template: &Template, part| template.uses(part);
        let (repository, tag) = (&self.repository, &self.tag);
        let names_both = has(repository, &Part::Tag) && has(tag, &Part::Repository);
        keeps_path && has(repository, &Part::Repository) && has(tag, &Part::Tag) && !names_both
    }

    /// True if the repository at the source follows from the one at the destination: the path below the source namespace
    /// is kept whole, once, and nothing depends on the tag.
    pub(crate) fn is_invertible(&self) -> bool {
        let keeps_path = matches!(
            self.flatten.beyond(&self.from),
            Beyond::Namespace(_) | Beyond::Components(0)
        );
        let parts = &self.repository.0;
        let paths = parts.iter().filter(|part| **part == Part::Repository).count();
        keeps_path && paths == 1 && !parts.contains(&Part::Tag)
    }

    /// The repository at the source that is called `destination` at the destination; [`None`] if there is none, or if the naming
    /// is not invertible.
    pub(crate) fn source_of(&self, destination: &Repository) -> Option<Repository> {
        if !self.is_invertible() {
            return None;
        }
        let mut name = self.into.below(destination.as_str())?;
        let at = self.repository.0.iter().position(|part| *part == Part::Repository)?;
        let (before, after) = self.repository.0.split_at(at);
        for part in before {
            name = name.strip_prefix(self.fixed(part)?)?;
        }
        for part in after.iter().skip(1).rev() {
            name = name.strip_suffix(self.fixed(part)?)?;
        }
        let below = match self.flatten.beyond(&self.from) {
            Beyond::Namespace(rest) => name.strip_prefix(rest)?.strip_prefix('/')?,
            Beyond::Components(_) => name,
            Beyond::All => return None,
        };
        let source = if self.from.is_root() {
            below.to_owned()
        } else {
            format!("{}/{below}", self.from)
        };
        let source: Repository = source.parse().ok()?;
        // What was cut off may not be where the naming puts it.
        (self.repository(&source, None).ok().as_ref() == Some(destination)).then_some(source)
    }

    /// The text of a part that is the same for every image.
    fn fixed<'a>(&'a self, part: &'a Part) -> Option<&'a str> {
        match part {
            Part::Text(text) => Some(text),
            Part::Namespace => Some(self.from.as_str()),
            Part::Repository | Part::Tag => None,
        }
    }

    /// True if every image keeps its repository and its tag.
    pub(crate) fn is_identity(&self) -> bool {
        let own = Self {
            from: self.from.clone(),
            into: self.from.clone(),
            flatten: Flatten::Namespace,
            repository: Template(vec![Part::Repository]),
            tag: Template(vec![Part::Tag]),
            levels_max: None,
        };
        self.pattern() == own.pattern() && self.tag_pattern() == own.tag_pattern()
    }

    /// The least and the largest number of path components of a name at the destination; [`None`] for no limit. `below`: the
    /// same of the path below the source namespace.
    pub(crate) fn levels(&self, below: (usize, Option<usize>)) -> (usize, Option<usize>) {
        let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
        let (mut least, mut most) = (self.into.levels() + 1, Some(self.into.levels() + 1));
        for part in &self.repository.0 {
            let (part_least, part_most) = match part {
                Part::Text(text) => (slashes(text), Some(slashes(text))),
                Part::Namespace => (slashes(self.from.as_str()), Some(slashes(self.from.as_str()))),
                Part::Tag => (0, Some(0)),
                Part::Repository => {
                    let left = |levels: usize| match self.flatten.beyond(&self.from) {
                        Beyond::Namespace(rest) => slashes(rest) + levels,
                        Beyond::Components(count) => levels.saturating_sub(count + 1),
                        Beyond::All => 0,
                    };
                    let is_all = matches!(self.flatten, Flatten::All);
                    (left(below.0), below.1.map(left).or(is_all.then_some(0)))
                }
            };
            least += part_least;
            most = most.zip(part_most).map(|(most, part)| most + part);
        }
        (least, most)
    }
}

/// What flatten removes, seen from the source namespace.
enum Beyond<'a> {
    /// This rest of the namespace is kept.
    Namespace(&'a str),
    /// The namespace and this number of components below it are removed.
    Components(usize),
    /// Everything but the last component is removed.
    All,
}

impl Flatten {
    fn beyond(self, from: &Namespace) -> Beyond<'_> {
        match self {
            Self::All => Beyond::All,
            Self::Namespace => Beyond::Components(0),
            Self::Components(count) if count >= from.levels() => Beyond::Components(count - from.levels()),
            Self::Components(count) => Beyond::Namespace(from.without(count)),
        }
    }

    /// What every result begins with, of repositories below `from` that begin with `prefix`.
    fn prefix<'a>(self, from: &Namespace, prefix: &'a str) -> &'a str {
        match self {
            Self::Namespace => from.below(prefix).unwrap_or_default(),
            Self::Components(count) => prefix.splitn(count + 1, '/').nth(count).unwrap_or_default(),
            Self::All => "",
        }
    }
}

impl Template {
    /// The template that is one placeholder.
    pub(crate) fn of(part: Part) -> Self {
        Self(vec![part])
    }

    /// True if the template contains `part`.
    pub(crate) fn uses(&self, part: &Part) -> bool {
        self.0.contains(part)
    }

    /// Reads `text`; `{` and `}` are not valid in a name and need no escape.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, placeholder) = rest.split_at(open);
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            let name = placeholder
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .ok_or_else(|| format!("the template {} has an unmatched brace", shown(text)))?;
            parts.push(match name.0 {
                "repository" => Part::Repository,
                "tag" => Part::Tag,
                "namespace" => Part::Namespace,
                other => {
                    return Err(format!(
                        "the template has an unknown placeholder {{{}}}: use {{repository}}, {{tag}} or {{namespace}}",
                        other.escape_debug()
                    ));
                }
            });
            rest = name.1;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        if parts.is_empty() {
            return Err("the template is empty: omit it to keep the name".to_owned());
        }
        Ok(Self(parts))
    }
}

impl<'de> Deserialize<'de> for Flatten {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlattenVisitor;

        impl Visitor<'_> for FlattenVisitor {
            type Value = Flatten;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("namespace, all, or a number of path components from 0 to 127")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Flatten, E> {
                match usize::try_from(count) {
                    // A name of 255 characters has at most 128 components.
                    Ok(count) if count < 128 => Ok(Flatten::Components(count)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(count), &self)),
                }
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<Flatten, E> {
                u64::try_from(count)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(count), &self))
                    .and_then(|count| self.visit_u64(count))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Flatten, E> {
                match word {
                    "namespace" => Ok(Flatten::Namespace),
                    "all" => Ok(Flatten::All),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }
        }

        deserializer.deserialize_any(FlattenVisitor)
    }
}

/// As it was written.
impl Serialize for Flatten {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Namespace => serializer.serialize_str("namespace"),
            Self::All => serializer.serialize_str("all"),
            Self::Components(count) => count.serialize(serializer),
        }
    }
}

impl JsonSchema for Flatten {
    fn schema_name() -> Cow<'static, str> {
        "Flatten".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What is removed from the front of a repository's path: the rule's source namespace, all components except the last, or a number of components. The last component is always kept.",
            "anyOf": [
                { "enum": ["namespace", "all"] },
                { "type": "integer", "minimum": 0, "maximum": 127 }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naming(from: &str, into: &str, flatten: Flatten, repository: &str, tag: &str) -> Naming {
        Naming {
            from: Namespace::parse(from).unwrap(),
            into: Namespace::parse(into).unwrap(),
            flatten,
            repository: Template::parse(repository).unwrap(),
            tag: Template::parse(tag).unwrap(),
            levels_max: None,
        }
    }

    #[test]
    fn the_last_component_always_stays() {
        let repository = "core/app".parse().unwrap();
        for count in [1, 2, 9] {
            let name = naming("core", "copy", Flatten::Components(count), "{repository}", "{tag}");
            assert_eq!(name.repository(&repository, None).unwrap().as_str(), "copy/app");
        }
    }

    #[test]
    fn the_repository_at_the_source_is_told_from_its_name_where_the_naming_keeps_it() {
        let source_of = |name: &Naming, destination: &str| {
            let found = name.source_of(&destination.parse().unwrap());
            found.map(|found| found.to_string())
        };
        for (from, into, flatten, template, there, here) in [
            (
                "core",
                "copy",
                Flatten::Namespace,
                "{repository}",
                "copy/a/b",
                Some("core/a/b"),
            ),
            (
                "core",
                "core",
                Flatten::Namespace,
                "{repository}",
                "core/a",
                Some("core/a"),
            ),
            ("", "", Flatten::Namespace, "{repository}", "a/b", Some("a/b")),
            (
                "core",
                "",
                Flatten::Components(0),
                "{repository}",
                "core/a",
                Some("core/a"),
            ),
            ("core", "copy", Flatten::Components(0), "{repository}", "copy/a", None),
            (
                "x/core",
                "copy",
                Flatten::Components(1),
                "{repository}",
                "copy/core/a",
                Some("x/core/a"),
            ),
            (
                "core",
                "copy",
                Flatten::Namespace,
                "m/{repository}/{namespace}",
                "copy/m/a/core",
                Some("core/a"),
            ),
            ("core", "copy", Flatten::Namespace, "m/{repository}", "copy/n/a", None),
            ("core", "copy", Flatten::Namespace, "{repository}", "other/a", None),
        ] {
            let name = naming(from, into, flatten, template, "{tag}");
            assert!(name.is_invertible(), "{template}");
            assert_eq!(
                source_of(&name, there).as_deref(),
                here,
                "{from} {into} {template} {there}"
            );
        }
        for (flatten, template) in [
            (Flatten::All, "{repository}"),
            (Flatten::Components(2), "{repository}"),
            (Flatten::Namespace, "{repository}/{tag}"),
            (Flatten::Namespace, "all"),
            (Flatten::Namespace, "{repository}/{repository}"),
        ] {
            let name = naming("core", "copy", flatten, template, "{tag}");
            assert!(!name.is_invertible(), "{template}");
            assert_eq!(source_of(&name, "copy/a"), None, "{template}");
        }
    }

    #[test]
    fn templates_are_filled_and_bad_names_refused() {
        let name = naming(
            "core",
            "",
            Flatten::Namespace,
            "{namespace}-mirror/{repository}",
            "{tag}-from-hub",
        );
        let (repository, tag) = ("core/app".parse().unwrap(), "V1".parse().unwrap());
        assert_eq!(
            name.repository(&repository, Some(&tag)).unwrap().as_str(),
            "core-mirror/app"
        );
        assert_eq!(name.tag(&repository, &tag).unwrap().as_str(), "V1-from-hub");
        let by_tag = naming("core", "copy", Flatten::Namespace, "{repository}/{tag}", "{repository}");
        assert!(
            by_tag.repository(&repository, Some(&tag)).is_err(),
            "V1 is not a valid path component"
        );
        assert!(by_tag.repository(&repository, None).is_err());
        assert_eq!(by_tag.tag(&repository, &tag).unwrap().as_str(), "app");
        assert!(
            by_tag.tag(&"core/a/b".parse().unwrap(), &tag).is_err(),
            "a tag has no slash"
        );
    }

    #[test]
    fn a_template_that_cannot_be_read_is_refused() {
        for text in ["", "{", "}", "{repo}", "a{b", "{repository", "{{repository}}", "{}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_scope_of_a_destination_is_as_narrow_as_is_certain() {
        for (flatten, template, source, scope) in [
            (
                Flatten::Namespace,
                "{repository}",
                Scope::prefix("core/"),
                Scope::prefix("copy/"),
            ),
            (
                Flatten::Namespace,
                "{repository}",
                Scope::prefix("core/team/"),
                Scope::prefix("copy/team/"),
            ),
            (
                Flatten::Namespace,
                "{repository}",
                Scope::prefix("core/te"),
                Scope::prefix("copy/te"),
            ),
            (
                Flatten::Namespace,
                "{repository}",
                Scope::exact("core/app"),
                Scope::exact("copy/app"),
            ),
            (
                Flatten::Components(0),
                "m/{repository}",
                Scope::prefix("core/"),
                Scope::prefix("copy/m/core/"),
            ),
            (
                Flatten::Components(2),
                "{repository}",
                Scope::prefix("core/"),
                Scope::prefix("copy/"),
            ),
            (
                Flatten::Components(2),
                "{repository}",
                Scope::prefix("core/a/b"),
                Scope::prefix("copy/b"),
            ),
            (
                Flatten::All,
                "{repository}",
                Scope::prefix("core/team/"),
                Scope::prefix("copy/"),
            ),
            (
                Flatten::All,
                "x/{tag}",
                Scope::exact("core/app"),
                Scope::prefix("copy/x/"),
            ),
            (
                Flatten::All,
                "x-{tag}",
                Scope::exact("core/app"),
                Scope::prefix("copy/x-"),
            ),
            (
                Flatten::Namespace,
                "x-{repository}",
                Scope::exact("core/app"),
                Scope::exact("copy/x-app"),
            ),
            (
                Flatten::Namespace,
                "x-{repository}-y",
                Scope::prefix("core/"),
                Scope::prefix("copy/x-"),
            ),
        ] {
            let naming = naming("core", "copy", flatten, template, "{tag}");
            assert_eq!(naming.scope(&source), scope, "{flatten:?} {template}");
        }
    }

    #[test]
    fn rules_that_give_the_same_names_have_the_same_pattern() {
        let pattern = |from, into, flatten, template| naming(from, into, flatten, template, "{tag}").pattern();
        let copy = pattern("core", "copy", Flatten::Namespace, "{repository}");
        assert_eq!(copy, "copy/{below}");
        assert_eq!(copy, pattern("team/a", "copy", Flatten::Components(2), "{repository}"));
        assert_eq!(copy, pattern("", "copy", Flatten::Namespace, "{repository}"));
        assert_eq!(copy, pattern("x/copy", "", Flatten::Components(1), "{repository}"));
        assert_ne!(copy, pattern("core", "copy", Flatten::All, "{repository}"));
        assert_ne!(copy, pattern("core", "copy", Flatten::Components(2), "{repository}"));
    }

    #[test]
    fn the_levels_of_a_destination_follow_from_those_of_the_source() {
        for (flatten, template, below, levels) in [
            (Flatten::Namespace, "{repository}", (1, Some(1)), (2, Some(2))),
            (Flatten::Namespace, "{repository}", (1, None), (2, None)),
            (Flatten::Components(0), "{repository}", (1, Some(2)), (3, Some(4))),
            (Flatten::Components(2), "{repository}", (1, Some(3)), (2, Some(3))),
            (Flatten::All, "{repository}", (1, None), (2, Some(2))),
            (Flatten::All, "m/{repository}-{tag}", (1, None), (3, Some(3))),
            (
                Flatten::Namespace,
                "{namespace}/{repository}",
                (2, Some(2)),
                (4, Some(4)),
            ),
        ] {
            let naming = naming("core", "copy", flatten, template, "{tag}");
            assert_eq!(naming.levels(below), levels, "{flatten:?} {template}");
        }
    }

    proptest! {
        #[test]
        fn a_mapped_name_never_escapes_the_destination_namespace(
            rest in "[a-z0-9]{1,3}(/[a-z0-9]{1,3}){0,3}",
            into in "[a-z]{1,3}(/[a-z]{1,3}){0,2}",
            template in "[a-z./-]{0,4}(\\{repository\\}|\\{tag\\}|\\{namespace\\})[a-z./_-]{0,4}",
            tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}",
            flatten in prop_oneof![Just(Flatten::Namespace), Just(Flatten::All), (0_usize..6).prop_map(Flatten::Components)],
        ) {
            let name = naming("core", &into, flatten, &template, "{tag}");
            let tag: Tag = tag.parse().unwrap();
            let source: Repository = format!("core/{rest}").parse().unwrap();
            if let Ok(mapped) = name.repository(&source, Some(&tag)) {
                prop_assert!(name.into.below(mapped.as_str()).is_some(), "{mapped} escaped {into}");
                for scope in [Scope::exact(source.as_str()), Scope::prefix("core/")] {
                    let scope = name.scope(&scope);
                    prop_assert!(scope.holds(&Scope::exact(mapped.as_str())), "{mapped} outside {scope:?}");
                }
                let (least, most) = name.levels((rest.split('/').count(), Some(rest.split('/').count())));
                let levels = mapped.as_str().split('/').count();
                prop_assert!(least <= levels && most.is_some_and(|most| levels <= most), "{mapped} {least} {most:?}");
            }
        }
    }
}
