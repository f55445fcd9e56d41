//! Find the sources below a prefix of a store.

use serde::{Deserialize, Serialize};
use transship_layout::Discovery;

use super::{JobKind, Next, Run, stored};
use crate::import::{Import, ListSources};
use crate::jobs::Jobs;
use crate::plan::id;
use crate::{Execution, Result, StoreName, TaskEntry};

/// Finds layouts, archives and storage trees below a prefix, page by page, and sends a scan of each.
///
/// The ledger records it when it begins. It ends after every scan that it sent was recorded, so the execution does not end before
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPrefix {
    /// The task under which a failure is recorded.
    pub id: String,
    /// The execution of everything that is found.
    pub execution: Execution,
    /// Where the images go. The registry is a name of the document, or a host of a registry there.
    pub import: Import,
    /// The store that is listed.
    pub store: StoreName,
    /// How far the listing got.
    pub at: Discovery,
}

impl ListPrefix {
    /// The order to import everything below `prefix` of `store`.
    pub fn new(import: Import, store: StoreName, prefix: &str, execution: Execution) -> Self {
        Self {
            id: Self::id_of(&execution, &store, prefix),
            execution,
            import,
            store,
            at: Discovery::new(prefix),
        }
    }

    pub(super) fn id_of(execution: &Execution, store: &StoreName, prefix: &str) -> String {
        id("t", &["list", &execution.id, store.as_str(), prefix])
    }

    /// The listing as the ledger keeps it.
    pub fn entry(&self) -> TaskEntry {
        let source = format!("{}/{}", self.store, self.at.prefix().trim_end_matches('/'));
        self.import
            .entry(&self.id, &self.execution, &self.store, source, "", stored(self))
    }
}

impl JobKind for ListPrefix {
    const NAME: &'static str = "list";
    const CRASH_ADVICE: &'static str = "see their logs, then order the import again";

    fn group(&self) -> &'static str {
        "search"
    }

    fn origin(&self) -> Option<&str> {
        Some(self.store.as_str())
    }

    fn task(&self) -> Option<TaskEntry> {
        Some(self.entry())
    }

    fn execution(&self) -> Option<&Execution> {
        Some(&self.execution)
    }

    fn execution_mut(&mut self) -> Option<&mut Execution> {
        Some(&mut self.execution)
    }

    fn restarted(self, id: String, execution: &Execution) -> Self {
        Self {
            id,
            execution: execution.clone(),
            ..self
        }
    }

    async fn run(&self, jobs: &Jobs, run: Run) -> Result<Next> {
        ListSources::new(jobs, self, run).run().await
    }
}
