//! Records the end of jobs whose workers crashed.
//!
//! A worker that crashes cannot record the end of its task, so the caller that receives the dead letter does. Every task must
//! end in a recorded state.

use std::sync::Arc;

use metrics::counter;
use transship_copy::Clock;

use crate::job::Source;
use crate::ledger::{Failure, Failures, History};
use crate::send::now;
use crate::{Counts, Job, Outcome, Result, TaskState};
use transship_oci::Code;

/// It settles no replicas, so it needs no lease.
const NO_HOLDER: &str = "";

/// Records jobs whose workers crashed as failed tasks, with the code `WORKER_CRASHED`.
#[derive(Clone)]
pub struct DeadLetters {
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// Tags that failed permanently.
    pub failures: Failures,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl DeadLetters {
    /// Records the end of `job`, which was received `receive_count` times. A job that the ledger never records is logged.
    pub async fn record(&self, job: &Job, receive_count: u32) -> Result<()> {
        let advice = job.crash_advice();
        let Some(entry) = job.task() else {
            let kind = job.kind();
            tracing::error!(
                code = Code::WorkerCrashed.as_str(),
                kind,
                "a job crashed its workers and is abandoned; {advice}"
            );
            return Ok(());
        };
        self.history.record(std::slice::from_ref(&entry)).await?;
        let outcome = Outcome {
            state: TaskState::Failed,
            digest: None,
            code: Some("WORKER_CRASHED".into()),
            message: Some(format!(
                "its workers ended without an outcome, and its message became a dead letter; it was received {receive_count} \
                 times; {advice}"
            )),
            bytes: Counts::default(),
            finished: now(self.clock.as_ref()),
        };
        if let Job::Copy(task) = job
            && let (Source::Registry(_), Some(digest)) = (&task.source, &task.expected)
        {
            let failure = Failure {
                digest: digest.clone(),
                rule_version: None,
                at_ms: outcome.finished.as_millisecond(),
            };
            let rule = &task.execution.rule;
            self.failures.add(rule, &task.destination, &failure).await?;
        }
        if self.history.finish(&entry, &outcome, &[], NO_HOLDER).await? {
            counter!("Tasks", "State" => TaskState::Failed.as_str()).increment(1);
            tracing::error!(
                code = Code::WorkerCrashed.as_str(),
                execution = entry.execution.id,
                task = entry.id,
                rule = entry.execution.rule,
                source = entry.source,
                destination = entry.destination,
                "the task ended: its worker crashed"
            );
        }
        Ok(())
    }
}
