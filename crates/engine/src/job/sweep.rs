//! The job that finds images whose notification was lost.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Repository, Tag};

use super::{JobKind, Next, Run, is_zero};
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

/// How far a sweep got, in the order in which the registry lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The current page of the catalog, by the registry's own name for it; [`None`]: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The number of pages before it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pages: u32,
    /// The repository of this page that was compared last; [`None`]: none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The last tag of it that was compared.
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
