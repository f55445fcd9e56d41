//! Policies of documents and command lines, in the types that all crates share: existing tags, referrers, and the limits of a
//! registry.

use serde::{Deserialize, Serialize};

/// What to do if the destination tag already names another image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// Replace only what Transship wrote there according to its ledger; keep and report anything else.
    #[default]
    Follow,
    /// Never replace it.
    Keep,
    /// Replace it.
    Overwrite,
    /// Replace it after giving the old image the tag `<tag>-<first 12 digits of its digest>`.
    Backup,
}

/// What to do with signatures, SBOMs and other manifests that refer to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Referrers {
    /// Copy them with the image.
    #[default]
    Include,
    /// Do not copy them.
    Exclude,
    /// Copy them with the image, and fail if there are none.
    Require,
}

/// Which addresses the name of a registry may resolve to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Only public addresses, unless the endpoint is a literal address.
    #[default]
    Public,
    /// Also loopback and private addresses.
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
