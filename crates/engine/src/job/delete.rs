//! Delete a tag at a destination, because it was deleted at its source.

use serde::{Deserialize, Serialize};
use transship_oci::{Digest, Target};

use super::{JobKind, Next, Run, stored};
use crate::delete_tag::DeleteTag;
use crate::jobs::Jobs;
use crate::{Action, Execution, ImageRef, Result, TaskEntry};

/// Deletes a tag at a destination. The worker first confirms that the source does not have it any more.
///
/// A task whose source is a digest stands for the tags that were copied from it: it becomes one task for each, and the ledger
/// never has the task itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTask {
    /// Deterministic, as of a copy.
    pub id: String,
    /// The execution that the task belongs to.
    pub execution: Execution,
    /// What was deleted.
    pub source: ImageRef,
    /// What is to be deleted.
    pub destination: ImageRef,
    /// The digest that the tag named, if the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl DeleteTask {
    /// True for the delete of a manifest, which says nothing about tags.
    pub(crate) const fn is_by_digest(&self) -> bool {
        matches!(self.source.target, Target::Digest(_))
    }

    /// The task as the ledger keeps it.
    pub fn entry(&self) -> TaskEntry {
        let Self {
            source, destination, ..
        } = self;
        TaskEntry {
            action: Action::Delete,
            source_repository: Some(source.repository.clone()),
            destination_repository: Some(destination.repository.clone()),
            digest: self.digest.clone(),
            // A delete that waits for an operator must not keep the referrers of the repository waiting.
            is_attachment: true,
            ..TaskEntry::new(
                &self.id,
                &self.execution,
                &source.registry,
                source.to_string(),
                &destination.registry,
                destination.to_string(),
                stored(self),
            )
        }
    }
}

impl JobKind for DeleteTask {
    const NAME: &'static str = "delete";

    fn group(&self) -> &str {
        &self.destination.registry
    }

    fn origin(&self) -> Option<&str> {
        Some(&self.source.registry)
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
        DeleteTag::new(jobs, self, run).run().await
    }
}
