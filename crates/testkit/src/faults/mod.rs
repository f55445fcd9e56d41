//! Faults at HTTP level: scripted to the request, or drawn from a seed.
//!
//! Both decide for the embedded registry ([`transship_embedded_registry::Builder::faults`]) and for
//! [`crate::proxy::FaultProxy`] in front of a real one.

mod script;
mod seeded;

pub use script::{Fault, Script};
pub use seeded::Seeded;
pub use transship_embedded_registry::faults::{Action, Ending, Faults, RequestHead};
