//! The job that finds images whose notification was lost.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Repository, Tag};
use transship_registry::PageCursor;

use super::{JobKind, Next, Run};
use crate::jobs::Jobs;
use crate::sweep::SweepPart;
use crate::{Execution, Result, TaskEntry};

/// One step of a sweep. Without `step` it is the order to begin, which sends one step for each part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sweep {
    /// When the sweep began; [`None`]: now. All its tasks are made with this time, so that a message that is delivered twice
    /// makes each task once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The part to sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<SweepStep>,
}

/// One part of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepStep {
    /// Tasks that read from this registry or store, and whose worker is gone.
    Tasks {
        /// The registry's name in the document, or the store's: `s3://bucket`.
        registry: String,
    },
    /// Sources of imports that are not complete.
    Incomplete,
    /// The tags of one event rule.
    Rule {
        /// The rule's name.
        rule: String,
        /// How far an earlier message got; [`None`]: it is the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Cursor>,
    },
}

/// How far a sweep got: the page of the catalog, and the page of tags, by the registry's own links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The current page of the catalog; [`None`]: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<PageCursor>,
    /// The repository of this page that was compared last, in sorted order; [`None`]: none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The current page of its tags; [`None`]: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_page: Option<PageCursor>,
    /// The last tag of this page that was compared, in sorted order; [`None`]: none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

impl JobKind for Sweep {
    const NAME: &'static str = "sweep";
    const CRASH_ADVICE: &'static str = "the next sweep takes it up";
    // The schedule sends the next one.
    const IS_PERIODIC: bool = true;

    fn group(&self) -> &'static str {
        "sweep"
    }

    fn origin(&self) -> Option<&str> {
        match self.step.as_ref()? {
            SweepStep::Tasks { registry } => Some(registry),
            SweepStep::Rule { rule, .. } => Some(rule),
            SweepStep::Incomplete => None,
        }
    }

    fn task(&self) -> Option<TaskEntry> {
        None
    }

    fn restarted(self, _: String, _: &Execution) -> Self {
        self
    }

    async fn run(&self, jobs: &Jobs, run: Run) -> Result<Next> {
        SweepPart::new(jobs, self, run).run().await
    }
}
