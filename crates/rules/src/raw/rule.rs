//! A rule in the document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use transship_oci::{Existing, Referrers};

use super::{Rate, TextOr, yes};
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
    /// The platforms of an image to copy. Not supported by this version.
    #[serde(default)]
    pub(crate) platforms: Vec<String>,
    /// Bytes per second for this rule. -1 or absent: unlimited, which is the only value that this version supports.
    #[serde(default)]
    pub(crate) bandwidth: Option<Rate>,
}

/// The images that a rule selects.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// The registry's name.
    pub(crate) registry: String,
    /// The repositories below this path of whole components: `core` contains `core/app` and `core/a/b`, but not `corex/app`. ""
    /// contains all.
    pub(crate) namespace: String,
    /// The repositories, by their path below the namespace: one name, a glob, or a pattern. Absent: all.
    #[serde(default)]
    pub(crate) repository: Option<Pattern>,
    /// The tags: one tag, a glob, or a pattern. Absent: all.
    #[serde(default)]
    pub(crate) tag: Option<TagPattern>,
    /// Only images with these labels. Not supported by this version.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

/// One name, a glob, or a pattern.
pub(crate) type Pattern = TextOr<PatternTable>;

/// A pattern; without `glob` and `regex` it matches everything that `exclude` leaves.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatternTable {
    /// Matches the whole text: `*` within a component, `**` for any components, `?`, `[a-z]`, `{a,b}`.
    #[serde(default)]
    pub(crate) glob: Option<String>,
    /// Matches anywhere in the text: anchor it with `^` and `$`. `\w`, `\d` and `\s` are ASCII.
    #[serde(default)]
    pub(crate) regex: Option<String>,
    /// What is excluded: one name, a glob, or a pattern.
    #[serde(default)]
    pub(crate) exclude: Option<TextOr<Exclude>>,
}

/// What a pattern excludes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exclude {
    /// Matches the whole text.
    #[serde(default)]
    pub(crate) glob: Option<String>,
    /// Matches anywhere in the text.
    #[serde(default)]
    pub(crate) regex: Option<String>,
}

/// One tag, or a pattern.
pub(crate) type TagPattern = TextOr<TagTable>;

/// A pattern of tags; without `glob` and `regex` it matches everything that `exclude` leaves.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagTable {
    /// Matches the whole tag: `*` any characters, `?` one, `[a-z]`, `{a,b}`.
    #[serde(default)]
    pub(crate) glob: Option<String>,
    /// Matches anywhere in the tag: anchor it with `^` and `$`. `\w`, `\d` and `\s` are ASCII.
    #[serde(default)]
    pub(crate) regex: Option<String>,
    /// What is excluded: one name, a glob, or a pattern.
    #[serde(default)]
    pub(crate) exclude: Option<TextOr<Exclude>>,
    /// The range of versions. Not supported by this version.
    #[serde(default)]
    pub(crate) semver: Option<String>,
    /// The number of highest or newest tags. Not supported by this version.
    #[serde(default)]
    pub(crate) latest: Option<u32>,
}

/// The keys that patterns of repositories and of tags share. (One struct inside the other would be shorter, but serde cannot
/// refuse unknown keys of a flattened one.)
pub(crate) trait PatternKeys {
    fn glob(&self) -> Option<&str>;
    fn regex(&self) -> Option<&str>;
    fn exclude(&self) -> Option<&TextOr<Exclude>>;
}

macro_rules! pattern_keys {
    ($($table:ty),+) => {
        $(impl PatternKeys for $table {
            fn glob(&self) -> Option<&str> {
                self.glob.as_deref()
            }

            fn regex(&self) -> Option<&str> {
                self.regex.as_deref()
            }

            fn exclude(&self) -> Option<&TextOr<Exclude>> {
                self.exclude.as_ref()
            }
        })+
    };
}

pattern_keys!(PatternTable, TagTable);

/// A kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
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
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destination {
    /// The registry's name.
    pub(crate) registry: String,
    /// The namespace for the repositories; "" is the root. Absent: the repository keeps its name.
    #[serde(default)]
    pub(crate) namespace: Option<String>,
    /// What is removed from the front of the repository's path first. Default: `namespace`, or 0 if no namespace is given.
    #[serde(default)]
    pub(crate) flatten: Option<Flatten>,
    /// The repository below the namespace: a template of `{repository}` (what flatten leaves), `{tag}` and `{namespace}`.
    #[serde(default)]
    pub(crate) repository: Option<String>,
    /// The tag: a template of the same placeholders.
    #[serde(default)]
    pub(crate) tag: Option<String>,
}

/// What starts a rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trigger {
    /// A notification of the source registry.
    Event,
    /// A cron expression. Not supported by this version.
    Schedule(String),
}

/// What to do when an image is deleted at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Deletes {
    /// Nothing.
    #[default]
    Ignore,
    /// Delete it at the destination as well. Not supported by this version.
    Propagate,
}
