//! An image at a registry, as tasks and records name it.

use serde::{Deserialize, Serialize};
use transship_oci::{Repository, Target};

/// A registry of the document, a repository in it, and a tag or digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageRef {
    /// The registry's name in the document.
    pub registry: String,
    /// The repository.
    pub repository: Repository,
    /// Tag or digest.
    pub target: Target,
}

impl ImageRef {
    /// The same repository with another tag or digest.
    #[must_use]
    pub fn with_target(&self, target: Target) -> Self {
        Self { target, ..self.clone() }
    }
}

impl std::fmt::Display for ImageRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}/{}{}{}",
            self.registry,
            self.repository,
            self.target.separator(),
            self.target
        )
    }
}
