//! A message whose task has already ended. It is usually a duplicate. But ids derive from what a notification says, so two
//! pushes can have the same id: a registry whose times have whole seconds sends A, B, A within one second as A, B and A again.
//!
//! Therefore both sides are compared, and a new task is created only if they differ twice. Its id derives from the ended task
//! and from the difference, so that duplicates of the message create the same task.
//!
//! A message that is one more report of the push of the task has ids of its own ([`CopyTask::own`]): a new task gets these. The
//! report may be of another push than the one that the task was skipped or cancelled for, so it is not dropped with the task.

use transship_copy::{Action, CompareRequest, Comparison, Extent, Manifests, NoLocations, Options, Presence, compare};
use transship_oci::{Digest, DigestTag, Referrers, Result, Target};

use super::CopyImage;
use super::ledger_adapters::LedgerReplicas;
use crate::configuration::Standing;
use crate::failover::Writes;
use crate::job::{CopyTask, Ids, Source};
use crate::plan::id;
use crate::retry_policy::{DELAY_MIN, Wait};
use crate::send::send_then_record;
use crate::{Execution, Next, TaskState};

/// What the two sides name.
#[derive(Default)]
struct Ends {
    source: Option<Digest>,
    destination: Option<Digest>,
    /// A copy would change the destination.
    differ: bool,
}

impl CopyImage<'_> {
    /// Decides about a message whose task ended in `state`. A cancelled task stays cancelled.
    pub(super) async fn after_end(&self, state: TaskState) -> Result<Next> {
        let Self { jobs, task, run, .. } = self;
        // What was cancelled stays so. What was skipped does not belong at the destination: the push of its subject copies it.
        if matches!(state, TaskState::Cancelled | TaskState::Skipped) {
            if task.own.is_some() {
                self.send_successor(&self.successor(&Ends::default())).await?;
            }
            return Ok(Next::Done);
        }
        match self.standing(&jobs.configuration.current()) {
            Standing::Enabled => {}
            Standing::Ended(_) => return Ok(Next::Done),
            Standing::Unclear => {
                return Ok(Next::Again(jobs.retry_policy.delay(
                    run.tries.saturating_add(1),
                    &task.id,
                    Wait::ForDocument,
                )));
            }
        }
        let ends = match self.lasting_ends().await {
            Ok(Some(ends)) => ends,
            Ok(None) => return Ok(Next::Done),
            Err(error) => {
                let tries = run.tries.saturating_add(1);
                let is_exhausted = jobs.retry_policy.is_exhausted(&task.execution, jobs.now(), tries);
                if error.persistence().is_permanent() || is_exhausted {
                    tracing::warn!(code = error.code(), %error, "a message whose task has ended could not be compared and is dropped");
                    return Ok(Next::Done);
                }
                return Ok(Next::Again(jobs.retry_policy.delay(tries, &task.id, Wait::of(&error))));
            }
        };
        // The notification may be ahead of the tag.
        let is_as_expected = task.expected.is_none() || task.expected == ends.source;
        if !is_as_expected && !ends.differ && task.execution.is_recent(jobs.now()) {
            return Ok(Next::Again(jobs.retry_policy.delay(1, &task.id, Wait::Growing)));
        }
        if !ends.differ {
            tracing::debug!(%state, "received a message whose task has already ended; both sides are equal");
            return Ok(Next::Done);
        }
        let successor = self.successor(&ends);
        tracing::info!(
            %state,
            successor = successor.id,
            from = %task.source,
            to = %task.destination,
            source = ends.source.as_ref().map(tracing::field::display),
            destination = ends.destination.as_ref().map(tracing::field::display),
            "received a message whose task has already ended; the sides differ, so a new task was created"
        );
        self.send_successor(&successor).await?;
        Ok(Next::Done)
    }

    async fn send_successor(&self, successor: &CopyTask) -> Result<()> {
        let (queue, history) = (self.jobs.queue.as_ref(), self.jobs.ledger.history.as_ref());
        send_then_record(queue, history, std::slice::from_ref(successor), None).await
    }

    /// What both sides name, looked at a second time if they differ: a registry in which another worker just writes may show a
    /// state that passes.
    async fn lasting_ends(&self) -> Result<Option<Ends>> {
        let ends = self.ends().await?;
        if !ends.as_ref().is_some_and(|ends| ends.differ) {
            return Ok(ends);
        }
        tokio::time::sleep(DELAY_MIN).await;
        self.ends().await
    }

    /// What both sides name; [`None`] if a registry is no longer in the document. Two requests, if nothing differs or the rule
    /// selects every kind.
    async fn ends(&self) -> Result<Option<Ends>> {
        let Self { jobs, task, .. } = self;
        let snapshot = jobs.configuration.current();
        let Ok(destination) = snapshot.registry(&task.destination.registry) else {
            return Ok(None);
        };
        let remote = destination.repository(task.destination.repository.clone());
        let ends = match &task.source {
            Source::Registry(image) => {
                let Ok(source) = snapshot.registry(&image.registry) else {
                    return Ok(None);
                };
                let source = source.repository(image.repository.clone());
                if task.is_attachment {
                    attachment_ends(&source, &image.target, &remote, &task.destination.target).await?
                } else {
                    self.image_ends(&source, &remote).await?
                }
            }
            Source::Stored { .. } => {
                let images = jobs.sources.open(task, self.run.budget).await?;
                self.image_ends(images.as_ref(), &remote).await?
            }
        };
        Ok(Some(ends))
    }

    async fn image_ends(
        &self,
        source: &dyn transship_copy::Source,
        destination: &dyn transship_copy::Destination,
    ) -> Result<Ends> {
        let policy = &self.task.policy;
        let snapshot = self.jobs.configuration.current();
        let ends = (self.task.source.registry(), &self.task.destination);
        let (rule, holder) = (&self.task.execution.rule, self.holder());
        let writes = Writes::of_task(self.jobs, &snapshot, rule, ends, (&holder, self.run.budget));
        let Comparison {
            action,
            source,
            destination,
            ..
        } = compare(&CompareRequest {
            source,
            from: self.task.source.target().clone(),
            destination,
            to: self.task.destination.target.clone(),
            options: Options {
                existing: policy.existing,
                // What is attached arrives with events of its own.
                referrers: Referrers::Exclude,
                kinds: policy.kinds.clone(),
                labels: policy.labels.clone(),
                platforms: policy.platforms.clone(),
                ..Options::default()
            },
            locations: &NoLocations,
            replicas: &LedgerReplicas::new(self.jobs, self.task, holder, &writes),
            digest_tags: None,
            extent: Extent::FirstDifference,
            presence: Presence::Unknown,
        })
        .await?;
        Ok(Ends {
            source: source.map(|source| source.digest),
            destination: destination.map(|destination| destination.digest),
            differ: action == Action::Copy,
        })
    }

    /// The same work as a new task, accepted when this message was.
    fn successor(&self, ends: &Ends) -> CopyTask {
        let ended = self.task;
        let text = |digest: &Option<Digest>| digest.as_ref().map(ToString::to_string).unwrap_or_default();
        let (source, destination) = (text(&ends.source), text(&ends.destination));
        let derived = |prefix, of: &str| id(prefix, &["differs", of, &source, &destination]);
        let ids = ended.own.clone().unwrap_or_else(|| Ids {
            task: derived("t", &ended.id),
            execution: derived("e", &ended.execution.id),
        });
        CopyTask {
            id: ids.task,
            execution: Execution {
                id: ids.execution,
                ..ended.execution.clone()
            },
            expected: ends.source.clone().or_else(|| ended.expected.clone()),
            absent_at: None,
            own: None,
            ..ended.clone()
        }
    }
}

/// The same for an attachment: it is the same on both sides, or it is missing.
async fn attachment_ends(
    source: &dyn Manifests,
    from: &Target,
    destination: &dyn Manifests,
    to: &Target,
) -> Result<Ends> {
    let (source, destination) = tokio::try_join!(source.manifest_head(from), destination.manifest_head(to))?;
    let [source, destination] = [source, destination].map(|found| found.map(|found| found.digest));
    let is_list = from.tag().and_then(DigestTag::of).is_some_and(|tag| tag.is_fallback());
    Ok(Ends {
        // A list of referrers is merged with what the destination has, so its bytes may differ.
        differ: !is_list && source.is_some() && source != destination,
        source,
        destination,
    })
}
