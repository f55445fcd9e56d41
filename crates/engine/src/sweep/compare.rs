//! What a sweep does about one tag: nothing if source and destination are equal, with everything that is attached to the
//! image, or if the rule would keep what is there.
//!
//! What must hold: a task is made only for what the rule would change, so a sweep of equal registries makes none; and only for
//! what did not fail permanently before, unless the tag or the rule changed since.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::{
    Action, CompareRequest, DigestTags, Extent, KeepReason, NoLocations, Options, Owner, Replicas, TagClaim, compare,
};
use transship_oci::{Digest, Repository, Result, Tag, Target};
use transship_rules::{Destination, Rule};

use super::walk::Walk;
use crate::job::CopyTask;
use crate::ledger::Failure;
use crate::plan::{destination_of, task_of};
use crate::{ImageRef, Replica, ledger};

/// What a comparison of one tag found.
pub(super) enum Compared {
    /// Nothing to do, and nothing to learn.
    Nothing,
    /// Both sides are equal: the replica that a copy would have recorded.
    Equal(Box<Replica>),
    /// The destination keeps an image that we did not write, as far as the ledger knows.
    Unexplained(ImageRef),
    /// The task that copies the tag, or what is attached to its image.
    Missed(Box<CopyTask>),
}

impl Walk<'_> {
    /// Compares both sides of `tag`. `digest_tags`: those of `repository`; [`None`]: each is asked for.
    pub(super) async fn compare(
        &self,
        repository: &Repository,
        tag: &Tag,
        destination: Destination,
        digest_tags: Option<&DigestTags>,
    ) -> Result<Compared> {
        let target = Target::Tag(tag.clone());
        let destination = destination_of(destination, &target);
        let source = ImageRef {
            registry: self.rule.source.registry.clone(),
            repository: repository.clone(),
            target,
        };
        if self.is_under_way(&source, &destination) {
            return Ok(Compared::Nothing);
        }
        let replicas = SweptReplicas {
            written: Arc::clone(&self.jobs.ledger.replicas),
            source: &source,
            destination: &destination,
        };
        let comparison = compare(&CompareRequest {
            source: &self.source.repository(repository.clone()),
            from: source.target.clone(),
            destination: &self.destination.repository(destination.repository.clone()),
            to: destination.target.clone(),
            options: options(self.rule),
            locations: &NoLocations,
            replicas: &replicas,
            digest_tags,
            extent: Extent::FirstDifference,
        })
        .await?;
        let Some(wanted) = comparison.source else {
            return Ok(Compared::Nothing);
        };
        Ok(match comparison.action {
            Action::Copy => {
                let occurrence = format!("sweep {} {}", self.execution.created, wanted.digest);
                let mut task = task_of(self.rule, source, destination, &self.execution, &occurrence);
                task.expected = Some(wanted.digest);
                Compared::Missed(Box::new(task))
            }
            Action::Unchanged => Compared::Equal(Box::new(Replica {
                destination,
                source: Some(source),
                digest: wanted.digest,
                earlier: Vec::new(),
                manifests: comparison.members,
                rule: self.rule.name.clone(),
                written: self.jobs.now(),
                // Not known. So any push that is accepted from now on is later.
                accepted: Timestamp::UNIX_EPOCH,
            })),
            Action::Keep(KeepReason::NotOurs) => Compared::Unexplained(destination),
            Action::Keep(_) | Action::Skip(_) | Action::Absent => Compared::Nothing,
        })
    }

    /// Records the replicas of equal tags that the ledger does not know, so that `existing: follow` replaces them when the
    /// source moves. A tag that a worker is writing, or has written since, stays as it is.
    pub(super) async fn adopt(&mut self, equal: Vec<Replica>) -> Result<()> {
        let replicas = &self.jobs.ledger.replicas;
        let destinations: Vec<ImageRef> = equal.iter().map(|replica| replica.destination.clone()).collect();
        let known = replicas.find(&destinations).await?;
        let mut adopted = Vec::new();
        for mut replica in equal {
            match known.get(&replica.destination) {
                Some(known) if known.is_ours(&replica.digest) => self.recorded += 1,
                Some(known) => {
                    // The record is older than what both sides have, as after a restore of the ledger.
                    replica.accepted = known.accepted;
                    adopted.push(replica);
                }
                None => adopted.push(replica),
            }
        }
        if adopted.is_empty() {
            return Ok(());
        }
        replicas.settle(&adopted, &self.holder(), self.jobs.now()).await?;
        self.adopted += adopted.len();
        Ok(())
    }

    /// The tasks whose copies have not failed permanently before: neither the tag nor the rule changed since.
    pub(super) async fn not_failed(&mut self, missed: Vec<CopyTask>) -> Result<Vec<CopyTask>> {
        let destinations: Vec<&ImageRef> = missed.iter().map(|task| &task.destination).collect();
        let ledger = &self.jobs.ledger;
        let failures = ledger
            .failures
            .find(&self.rule.name, &destinations, self.jobs.now())
            .await?;
        let mut tasks = Vec::new();
        for task in missed {
            let failure = failures.get(&task.destination);
            let has_failed = failure.filter(|failure| self.is_the_same(failure, &task));
            // It may have arrived after all, and been removed since.
            if let Some(failure) = has_failed
                && !ledger.replicas.get(&task.destination).await?.is_some_and(|replica| {
                    task.expected.as_ref() == Some(&replica.digest) && replica.written.as_millisecond() > failure.at_ms
                })
            {
                self.failed += 1;
                continue;
            }
            tasks.push(task);
        }
        Ok(tasks)
    }

    fn is_the_same(&self, failure: &Failure, task: &CopyTask) -> bool {
        task.expected.as_ref() == Some(&failure.digest)
            && failure
                .rule_version
                .as_ref()
                .is_none_or(|version| *version == self.rule_version)
    }
}

fn options(rule: &Rule) -> Options {
    Options {
        existing: rule.existing,
        referrers: rule.referrers,
        kinds: rule.kinds.clone(),
        labels: rule.source.labels.clone(),
        ..Options::default()
    }
}

/// What the ledger says we wrote to the repository of `destination`, and whether it came from `source`.
struct SweptReplicas<'a> {
    written: Arc<dyn ledger::Replicas>,
    source: &'a ImageRef,
    destination: &'a ImageRef,
}

#[async_trait]
impl Replicas for SweptReplicas<'_> {
    async fn owner(&self, tag: &Tag, found: &Digest) -> Result<Owner> {
        let destination = self.destination.with_target(Target::Tag(tag.clone()));
        let replica = self.written.get(&destination).await?;
        let is_own = self.destination.target.tag() == Some(tag);
        let target = if is_own {
            self.source.target.clone()
        } else {
            Target::Tag(tag.clone())
        };
        let source = self.source.with_target(target);
        Ok(owner(replica.as_ref(), &source, found))
    }

    fn knows_sources(&self) -> bool {
        true
    }

    async fn claim(&self, _: &Tag, _: &Digest) -> Result<TagClaim> {
        Ok(TagClaim::Granted)
    }
}

/// The writer of `found`, as seen from `source`. Names can map several images to one tag. There the last push decides, and a
/// sweep does not know which was last.
fn owner(replica: Option<&Replica>, source: &ImageRef, found: &Digest) -> Owner {
    match replica.filter(|replica| replica.is_ours(found)) {
        Some(replica) if replica.source.as_ref() == Some(source) => Owner::Ours,
        Some(_) => Owner::OtherSource,
        None => Owner::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use transship_copy::{Decision, decide};
    use transship_oci::Existing;

    use super::*;

    fn place(text: &str) -> ImageRef {
        ImageRef {
            registry: "a".into(),
            repository: text.parse().unwrap(),
            target: Target::Tag("v1".parse().unwrap()),
        }
    }

    fn replica(digest: &Digest, earlier: &[&Digest]) -> Replica {
        Replica {
            destination: place("copy/app"),
            source: Some(place("core/app")),
            digest: digest.clone(),
            earlier: earlier.iter().copied().cloned().collect(),
            manifests: Vec::new(),
            rule: "core".into(),
            written: Timestamp::UNIX_EPOCH,
            accepted: Timestamp::UNIX_EPOCH,
        }
    }

    /// True if a task would replace `found` by what `source` names.
    fn would_change(existing: Existing, source: &str, found: Option<&Digest>, replica: Option<&Replica>) -> bool {
        let owner = found.map_or(Owner::Unknown, |found| owner(replica, &place(source), found));
        let decision = decide(existing, &Digest::sha256(b"wanted"), found, owner);
        matches!(decision, Decision::Write { .. })
    }

    #[test]
    fn only_what_the_policy_would_change_is_missed() {
        let [ours, before, foreign] = [b"1", b"2", b"3"].map(|bytes| Digest::sha256(bytes));
        let record = replica(&ours, &[&before]);
        let ask = |existing, found: Option<&Digest>| would_change(existing, "core/app", found, Some(&record));
        for existing in [Existing::Follow, Existing::Keep, Existing::Overwrite, Existing::Backup] {
            assert!(ask(existing, None), "{existing:?}: it is not there");
            let replaces = matches!(existing, Existing::Overwrite | Existing::Backup);
            assert_eq!(ask(existing, Some(&foreign)), replaces, "{existing:?}");
            let follows = existing != Existing::Keep;
            assert_eq!(ask(existing, Some(&ours)), follows, "{existing:?}");
            assert_eq!(ask(existing, Some(&before)), follows, "{existing:?}");
        }
        assert!(!would_change(Existing::Follow, "core/app", Some(&ours), None));
    }

    #[test]
    fn two_images_of_one_name_do_not_take_turns() {
        let ours = Digest::sha256(b"1");
        let record = replica(&ours, &[]);
        for existing in [Existing::Follow, Existing::Overwrite, Existing::Backup] {
            assert!(!would_change(existing, "core/other", Some(&ours), Some(&record)));
        }
    }
}
