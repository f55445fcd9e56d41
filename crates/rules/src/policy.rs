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
