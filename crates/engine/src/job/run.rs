//! Walk the existing images of a rule, and copy those that differ.

use serde::{Deserialize, Serialize};

use super::{JobKind, Next, Run, stored};
use crate::jobs::Jobs;
use crate::plan::id;
use crate::run_rule::RunPart;
use crate::walk::Narrow;
use crate::{Execution, Result, TaskEntry};

/// The walk of a run. How far it got is in the ledger ([`crate::ledger::Runs`]), so each of its messages is the same.
///
/// The ledger records it before its first message is sent, and it ends after every copy that it found was recorded, so the
/// execution does not end before them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRule {
    /// The task under which the walk is recorded.
    pub id: String,
    /// The execution of everything that is found. Its rule is the one that runs.
    pub execution: Execution,
    /// The name of the source registry, or the rule's where the document is not known.
    pub from: String,
    /// The name of the destination registry; the same.
    pub to: String,
    /// The part of the rule that runs.
    #[serde(default)]
    pub narrow: Narrow,
}

impl RunRule {
    /// The walk that begins `execution`, which copies between the registries `from` and `to`.
    pub(crate) fn new(execution: Execution, (from, to): (&str, &str), narrow: Narrow) -> Self {
        Self {
            id: id("t", &["run", &execution.id]),
            execution,
            from: from.to_owned(),
            to: to.to_owned(),
            narrow,
        }
    }

    /// The walk of a part that this one could not read, to be redriven.
    pub(crate) fn part(&self, narrow: Narrow) -> Self {
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let repository = text(narrow.repository.as_ref().map(AsRef::as_ref));
        let tag = text(narrow.tag.as_ref().map(AsRef::as_ref));
        Self {
            id: id("t", &["run", &self.id, &repository, &tag]),
            narrow,
            ..self.clone()
        }
    }

    /// The walk as the ledger keeps it.
    pub fn entry(&self) -> TaskEntry {
        let below = |name: &str| {
            let repository = self.narrow.repository.as_ref();
            let repository = repository.map_or_else(String::new, |repository| format!("/{repository}"));
            let tag = self.narrow.tag.as_ref();
            let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
            format!("{name}{repository}{tag}")
        };
        let (source, destination) = (below(&self.from), self.to.clone());
        let entry = TaskEntry::new(
            &self.id,
            &self.execution,
            &self.from,
            source,
            &self.to,
            destination,
            stored(self),
        );
        TaskEntry {
            source_repository: self.narrow.repository.clone(),
            // Its end is not the end of a copy from there.
            is_attachment: true,
            ..entry
        }
    }
}

impl JobKind for RunRule {
    const NAME: &'static str = "run";
    const CRASH_ADVICE: &'static str = "see their logs, then run the rule again";

    fn group(&self) -> &'static str {
        "run"
    }

    fn origin(&self) -> Option<&str> {
        Some(&self.from)
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
        RunPart::new(jobs, self, run).run().await
    }
}
