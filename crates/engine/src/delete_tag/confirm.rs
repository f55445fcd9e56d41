//! What both registries and our record must say before a tag is deleted, and the delete itself.
//!
//! In this order, under the commit lease of the destination tag: our record says that we wrote the tag from this source; the source
//! says that the manifest is unknown, and still lists the repository; the destination names what our record says; the rule has
//! deletes left; the source says the same again. A push that comes in between is found after the delete, and copied.

use std::time::Duration;

use transship_copy::Manifests as _;
use transship_oci::{Code, Digest, Result, Tag, Target};
use transship_registry::{Registry, RemoteRepository, TagDelete, TagPresence};
use transship_rules::DeleteLimit;

use super::{DeleteTag, End, later};
use crate::failover::Writes;
use crate::ledger::Claim;
use crate::retry_policy::{Wait, tries_of};
use crate::{Replica, TaskState};

/// Expiry of the commit lease, see [`crate::copy_image`].
const LEASE_TTL: Duration = Duration::from_secs(30);

/// Both sides of a delete.
struct Sides {
    source: RemoteRepository,
    from: Tag,
    destination: RemoteRepository,
    to: Tag,
}

impl DeleteTag<'_> {
    /// Deletes the tag if all agrees. True: the source has the tag again, and the destination does not.
    pub(super) async fn delete(
        &self,
        source: &Registry,
        destination: &Registry,
        at_most: Option<DeleteLimit>,
    ) -> Result<(End, bool)> {
        let task = self.task;
        let (Target::Tag(from), Target::Tag(to)) = (&task.source.target, &task.destination.target) else {
            return Ok((self.kept("it is not a tag"), false));
        };
        let sides = Sides {
            source: source.repository(task.source.repository.clone()),
            from: from.clone(),
            destination: destination.repository(task.destination.repository.clone()),
            to: to.clone(),
        };
        let replicas = &self.jobs.ledger.replicas;
        let Some(record) = replicas.get(&task.destination).await? else {
            let end = match sides.at_destination().await? {
                None => self.unchanged(),
                Some(_) => self.kept("Transship did not write the destination tag"),
            };
            return Ok((end, false));
        };
        if record.source.as_ref() != Some(&task.source) {
            return Ok((self.kept("the destination tag was copied from another source"), false));
        }
        let holder = self.holder();
        let record = match replicas.claim(&record, &holder, self.jobs.now(), LEASE_TTL).await? {
            Claim::Granted { earlier, .. } => Replica { earlier, ..record },
            Claim::Held { .. } => return Ok((later(Code::CommitBusy, Wait::Growing), false)),
            Claim::Superseded => {
                return Ok((
                    self.kept("a later push of another image has the destination tag"),
                    false,
                ));
            }
        };
        let snapshot = self.jobs.configuration.current();
        let writes = Writes::of_task(
            self.jobs,
            &snapshot,
            &task.execution.rule,
            (Some(&task.source), &task.destination),
            (&holder, self.run.budget),
        );
        let deleted = self.delete_under_lease(&sides, &record, at_most, &writes).await;
        writes.end().await;
        if let Err(error) = replicas.release(&task.destination, &holder).await {
            tracing::warn!(code = error.code(), %error, "a commit lease could not be released and remains until it expires");
        }
        deleted
    }

    async fn delete_under_lease(
        &self,
        sides: &Sides,
        record: &Replica,
        at_most: Option<DeleteLimit>,
        writes: &Writes<'_>,
    ) -> Result<(End, bool)> {
        let (jobs, task) = (self.jobs, self.task);
        match sides.at_source().await? {
            TagPresence::Gone => {}
            TagPresence::Named(found) => return self.source_has(sides, &found).await,
            TagPresence::Unclear(why) => return Ok((End::ForOperator(Code::DeleteUnconfirmed, why), false)),
        }
        if let Some(why) = sides.source.unlisted().await? {
            return Ok((End::ForOperator(Code::DeleteUnconfirmed, why), false));
        }
        let Some(found) = sides.at_destination().await? else {
            self.forget(record).await?;
            return Ok((self.unchanged(), false));
        };
        if !record.is_ours(&found) {
            return Ok((self.kept("another image was pushed to the destination tag"), false));
        }
        if let Some(limit) = at_most
            && !jobs
                .ledger
                .delete_limits
                .admit(&task.execution.rule, &task.id, limit, jobs.now())
                .await?
        {
            let (count, seconds) = (limit.count, limit.per.as_secs());
            let message = format!("the rule has deleted {count} tags within {seconds} seconds, which is its limit");
            return Ok((End::ForOperator(Code::DeleteLimit, message), false));
        }
        jobs.ledger.deleted.add(&task.source, jobs.now()).await?;
        match sides.at_source().await? {
            TagPresence::Gone => {}
            TagPresence::Named(found) => return self.source_has(sides, &found).await,
            TagPresence::Unclear(why) => return Ok((End::ForOperator(Code::DeleteUnconfirmed, why), false)),
        }
        let destination = sides.destination.clone().for_deleting();
        let state = match destination.tag_delete(&sides.to, Some(writes)).await? {
            TagDelete::Deleted => TaskState::Succeeded,
            TagDelete::NotThere => TaskState::Unchanged,
            TagDelete::Unsupported(why) => {
                let outcome = jobs.failed(Code::TagDeleteUnsupported.as_str(), why);
                return Ok((End::Over(outcome), false));
            }
        };
        let returned = matches!(sides.at_source().await?, TagPresence::Named(_));
        self.forget(record).await?;
        let outcome = jobs.outcome(state, Some(found), None, None);
        Ok((End::Over(outcome), returned))
    }

    /// The source has the tag: the event is ahead of the tag, or the tag was pushed again. If an earlier attempt deleted the
    /// destination tag, it is to be copied again.
    async fn source_has(&self, sides: &Sides, found: &Digest) -> Result<(End, bool)> {
        let tries = tries_of(self.attempt, self.run.tries, self.run.budget);
        let is_as_before = self.task.digest.as_ref().is_none_or(|deleted| deleted == found);
        if is_as_before && self.task.execution.is_settling(self.jobs.now(), tries) {
            return Ok((later(Code::NotDeleted, Wait::Growing), false));
        }
        let returned = sides.at_destination().await?.is_none();
        let code = Code::NotDeleted;
        Ok((self.over(TaskState::Skipped, code, code.meaning()), returned))
    }

    /// Forgets that we wrote the destination tag.
    async fn forget(&self, record: &Replica) -> Result<()> {
        let (replicas, holder) = (&self.jobs.ledger.replicas, self.holder());
        for digest in record.earlier.iter().chain([&record.digest]) {
            replicas.withdraw(&self.task.destination, digest, &holder).await?;
        }
        Ok(())
    }

    fn kept(&self, why: &str) -> End {
        self.over(TaskState::Kept, Code::DestinationKept, why)
    }

    fn unchanged(&self) -> End {
        End::Over(self.jobs.outcome(TaskState::Unchanged, None, None, None))
    }
}

impl Sides {
    async fn at_source(&self) -> Result<TagPresence> {
        self.source.tag_presence(&self.from).await
    }

    /// What the destination tag names. HEAD of some registries does not find what is there.
    async fn at_destination(&self) -> Result<Option<Digest>> {
        let target = Target::Tag(self.to.clone());
        let found = match self.destination.manifest_head(&target).await? {
            None => self.destination.manifest_find(&target).await?,
            found => found,
        };
        Ok(found.map(|found| found.digest))
    }
}
