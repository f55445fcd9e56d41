//! Copy one image to one destination.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_layout::SourceRef;
use transship_oci::{Digest, Kind, Target};
use transship_oci::{Existing, Platforms, Referrers};

use super::{JobKind, Next, Run, stored};
use crate::copy_image::CopyImage;
use crate::jobs::Jobs;
use crate::{Execution, ImageRef, Result, StoreName, TaskEntry};

/// Copies one image to one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyTask {
    /// Deterministic: the same event under the same rule has the same id, however often it is delivered.
    pub id: String,
    /// The execution that the task belongs to.
    pub execution: Execution,
    /// The image to read.
    pub source: Source,
    /// Where it is written.
    pub destination: ImageRef,
    /// What the copy may change and what it takes along.
    pub policy: Policy,
    /// The source is a referrer or a digest tag: it is copied where its subject was copied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_attachment: bool,
    /// The digest that the event or the listing named. The copy takes what the source names when the task runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Digest>,
    /// When the destination did not have the tag, if the task was made because of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_at: Option<Timestamp>,
    /// Set if this is one more report of the push of the task: the ids of the task that is made of it if the push has to be
    /// copied again after the task has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Ids>,
}

/// The ids of a task and of its execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Of the task.
    pub task: String,
    /// Of the execution.
    pub execution: String,
}

/// The image that a task reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An image of a registry in the document.
    Registry(ImageRef),
    /// An image of a layout, archive or storage tree.
    Stored {
        /// The store that holds it.
        store: StoreName,
        /// The layout, archive or tree.
        found: SourceRef,
        /// The image in it.
        target: Target,
    },
}

/// The policy of a rule or import when the task was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What to do if the destination tag already names another image.
    pub existing: Existing,
    /// What to do with signatures and other referrers.
    pub referrers: Referrers,
    /// The kinds that are copied; empty: every kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// The labels that an image must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// An operator asked for the copy although the rule is disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_by_hand: bool,
    /// The platforms that are copied; none: all.
    #[serde(default, skip_serializing_if = "Platforms::is_all")]
    pub platforms: Platforms,
}

impl Source {
    /// The image, if it is in a registry.
    pub const fn registry(&self) -> Option<&ImageRef> {
        match self {
            Self::Registry(image) => Some(image),
            Self::Stored { .. } => None,
        }
    }

    /// The tag or digest of the image at the source.
    pub const fn target(&self) -> &Target {
        match self {
            Self::Registry(image) => &image.target,
            Self::Stored { target, .. } => target,
        }
    }

    /// The registry or the store that holds the image.
    pub fn origin(&self) -> &str {
        match self {
            Self::Registry(image) => &image.registry,
            Self::Stored { store, .. } => store.as_str(),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(image) => write!(formatter, "{image}"),
            Self::Stored { store, found, target } => {
                let found = found.to_string();
                let slash = if found.is_empty() { "" } else { "/" };
                write!(formatter, "{store}{slash}{found}{}{target}", target.separator())
            }
        }
    }
}

impl CopyTask {
    /// True for the push of a manifest that no tag names. Most are children of an index and come with it, so such a task is
    /// recorded when a worker has found out that it refers to something, and a child leaves nothing for a person to read past.
    pub(crate) const fn is_recorded_late(&self) -> bool {
        match &self.source {
            Source::Registry(image) => self.is_attachment && matches!(image.target, Target::Digest(_)),
            Source::Stored { .. } => false,
        }
    }

    /// True if the tag was listed at the source, and the source was not asked what it names.
    pub(crate) const fn is_listed_only(&self) -> bool {
        self.absent_at.is_some() && self.expected.is_none()
    }

    /// The task as the ledger keeps it.
    pub fn entry(&self) -> TaskEntry {
        let (source, destination) = (self.source.to_string(), self.destination.to_string());
        let (origin, registry) = (self.source.origin(), &self.destination.registry);
        let entry = TaskEntry::new(
            &self.id,
            &self.execution,
            origin,
            source,
            registry,
            destination,
            stored(self),
        );
        TaskEntry {
            source_repository: self.source.registry().map(|image| image.repository.clone()),
            is_attachment: self.is_attachment,
            destination_repository: Some(self.destination.repository.clone()),
            digest: self.expected.clone(),
            ..entry
        }
    }
}

impl JobKind for CopyTask {
    const NAME: &'static str = "copy";

    fn group(&self) -> &str {
        &self.destination.registry
    }

    fn origin(&self) -> Option<&str> {
        Some(self.source.origin())
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
            own: None,
            ..self
        }
    }

    async fn run(&self, jobs: &Jobs, run: Run) -> Result<Next> {
        CopyImage::new(jobs, self, run).run().await
    }
}
