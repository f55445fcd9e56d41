//! A rule in the document.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use transship_oci::{Existing, Referrers};

use super::{OneOrMany, Rate, TextOr, yes};
use crate::naming::Flatten;

/// Which images are copied from which registry to which destination.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// The rule's name, unique in the document.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"))]
    pub(crate) name: String,
    /// A description for readers of the document.
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// A rule that is not enabled does nothing.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// Which images.
    pub(crate) source: Source,
    /// The kinds of content to copy. Absent or empty: any.
    #[serde(default)]
    pub(crate) kinds: Vec<KindWord>,
    /// The destination.
    pub(crate) destination: Destination,
    /// What starts the rule. Absent: events. An operator can always start a rule by hand.
    #[serde(default)]
    pub(crate) trigger: Option<Vec<Trigger>>,
    /// What to do if the destination tag already names another image.
    #[serde(default)]
    pub(crate) existing: Existing,
    /// Whether deletes at the source are repeated at the destination.
    #[serde(default)]
    pub(crate) deletes: Deletes,
    /// What to do with signatures, SBOMs and other manifests that refer to an image.
    #[serde(default)]
    pub(crate) referrers: Referrers,
    /// The platforms of an image to copy, such as `linux/amd64`. One: its manifest becomes the tag. Several: an
    /// index of only these. Absent or empty: all, byte for byte.
    #[serde(default)]
    pub(crate) platforms: Option<Platforms>,
    /// Bytes per second of all tasks of this rule together, in each process that works on them. -1 or absent: unlimited.
    #[serde(default)]
    pub(crate) bandwidth: Option<Rate>,
    /// The sweep also copies what existed before the rule.
    #[serde(default)]
    pub(crate) backfill: bool,
}

/// The images that a rule selects.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// The registry's name.
    pub(crate) registry: String,
    /// The repositories below this path of whole components: `core` contains `core/app` and `core/a/b`, but not `corex/app`. ""
    /// contains all.
    pub(crate) namespace: String,
    /// The repositories, by their path below the namespace: a name, a glob, a list of both, or a pattern. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repository: Option<Pattern>,
    /// The tags: a tag, a glob, a list of both, or a pattern. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<TagPattern>,
    /// Only images with all of these labels, which are the annotations of the manifest and the labels of the image's
    /// configuration. A worker reads them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// A name, a glob, a list of both, or a pattern.
pub(crate) type Pattern = OneOrMany<TextOr<PatternTable>>;

/// A pattern: all of its conditions must hold, and of each list one entry. Without conditions it matches everything that
/// `exclude` leaves.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatternTable {
    /// Matches the whole text: `*` within a component, `**` for any components, `?`, `[a-z]`, `{a,b}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) glob: Option<OneOrMany<String>>,
    /// Matches anywhere in the text: anchor it with `^` and `$`. `\w`, `\d` and `\s` are ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regex: Option<OneOrMany<String>>,
    /// What is excluded: a name, a glob, a pattern, or a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exclude: Option<OneOrMany<TextOr<Exclude>>>,
}

/// What a pattern excludes: one condition.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exclude {
    /// Matches the whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) glob: Option<OneOrMany<String>>,
    /// Matches anywhere in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regex: Option<OneOrMany<String>>,
    /// Tags that are versions in this range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) semver: Option<OneOrMany<String>>,
}

/// A tag, a glob, a list of both, or a pattern.
pub(crate) type TagPattern = OneOrMany<TextOr<TagTable>>;

/// A pattern of tags: all of its conditions must hold, and of each list one entry. Without conditions it matches everything that
/// `exclude` leaves.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagTable {
    /// Matches the whole tag: `*` any characters, `?` one, `[a-z]`, `{a,b}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) glob: Option<OneOrMany<String>>,
    /// Matches anywhere in the tag: anchor it with `^` and `$`. `\w`, `\d` and `\s` are ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regex: Option<OneOrMany<String>>,
    /// Versions in this range, such as `>=1.2 <2` or `^1.4 || ~2.0`. A tag is a version with or without `v` in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) semver: Option<OneOrMany<String>>,
    /// What is excluded: a tag, a glob, a pattern, or a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exclude: Option<OneOrMany<TextOr<Exclude>>>,
    /// Of the tags that the other conditions leave in a repository: only this number of the highest versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub(crate) latest: Option<u32>,
}

/// A kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KindWord {
    /// A container image, or an index of them.
    Image,
    /// A Helm chart.
    Chart,
    /// Anything else that is stored as a manifest.
    Artifact,
    /// Everything.
    Any,
}

/// The destination and the names there.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destination {
    /// The registry's name.
    pub(crate) registry: String,
    /// The namespace for the repositories; "" is the root. Absent: the repository keeps its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// What is removed from the front of the repository's path first. Default: `namespace`, or 0 if no namespace is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flatten: Option<Flatten>,
    /// The repository below the namespace: a template of `{repository}` (what flatten leaves), `{tag}` and `{namespace}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repository: Option<String>,
    /// The tag: a template of the same placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
}

/// What starts a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A notification of the source registry.
    Event,
    /// A schedule.
    Schedule(Schedule),
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    /// A cron expression of five fields: minute, hour, day of the month, month, day of the week.
    pub(crate) schedule: String,
    /// The time zone of the expression, such as `Asia/Shanghai`. Absent: UTC.
    #[serde(default)]
    pub(crate) timezone: Option<String>,
}

/// What to do when an image is deleted at the source.
#[derive(Debug, Clone, Default)]
pub(crate) enum Deletes {
    /// Nothing.
    #[default]
    Ignore,
    /// Delete it at the destination as well.
    Propagate(Option<String>),
}

/// Whether deletes are propagated, and how many.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletesTable {
    /// Delete a tag at the destination when it is deleted at the source.
    pub(crate) propagate: bool,
    /// The number of deletes in a period, such as `10 per hour`; further ones wait for an operator. Absent: unlimited.
    #[serde(default)]
    pub(crate) at_most: Option<String>,
}

/// The platforms of an image to copy.
#[derive(Debug, Clone)]
pub(crate) struct Platforms {
    /// The platforms.
    pub(crate) only: Vec<String>,
    /// The index is copied unchanged, with only these platforms.
    pub(crate) sparse: bool,
    /// It is written as a mapping.
    pub(crate) is_table: bool,
}

/// The platforms of an image to copy.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlatformsTable {
    /// The platforms, such as `linux/arm64/v8`.
    pub(crate) only: Vec<String>,
    /// Copies the index unchanged, with only these platforms, where the destination accepts it.
    #[serde(default)]
    pub(crate) sparse: bool,
}

/// A deserializer of a value that has two forms, and its schema.
macro_rules! two_forms {
    ($name:ident, $expecting:literal, $description:literal, [$($schema:tt)*], { $($method:item)+ }) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Forms;

                impl<'de> Visitor<'de> for Forms {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($expecting)
                    }

                    $($method)+
                }

                deserializer.deserialize_any(Forms)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let forms = forms(generator, [$($schema)*]);
                json_schema!({ "description": $description, "anyOf": forms })
            }
        }
    };
}

/// A form of a value in the schema.
enum FormOf {
    Table(fn(&mut SchemaGenerator) -> Schema),
    Other(Schema),
}

fn forms<const N: usize>(generator: &mut SchemaGenerator, forms: [FormOf; N]) -> Vec<Schema> {
    let form = |form| match form {
        FormOf::Table(schema) => schema(generator),
        FormOf::Other(schema) => schema,
    };
    forms.into_iter().map(form).collect()
}

two_forms!(
    Trigger,
    "event, or a mapping such as { schedule: \"0 3 * * *\" }",
    "What starts a rule: `event`, which is a notification of the source registry, or a schedule.",
    [
        FormOf::Other(json_schema!({ "const": "event" })),
        FormOf::Table(SchemaGenerator::subschema_for::<Schedule>)
    ],
    {
        fn visit_str<E: Error>(self, word: &str) -> Result<Trigger, E> {
            match word {
                "event" => Ok(Trigger::Event),
                word => Err(E::unknown_variant(word, &["event", "schedule"])),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Trigger, A::Error> {
            Schedule::deserialize(MapAccessDeserializer::new(map)).map(Trigger::Schedule)
        }
    }
);

two_forms!(
    Deletes,
    "ignore, propagate, or a mapping such as { propagate: true, at_most: 10 per hour }",
    "Whether deletes at the source are repeated at the destination: `ignore`, `propagate`, or with a limit.",
    [
        FormOf::Other(json_schema!({ "enum": ["ignore", "propagate"] })),
        FormOf::Table(SchemaGenerator::subschema_for::<DeletesTable>)
    ],
    {
        fn visit_str<E: Error>(self, word: &str) -> Result<Deletes, E> {
            match word {
                "ignore" => Ok(Deletes::Ignore),
                "propagate" => Ok(Deletes::Propagate(None)),
                word => Err(E::unknown_variant(word, &["ignore", "propagate"])),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Deletes, A::Error> {
            let table = DeletesTable::deserialize(MapAccessDeserializer::new(map))?;
            Ok(if table.propagate {
                Deletes::Propagate(table.at_most)
            } else {
                Deletes::Ignore
            })
        }
    }
);

two_forms!(
    Platforms,
    "a list of platforms such as [linux/amd64], or a mapping such as { only: [linux/amd64], sparse: true }",
    "The platforms of an image to copy: a list, or a mapping with `sparse`.",
    [
        FormOf::Other(json_schema!({ "type": "array", "items": { "type": "string" } })),
        FormOf::Table(SchemaGenerator::subschema_for::<PlatformsTable>)
    ],
    {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Platforms, A::Error> {
            let mut only = Vec::new();
            while let Some(platform) = list.next_element()? {
                only.push(platform);
            }
            Ok(Platforms {
                only,
                sparse: false,
                is_table: false,
            })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Platforms, A::Error> {
            let table = PlatformsTable::deserialize(MapAccessDeserializer::new(map))?;
            Ok(Platforms {
                only: table.only,
                sparse: table.sparse,
                is_table: true,
            })
        }
    }
);
