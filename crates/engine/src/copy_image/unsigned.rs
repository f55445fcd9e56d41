//! Images that wait for a referrer, because their rule requires one (`referrers: require`).
//!
//! Such a task waits up to [`crate::retry_policy::REFERRER_TIMEOUT`] and writes nothing until then. The push of the referrer is
//! an event of its own. Its task does not find its subject at the destination, and sends the tasks that wait for it again at
//! once. A task that failed because the referrer came too late is repeated by a new one.

use std::time::Duration;

use transship_oci::{Code, Digest, Referrers, Result};

use super::CopyImage;
use crate::ledger::{By, TaskEntry, TaskQuery};
use crate::plan::id;
use crate::send::send_then_record;
use crate::{CopyTask, Execution, Job, Outgoing, TaskState};

/// Tasks of each kind that one referrer sends again.
const WOKEN_TASKS_MAX: usize = 100;

impl CopyImage<'_> {
    /// Sends the tasks again that wait for a referrer of `subject`, or failed without it. Only the first processing of a message
    /// does so. If it fails, the tasks are tried when they are due.
    pub(super) async fn wake_unsigned(&self, subject: &Digest) {
        if self.task.policy.referrers != Referrers::Require || self.run.tries > 0 {
            return;
        }
        if let Err(error) = self.send_unsigned(subject).await {
            tracing::warn!(code = error.code(), %error, %subject, "the tasks that wait for a referrer could not be sent again");
        }
    }

    async fn send_unsigned(&self, subject: &Digest) -> Result<()> {
        let (jobs, history) = (self.jobs, self.jobs.ledger.history.as_ref());
        let mut waiting = self.unsigned(TaskState::Waiting).await?;
        // The referrer may be one of a platform; then the tasks do not name its subject.
        if waiting.iter().any(|entry| entry.digest.as_ref() == Some(subject)) {
            waiting.retain(|entry| entry.digest.as_ref() == Some(subject));
        }
        let messages = waiting.iter().filter_map(|entry| entry.envelope().ok());
        let messages: Vec<Outgoing> = messages
            .map(|envelope| Outgoing {
                envelope,
                delay: Duration::ZERO,
            })
            .collect();
        if !messages.is_empty() {
            tracing::info!(%subject, tasks = messages.len(), "sent tasks again that wait for a referrer");
            jobs.queue.send(&messages).await?;
        }
        for failed in self.unsigned(TaskState::Failed).await? {
            let is_about = failed.digest.as_ref() == Some(subject);
            let Some(Job::Copy(old)) = failed.envelope().ok().map(|envelope| envelope.job).filter(|_| is_about) else {
                continue;
            };
            let successor = CopyTask {
                id: id("t", &["signed", &old.id]),
                execution: Execution {
                    id: id("e", &["signed", &old.execution.id]),
                    ..self.task.execution.clone()
                },
                ..old
            };
            let successor_id = successor.id.clone();
            tracing::info!(%subject, task = failed.id, successor = successor_id, "a task that failed without a referrer is repeated");
            send_then_record(jobs.queue.as_ref(), history, &[successor], None).await?;
            history.redriven(&failed, &successor_id).await?;
        }
        Ok(())
    }

    /// The tasks of this rule and destination repository that are in this state because a referrer is missing.
    async fn unsigned(&self, state: TaskState) -> Result<Vec<TaskEntry>> {
        let destination = &self.task.destination;
        let mut query = TaskQuery::new(By::Destination {
            registry: destination.registry.clone(),
            repository: destination.repository.clone(),
        })
        .in_state(state);
        query.filter.code = Some(Code::ReferrersMissing.as_str().to_owned());
        query.filter.rule = Some(self.task.execution.rule.clone());
        query.filter.is_redriven = Some(false);
        let page = self.jobs.ledger.history.entries(&query, None, WOKEN_TASKS_MAX).await?;
        Ok(page.items)
    }
}
