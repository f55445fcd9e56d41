//! What a document or a command line asks for, in the types that every crate below acts on: what may be replaced, what
//! belongs to an image, and how a registry is to be treated.

use serde::{Deserialize, Serialize};

/// What happens when the destination tag already names something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// Replace only what Transship wrote there, as its ledger records; keep and report anything else.
    #[default]
    Follow,
    /// Never replace.
    Keep,
    /// Replace.
    Overwrite,
    /// Replace, after the old image got the tag `<tag>-<first 12 digits of its digest>`.
    Backup,
}

/// What happens to signatures, SBOMs and other manifests that refer to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Referrers {
    /// They belong to the image and go with it.
    #[default]
    Include,
    /// They are not copied.
    Exclude,
    /// They go with it, and there must be at least one.
    Require,
}

/// Which addresses the name of a registry may resolve to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Public ones only, unless the endpoint is written as an address.
    #[default]
    Public,
    /// Loopback and private ones too.
    Private,
}

/// The load that one process may put on a registry. [`None`] is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Requests per second; above 0.
    pub requests_per_second: Option<f64>,
    /// Uploads at the same time; above 0.
    pub uploads: Option<u32>,
    /// Bytes per second, sent and received together; above 0.
    pub bandwidth: Option<u64>,
}
