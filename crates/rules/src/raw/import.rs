//! An import as it is written.

use schemars::JsonSchema;
use serde::Deserialize;
use transship_oci::{Existing, Referrers};

use super::yes;

/// Images in a bucket that are copied to a registry: OCI layouts and archives, `docker save` archives, and copies of a
/// registry's own storage.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    /// The import's name, unique among the imports and rules of the document.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"))]
    pub(crate) name: String,
    /// A description for readers of the document.
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// An import that is not enabled does nothing.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// The bucket's name.
    #[schemars(length(min = 3, max = 63))]
    pub(crate) bucket: String,
    /// Only what lies below this path of the bucket, as `seed/` or `seed`; absent: everything.
    #[serde(default)]
    pub(crate) prefix: String,
    /// The destination.
    pub(crate) destination: ImportDestination,
    /// What to do if the destination tag already names another image.
    #[serde(default)]
    pub(crate) existing: Existing,
    /// What to do with signatures, SBOMs and other manifests that refer to an image.
    #[serde(default)]
    pub(crate) referrers: Referrers,
}

/// The destination of images of a bucket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportDestination {
    /// The registry's name.
    pub(crate) registry: String,
    /// The namespace for the paths below the prefix, such as `core` or `core/team`; "" is the root.
    pub(crate) namespace: String,
}
