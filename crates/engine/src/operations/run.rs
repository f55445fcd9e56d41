//! Run: compares the existing images of a rule and copies what differs, for an operator or a schedule.

use std::sync::Arc;

use transship_copy::Clock;
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::Rule;

use crate::job::RunRule;
use crate::ledger::{History, Runs};
use crate::plan::id;
use crate::send::now;
use crate::walk::Narrow;
use crate::{Execution, Outgoing, TaskQueue, Trigger};

/// Starts runs.
pub struct StartRun {
    /// The runs of all rules.
    pub runs: Runs,
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// The queue.
    pub queue: Arc<dyn TaskQueue>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// A run that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The id of its execution.
    pub execution: String,
    /// True if it was active before.
    pub is_joined: bool,
}

impl StartRun {
    /// Starts a run of `rule`, or joins the active one. `RUN_ACTIVE` if that one is limited to another part of the rule.
    pub async fn start(&self, rule: &Rule, trigger: Trigger, narrow: Narrow) -> Result<Started> {
        let ends = (rule.source.registry.as_str(), rule.destination.registry.as_str());
        self.start_unknown(&rule.name, ends, trigger, narrow).await
    }

    /// The same for the name of a rule whose document is not known here, as that of a deployed stack.
    pub async fn start_by_name(&self, rule: &str, trigger: Trigger, narrow: Narrow) -> Result<Started> {
        self.start_unknown(rule, (rule, rule), trigger, narrow).await
    }

    async fn start_unknown(&self, rule: &str, ends: (&str, &str), trigger: Trigger, narrow: Narrow) -> Result<Started> {
        loop {
            let last = self.runs.last(rule).await?;
            if let Some(last) = &last
                && let Some(joined) = self.join(&last.job, &narrow).await?
            {
                return Ok(joined);
            }
            let version = last.map(|last| last.version);
            let created = now(self.clock.as_ref());
            let occurrence = format!("{created} {}", version.unwrap_or_default());
            let execution = Execution {
                id: id("e", &[rule, "run", &occurrence]),
                rule: rule.to_owned(),
                trigger,
                created,
            };
            let job = RunRule::new(execution, ends, narrow.clone());
            if self.runs.start(&job, version).await? {
                self.send(&job).await?;
                return Ok(Started {
                    execution: job.execution.id,
                    is_joined: false,
                });
            }
        }
    }

    /// Joins the run that begins with `job`, if it is active.
    async fn join(&self, job: &RunRule, narrow: &Narrow) -> Result<Option<Started>> {
        let execution = job.execution.id.clone();
        match self.history.execution(&execution).await? {
            Some(record) if record.duration_ms.is_some() => return Ok(None),
            // Its walk has not begun: its first message may be lost. A second one is harmless.
            _ if self
                .runs
                .walk(&execution, &job.id, now(self.clock.as_ref()))
                .await?
                .is_none() =>
            {
                self.send(job).await?;
            }
            _ => {}
        }
        if job.narrow != *narrow && job.narrow != Narrow::default() {
            let message = format!(
                "the run {execution} of the rule is active and is limited to another part of it: wait for its end, or cancel it"
            );
            return Err(Error::new(Code::RunActive, Verb::Run.on(&job.execution.rule), message));
        }
        Ok(Some(Started {
            execution,
            is_joined: true,
        }))
    }

    /// Records the walk, then sends its first message: an execution must be listed from its beginning.
    async fn send(&self, job: &RunRule) -> Result<()> {
        self.history.record(&[job.entry()]).await?;
        self.queue.send(&[Outgoing::now(job.clone())]).await
    }
}
