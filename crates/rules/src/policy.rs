//! Which chains of rules a document may contain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which chains of rules a document may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// No rule may start itself again, directly or through others.
    #[default]
    Acyclic,
    /// Also, a source is never a destination, and each destination is written by one rule.
    Strict,
}
