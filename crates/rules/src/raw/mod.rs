//! The document as it is written: the shapes that are read and published as the schema, not yet what they mean.
//!
//! The comments here are the descriptions in the schema, so they are written for the author of a document. Nothing
//! outside this crate sees these types: what was checked is [`crate::Document`].

mod import;
mod registry;
mod rule;
mod text_or;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::Topology;

pub(crate) use crate::rate::Rate;
pub(crate) use import::{Import, ImportDestination};
pub(crate) use registry::{Credentials, Limits, Registry, Webhook};
pub(crate) use rule::{Deletes, Destination, Exclude, KindWord, PatternKeys, Rule, Source, TagTable, Trigger};
pub(crate) use text_or::TextOr;

/// The configuration of Transship: the registries it knows, and the rules and imports by which images go there.
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
    /// Images in buckets that are brought to a registry when they are uploaded, by the stack deployed on AWS.
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
    /// Why the exception is safe.
    pub(crate) because: String,
}

const fn yes() -> bool {
    true
}
