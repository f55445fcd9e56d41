//! The document before validation: the types that are parsed and published as the schema.
//!
//! The comments here are the descriptions in the schema, so they are written for the author of a document. These types are
//! not visible outside this crate; the validated type is [`crate::Document`].

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
pub(crate) use registry::{Credentials, Identity, Limits, Registry, Tls, Webhook};
pub(crate) use rule::{Deletes, Destination, Exclude, KindWord, PatternKeys, Rule, Source, TagTable, Trigger};
pub(crate) use text_or::TextOr;

/// The configuration of Transship: registries, and the rules and imports that copy images to them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// The version of this language: 1.
    pub(crate) version: u32,
    /// The registries, by the names that rules and webhook URLs use.
    pub(crate) registries: BTreeMap<String, Registry>,
    /// Which chains of rules are allowed.
    #[serde(default)]
    pub(crate) topology: Topology,
    /// Exceptions to the topology and to partitions.
    #[serde(default)]
    pub(crate) links: Vec<Link>,
    /// Which images are copied from which registry to which destination.
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
    /// Images in buckets that the stack deployed on AWS copies to a registry when they are uploaded.
    #[serde(default)]
    pub(crate) imports: Vec<Import>,
}

/// An exception: rules from one registry to the other do not count for cycles and partitions.
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
