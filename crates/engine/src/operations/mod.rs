//! Operations of operators, called by the command line.

mod redrive;

pub use redrive::{Redrive, Redriven};
