//! An import of the document, checked: which objects of a bucket go to which registry, and how.

use transship_oci::{Existing, Referrers};

use crate::namespace::Namespace;

/// Images in a bucket that are brought to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Unique among the imports and rules of the document: `[a-z0-9][a-z0-9-._]*`. Tasks carry it as their rule.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// An import that is not enabled does nothing.
    pub enabled: bool,
    /// The bucket's name.
    pub bucket: String,
    /// What the keys begin with: empty, or ending in `/`.
    pub prefix: String,
    /// To where.
    pub destination: ImportDestination,
    /// What happens when the destination tag already names something else.
    pub existing: Existing,
    /// What happens to signatures, SBOMs and other referrers.
    pub referrers: Referrers,
}

/// Where an import writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportDestination {
    /// The registry's name in the document.
    pub registry: String,
    /// What the paths of the images are put under.
    pub namespace: Namespace,
}

impl Import {
    /// True if the object `key` of `bucket` is for this import, which is enabled: it lies below the prefix, by whole
    /// components.
    pub fn holds(&self, bucket: &str, key: &str) -> bool {
        let below = key.strip_prefix(&self.prefix);
        self.enabled && self.bucket == bucket && below.is_some_and(|below| !below.is_empty())
    }
}
