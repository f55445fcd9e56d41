//! Turn the images of one source in a store into tasks.

use serde::{Deserialize, Serialize};
use transship_layout::SourceRef;
use transship_oci::Target;

use super::{JobKind, Next, Run, stored};
use crate::import::{Import, ScanSource};
use crate::jobs::Jobs;
use crate::plan::id;
use crate::{Execution, Result, StoreName, TaskEntry};

/// Makes a task of each image of a layout, an archive or a storage tree, as soon as the source is complete.
///
/// The ledger records a scan of an order, and a scan of an upload if it waits for missing content or fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The task under which a failure is recorded.
    pub id: String,
    /// The execution under which a failure is recorded, and, unless [`Scan::is_upload`], that of all tasks.
    pub execution: Execution,
    /// The store that holds the source.
    pub store: StoreName,
    /// The source.
    pub source: SourceRef,
    /// Only this image of a storage tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Target>,
    /// Where the images go.
    pub import: Import,
    /// An upload caused the scan. Every scan that finds the same version of the source makes the same tasks, in an execution
    /// of that version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_upload: bool,
    /// How many images of the source's list are tasks already.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub done: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
const fn is_none_yet(number: &usize) -> bool {
    *number == 0
}

impl Scan {
    /// The scan of `source`, or of one image of it.
    pub(crate) fn new(
        import: &Import,
        store: &StoreName,
        source: &SourceRef,
        only: Option<&Target>,
        execution: &Execution,
    ) -> Self {
        let mut scan = Self {
            id: String::new(),
            execution: execution.clone(),
            store: store.clone(),
            source: source.clone(),
            only: only.cloned(),
            import: import.clone(),
            is_upload: false,
            done: 0,
        };
        scan.id = Self::id_of(execution, &scan.key());
        scan
    }

    pub(super) fn id_of(execution: &Execution, key: &str) -> String {
        id("t", &[&execution.id, key])
    }

    /// Identifies the scan while it waits for missing content: source, image and import, regardless of what caused it.
    pub(crate) fn key(&self) -> String {
        let Import {
            name, registry, path, ..
        } = &self.import;
        let path = path.as_ref().map(ToString::to_string).unwrap_or_default();
        // `_` as in the previous release: what it left waiting is found under the same key.
        let only = self.only.as_ref().map_or_else(|| "_".to_owned(), ToString::to_string);
        id(
            "l",
            &[name, registry, &path, self.store.as_str(), &self.source.key, &only],
        )
    }

    /// Identifies the scan among those that wait. Of an upload the newest version of a source waits; each order waits by itself.
    pub(crate) fn pending_id(&self) -> String {
        if self.is_upload {
            return self.key();
        }
        id("l", &[&self.key(), &self.execution.id])
    }

    /// True for the upload of a manifest of a storage tree that may have no tag. It may be a part of another image, so it is not
    /// recorded while it waits.
    pub(crate) const fn is_by_digest(&self) -> bool {
        self.is_upload && matches!(self.only, Some(Target::Digest(_)))
    }

    /// The same scan as part of `execution`.
    pub(crate) fn of_execution(&self, execution: Execution) -> Self {
        Self {
            id: Self::id_of(&execution, &self.key()),
            execution,
            ..self.clone()
        }
    }

    /// The scan as the ledger keeps it.
    pub fn entry(&self) -> TaskEntry {
        let only = self.only.as_ref();
        let only = only.map_or_else(String::new, |only| format!("{}{only}", only.separator()));
        let source = format!("{}/{}", self.store, self.source);
        self.import.entry(
            &self.id,
            &self.execution,
            &self.store,
            format!("{source}{only}"),
            &self.source.path,
            stored(self),
        )
    }
}

impl Import {
    /// The ledger's entry of a job that reads `store` and writes below `path` of this import.
    pub(super) fn entry(
        &self,
        id: &str,
        execution: &Execution,
        store: &StoreName,
        source: String,
        path: &str,
        job: String,
    ) -> TaskEntry {
        let above = self.path.as_ref().map(ToString::to_string);
        let parts = above
            .as_deref()
            .into_iter()
            .chain([path])
            .filter(|part| !part.is_empty());
        let repository = parts.collect::<Vec<_>>().join("/");
        let slash = if repository.is_empty() { "" } else { "/" };
        let destination = format!("{}{slash}{repository}", self.registry);
        let origin = store.as_str();
        TaskEntry {
            destination_repository: repository.parse().ok(),
            ..TaskEntry::new(id, execution, origin, source, &self.registry, destination, job)
        }
    }
}

impl JobKind for Scan {
    const NAME: &'static str = "scan";

    fn group(&self) -> &str {
        &self.import.registry
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
        ScanSource::new(jobs, self, run).run().await
    }
}
