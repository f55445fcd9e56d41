//! Operations: what an operator asks for. The command line calls them.

mod redrive;

pub use redrive::{Redrive, Redriven};
