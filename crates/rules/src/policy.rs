//! The words of a rule that a task carries with it: what happens to what is there, and what belongs to an image.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when the destination tag already names something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// Replace only what our own replica record says we wrote there; anything else is kept and reported.
    #[default]
    Follow,
    /// Never replace.
    Keep,
    /// Replace.
    Overwrite,
    /// Replace, after the old image got a tag of its own.
    Backup,
}

/// What happens to signatures, SBOMs and other manifests that refer to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Referrers {
    /// They belong to the image and go with it.
    #[default]
    Include,
    /// They stay.
    Exclude,
    /// They go with it, and the image waits until there is at least one.
    Require,
}

/// Which addresses the name of a registry may resolve to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Public ones only, unless the endpoint is written as an address.
    #[default]
    Public,
    /// Loopback and private ones too.
    Private,
}

/// Which chains of rules a document may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// No rule may start itself again, directly or through others.
    #[default]
    Acyclic,
    /// Besides, a source is never a destination, and a destination stands in one rule.
    Strict,
}
