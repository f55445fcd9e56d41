//! The engine's ports in memory, for tests of use cases. They are the reference for the suites.
//!
//! The queue can be made harsher than any real one, so that code that passes its tests also works with SQS. Time is manual.

mod ledger;
mod names;
mod queue;

pub use ledger::MemoryLedger;
pub use names::MemoryNames;
pub use queue::MemoryQueue;
