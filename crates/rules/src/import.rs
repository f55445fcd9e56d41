//! A validated import: which objects of a bucket are copied to which registry.

use transship_oci::{Existing, Referrers};

use crate::namespace::Namespace;

/// Images in a bucket that are copied to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Unique among the imports and rules of the document: `[a-z0-9][a-z0-9-._]*`. Tasks carry it as their rule.
    pub name: String,
    /// A description for readers of the document.
    pub description: Option<String>,
    /// An import that is not enabled does nothing.
    pub enabled: bool,
    /// The bucket's name.
    pub bucket: String,
    /// The prefix of the keys: empty, or ending in `/`.
    pub prefix: String,
    /// The destination.
    pub destination: ImportDestination,
    /// What to do if the destination tag already names another image.
    pub existing: Existing,
    /// What to do with signatures, SBOMs and other referrers.
    pub referrers: Referrers,
}

/// The destination of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportDestination {
    /// The registry's name in the document.
    pub registry: String,
    /// The namespace for the paths of the images.
    pub namespace: Namespace,
}

impl Import {
    /// True if this import is enabled and the object `key` of `bucket` is below its prefix, by whole components.
    pub fn holds(&self, bucket: &str, key: &str) -> bool {
        let below = key.strip_prefix(&self.prefix);
        self.enabled && self.bucket == bucket && below.is_some_and(|below| !below.is_empty())
    }
}
