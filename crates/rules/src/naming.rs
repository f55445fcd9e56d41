//! The name of an image at the destination: flattening, the destination namespace, and templates.
//!
//! The resulting name is always valid and below the destination's namespace: templates are expanded component by component,
//! and the result is validated again.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use transship_oci::{Repository, Tag};

use crate::error::shown;
use crate::namespace::Namespace;

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
        name.parse().map_err(|_| {
            format!(
                "the destination repository would be {}, which is not a valid name",
                shown(&name)
            )
        })
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

    /// The path at or below which everything is written, given the same for what is read; and whether it can only be
    /// that path itself.
    pub(crate) fn scope(&self, source: &str, is_exact: bool) -> (String, bool) {
        let mut name = String::new();
        let mut is_complete = true;
        for part in &self.repository.0 {
            let (text, is_known) = match part {
                Part::Text(text) => (text.as_str(), true),
                Part::Namespace => (self.from.as_str(), true),
                Part::Tag => ("", false),
                Part::Repository => self.flattened_scope(source, is_exact),
            };
            name.push_str(text);
            if !is_known {
                is_complete = false;
                // The literal path of a source consists of whole components; other texts may continue within the last one.
                if text.is_empty() {
                    name.truncate(name.rfind('/').unwrap_or(0));
                }
                break;
            }
        }
        let path = match (self.into.as_str(), name.as_str()) {
            ("", name) => name.to_owned(),
            (into, "") => into.to_owned(),
            (into, name) => format!("{into}/{name}"),
        };
        (path, is_complete)
    }

    /// What flatten leaves of the literal path `source`, and whether that is the whole name.
    fn flattened_scope<'a>(&self, source: &'a str, is_exact: bool) -> (&'a str, bool) {
        if is_exact {
            return (self.flatten.apply(&self.from, source), true);
        }
        let rest = match self.flatten {
            Flatten::Namespace => self.from.below(source).unwrap_or_default(),
            Flatten::Components(count) => source.splitn(count + 1, '/').nth(count).unwrap_or_default(),
            Flatten::All => "",
        };
        (rest, false)
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
        let with = |flatten, template: &str, source: &str, exact| {
            naming("core", "copy", flatten, template, "{tag}").scope(source, exact)
        };
        let scope = |path: &str, exact| (path.to_owned(), exact);
        assert_eq!(
            with(Flatten::Namespace, "{repository}", "core", false),
            scope("copy", false)
        );
        assert_eq!(
            with(Flatten::Namespace, "{repository}", "core/team", false),
            scope("copy/team", false)
        );
        assert_eq!(
            with(Flatten::Namespace, "{repository}", "core/app", true),
            scope("copy/app", true)
        );
        assert_eq!(
            with(Flatten::Components(0), "m/{repository}", "core", false),
            scope("copy/m/core", false)
        );
        assert_eq!(
            with(Flatten::Components(2), "{repository}", "core", false),
            scope("copy", false)
        );
        assert_eq!(
            with(Flatten::All, "{repository}", "core/team", false),
            scope("copy", false)
        );
        assert_eq!(with(Flatten::All, "x/{tag}", "core/app", true), scope("copy/x", false));
        assert_eq!(with(Flatten::All, "x-{tag}", "core/app", true), scope("copy", false));
        assert_eq!(
            with(Flatten::Namespace, "x-{repository}", "core/app", true),
            scope("copy/x-app", true)
        );
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
                let (scope, is_exact) = name.scope(source.as_str(), true);
                let inside = mapped.as_str() == scope || mapped.as_str().starts_with(&format!("{scope}/"));
                prop_assert!(inside && (!is_exact || mapped.as_str() == scope), "{mapped} outside {scope}");
                let (scope, _) = name.scope("core", false);
                prop_assert!(mapped.as_str() == scope || mapped.as_str().starts_with(&format!("{scope}/")), "{mapped} outside {scope}");
            }
        }
    }
}
