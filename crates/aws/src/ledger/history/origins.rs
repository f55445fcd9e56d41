//! The origins that tasks were recorded for, so that all open tasks can be listed. A process writes each once, together with
//! the first task.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use transship_engine::ledger::TaskEntry;
use transship_oci::Result;

use super::keys::ORIGINS;
use crate::ledger::attributes::{text, text_of};
use crate::ledger::expression::Values;
use crate::ledger::table::{Query, Table};

/// The most that one transaction writes; the others follow with later tasks.
const PARALLEL_READS: usize = 2;

/// The origins that this process has written.
#[derive(Debug, Clone, Default)]
pub(in crate::ledger) struct Origins(Arc<Mutex<HashSet<String>>>);

impl Origins {
    /// Those of `tasks` that this process has not written yet.
    pub(super) fn unknown(&self, tasks: &[&TaskEntry]) -> Vec<String> {
        let known = self.known();
        let origins: BTreeSet<&String> = tasks.iter().map(|task| &task.origin).collect();
        let unknown = origins.into_iter().filter(|origin| !known.contains(*origin));
        unknown.take(PARALLEL_READS).cloned().collect()
    }

    pub(super) fn add(&self, written: Vec<String>) {
        self.known().extend(written);
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All origins.
pub(super) async fn all(table: &Table, operation: &str) -> Result<Vec<String>> {
    let query = Query {
        key: "#pk = :origins",
        values: Values::from([(":origins".to_owned(), text(ORIGINS))]),
        ..Query::default()
    };
    let items = table.all(operation, &query).await?;
    let names = items.iter().filter_map(|item| text_of(item, "sk").ok());
    Ok(names.map(str::to_owned).collect())
}
