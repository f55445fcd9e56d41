//! A ledger that lives as long as the process: for tests of the engine, and the reference of the suites.

mod hints;
mod history;
mod records;
mod replicas;

use std::sync::Mutex;

/// The ledger's ports in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    history: Mutex<history::State>,
    hints: Mutex<hints::State>,
    records: Mutex<records::State>,
}
