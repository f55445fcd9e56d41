//! The delete of a manifest: the tags that our records derive from it become one task each.
//!
//! Registries that delete by digest name no tag (docker-registry, Quay), and the delete of a child of an index names nothing that we
//! have a tag of. Therefore nothing is recorded until a tag is found, and each tag is confirmed by itself.

use transship_oci::Target;
use transship_rules::{Deletes, Pushed, Verdict};

use super::DeleteTag;
use crate::configuration::Standing;
use crate::job::DeleteTask;
use crate::plan::{destination_of, id};
use crate::retry_policy::Wait;
use crate::send::send_then_record_entries;
use crate::{ImageRef, Next, Outgoing, Result};

impl DeleteTag<'_> {
    /// Sends a delete for each tag.
    pub(super) async fn derive(&self) -> Result<Next> {
        let Self { jobs, task, run, .. } = self;
        let snapshot = jobs.configuration.current();
        let standing = snapshot.standing_of_rule(&task.execution);
        if snapshot.is_fallback() || standing == Standing::Unclear {
            let tries = run.tries.saturating_add(1);
            return Ok(Next::Again(jobs.retry_policy.delay(tries, &task.id, Wait::ForDocument)));
        }
        let rule = snapshot.document.rule(&task.execution.rule);
        let Some(rule) = rule.filter(|rule| rule.is_on_event() && rule.deletes != Deletes::Ignore) else {
            return Ok(Next::Done);
        };
        let Target::Digest(digest) = &task.source.target else {
            return Ok(Next::Done);
        };
        let ends = |image: &ImageRef| (image.registry.clone(), image.repository.clone());
        let ((to, copies), (from, originals)) = (ends(&task.destination), ends(&task.source));
        let replicas = &jobs.ledger.replicas;
        let found = replicas.made_of((&to, &copies), (&from, &originals), digest).await?;
        let is_of_rule = |source: &ImageRef, destination: &ImageRef| {
            let pushed = Pushed {
                repository: &source.repository,
                tag: source.target.tag(),
                kind: None,
            };
            pushed.tag.is_some()
                && match rule.evaluate(&source.registry, &pushed) {
                    Verdict::Matches(to) | Verdict::Follows(to) => destination_of(to, &source.target) == *destination,
                    Verdict::No(_) => false,
                }
        };
        let deletes: Vec<DeleteTask> = found
            .into_iter()
            .filter_map(|replica| Some((replica.source?, replica.destination)))
            .filter(|(source, destination)| is_of_rule(source, destination))
            .map(|(source, destination)| DeleteTask {
                id: id("t", &[&task.id, &source.to_string(), &destination.to_string()]),
                execution: task.execution.clone(),
                digest: Some(digest.clone()),
                source,
                destination,
            })
            .collect();
        tracing::debug!(
            source = self.entry.source,
            tags = deletes.len(),
            "a manifest was deleted"
        );
        let messages: Vec<Outgoing> = deletes.iter().cloned().map(Outgoing::now).collect();
        let entries = deletes.iter().map(DeleteTask::entry).collect();
        let (queue, history) = (jobs.queue.as_ref(), jobs.ledger.history.as_ref());
        send_then_record_entries(queue, history, &messages, entries, None).await?;
        Ok(Next::Done)
    }
}
