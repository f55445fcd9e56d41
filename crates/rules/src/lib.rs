//! The one document: registries, rules, matching, naming and topology. No I/O.

mod policy;

pub use policy::{Existing, Referrers};
