//! The document before validation: the types that are parsed and published as the schema.
//!
//! The comments here are the descriptions in the schema, so they are written for the author of a document. These types are
//! not visible outside this crate; the validated type is [`crate::Document`].

mod failover;
mod import;
mod registry;
mod rule;
mod text_or;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use crate::policy::Topology;

pub(crate) use crate::rate::Rate;
pub(crate) use failover::{CloudZone, Dns, Failover, Record, Rfc2136, Site, Zone};
pub(crate) use import::{Import, ImportDestination};
pub(crate) use registry::{Credentials, Identity, Limits, Registry, Tls, Webhook};
pub(crate) use rule::{
    Deletes, Destination, Exclude, KindWord, PatternTable, Platforms, Rule, Source, TagPattern, TagTable, Trigger,
};
pub(crate) use text_or::{OneOrMany, TextOr};

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
    /// Groups of registries between which clients are switched by a DNS record. Not supported by this version: checked, then
    /// refused.
    #[serde(default)]
    pub(crate) failover: Vec<Failover>,
    /// People and programs that may use the API. Not supported by this version.
    #[serde(default)]
    pub(crate) operators: Option<Later>,
    /// Notifications of failures. Not supported by this version.
    #[serde(default)]
    pub(crate) notify: Option<Later>,
}

/// A section that is not supported yet: its content is not read.
#[derive(Debug, Clone)]
pub(crate) struct Later;

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for Later {
    fn schema_name() -> Cow<'static, str> {
        "Later".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array" })
    }
}

/// An exception: rules from one registry to the other do not count for cycles and partitions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// The name of the source registry, or a region, which stands for all registries in it.
    pub(crate) from: String,
    /// The name of the destination registry, or a region.
    pub(crate) to: String,
    /// Why the exception is safe.
    pub(crate) because: String,
}

const fn yes() -> bool {
    true
}
