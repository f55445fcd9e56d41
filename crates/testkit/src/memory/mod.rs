//! The engine's ports in memory: what tests of use cases run on, and the first to pass the suites.
//!
//! The queue can be made harsher than any real one: whoever survives it survives SQS. Time is turned by hand.

mod awaited;
mod ledger;
mod queue;

pub use awaited::MemoryAwaited;
pub use ledger::MemoryLedger;
pub use queue::MemoryQueue;
