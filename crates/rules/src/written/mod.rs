//! The document as it is written: the shapes that are read and published as the schema, not yet what they mean.
//!
//! The comments here are the descriptions in the schema, so they are written for the author of a document. Nothing
//! outside this crate sees these types: what was checked is [`crate::Document`].

mod registry;
mod rule;
mod text_or;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::Topology;

pub(crate) use registry::{Credentials, Limits, Registry, Webhook};
pub(crate) use rule::{Deletes, Destination, Exclude, KindWord, Rule, Source, TagTable, Trigger};
pub(crate) use text_or::{Rate, TextOr};

/// The configuration of Transship: the registries it knows and the rules by which images go from one to another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// The version of this language: 1.
    pub(crate) version: u32,
    /// The registries by the names that rules and webhook addresses use.
    pub(crate) registries: BTreeMap<String, Registry>,
    /// Which chains of rules are allowed.
    #[serde(default)]
    pub(crate) topology: Topology,
    /// Exceptions to the topology and to partitions.
    #[serde(default)]
    pub(crate) links: Vec<Link>,
    /// What is replicated, from where, to where.
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
    /// Folders of buckets whose images are brought to a registry. Not supported by this version.
    #[serde(default)]
    pub(crate) imports: Vec<Import>,
}

/// An exception: what rules bring from one registry to another neither closes a cycle nor crosses a partition.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// The source registry's name.
    pub(crate) from: String,
    /// The destination registry's name.
    pub(crate) to: String,
    /// Why the exception is safe, for whoever reads this next.
    pub(crate) because: String,
}

/// Images in a bucket that are brought to a registry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its shape is published; a document that uses it is refused")]
pub(crate) struct Import {
    /// The import's name.
    name: String,
    /// The bucket.
    bucket: String,
    /// Where in the bucket.
    #[serde(default)]
    prefix: String,
    /// Where the images go.
    destination: ImportDestination,
    /// What happens when the destination tag already names something else.
    #[serde(default)]
    existing: crate::Existing,
}

/// Where imported images go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its shape is published; a document that uses it is refused")]
pub(crate) struct ImportDestination {
    /// The registry's name.
    registry: String,
    /// The namespace the images' paths are put under; "" is the root.
    namespace: String,
}
