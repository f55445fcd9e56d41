//! What is found out about one tag: whether a copy would change the destination, with everything that is attached to the image.
//!
//! What must hold: a task is made only for what the rule would change, so a walk through equal registries makes none. Both sides
//! are asked, except where the source cannot change the answer ([`Presence`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::{
    Action, CompareRequest, Extent, KeepReason, NoLocations, Options, Owner, Presence, Replicas, Selected, TagClaim,
    compare,
};
use transship_oci::{Digest, Repository, Result, Tag, Target};
use transship_registry::{Listing, Page, Registry};
use transship_rules::Rule;

use super::{Comparer, Known, Misses, Pair};
use crate::failover::is_replicated;
use crate::job::CopyTask;
use crate::jobs::Jobs;
use crate::plan::task_of;
use crate::{Execution, ImageRef, Replica, ledger};

/// How long the list of a destination's tags is waited for, which only saves requests.
const EMPTY_LOOK_MAX: Duration = Duration::from_secs(3);

/// What a comparison of one tag found.
pub(crate) enum Compared {
    /// The source does not have the tag any more.
    Absent,
    /// The rule does not copy an image of this kind, or without these labels.
    Skipped,
    /// The destination keeps what it has, and the ledger knows why; what the source names.
    Kept(Pair, Digest),
    /// Both sides are equal: the replica that a copy would have recorded.
    Equal(Box<Replica>),
    /// The destination keeps an image that we did not write, as far as the ledger knows; what the source names.
    Unexplained(Pair, Digest),
    /// The task that copies the tag.
    Missed(Box<CopyTask>),
    /// The task that copies what is attached to the image of the tag, which is equal on both sides, and the replica of the image.
    Attached(Box<CopyTask>, Box<Replica>),
}

/// The two sides of a rule, and the execution of what is found missing.
pub(crate) struct Ends<'a> {
    pub(crate) jobs: &'a Jobs,
    pub(crate) rule: &'a Rule,
    pub(crate) source: Registry,
    pub(crate) destination: Registry,
    /// The execution of all tasks of this walk.
    pub(crate) execution: Execution,
    /// Distinguishes the tasks of this walk from all others of the same images.
    pub(crate) occurrence: String,
    /// What is expected of the destination; [`None`]: what the source names is always asked for.
    pub(crate) misses: Option<Misses>,
    /// What is attached to an equal image that the ledger knows is found another way: see [`Replicas::is_attended`].
    pub(crate) is_attended: bool,
}

/// Equal tags, by whether the ledger knew them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Adoption {
    /// It did.
    pub(crate) recorded: usize,
    /// It did not, and does now.
    pub(crate) adopted: usize,
}

impl Comparer for Ends<'_> {
    type Found = Compared;
    type Listed = ();

    fn list(&self, _: &Repository, _: &Page<Tag>) {}

    async fn is_destination_empty(&self, repository: &Repository) -> bool {
        if !self.misses.as_ref().is_some_and(Misses::are_likely) {
            return false;
        }
        let Some(to) = self.rule.untagged_destination(repository) else {
            return false;
        };
        let destination = self.destination.repository(to.repository);
        let listed = tokio::time::timeout(EMPTY_LOOK_MAX, destination.tags_page(None)).await;
        // Without an answer each tag is asked for.
        matches!(listed, Ok(Ok(Listing::Page(page))) if page.is_empty())
    }

    async fn compare(&self, pair: Pair, known: Known<'_>) -> Result<Compared> {
        let Pair { source, destination } = &pair;
        let misses = self.misses.as_ref();
        let presence = misses.map_or(Presence::Unknown, |misses| misses.presence(known.is_destination_empty));
        let replicas = WalkedReplicas {
            written: Arc::clone(&self.jobs.ledger.replicas),
            source,
            destination,
            is_attended: self.is_attended,
            is_in_group: self.is_in_group(),
        };
        let comparison = compare(&CompareRequest {
            source: &self.source.repository(source.repository.clone()),
            from: source.target.clone(),
            destination: &self.destination.repository(destination.repository.clone()),
            to: destination.target.clone(),
            options: options(self.rule),
            locations: &NoLocations,
            replicas: &replicas,
            digest_tags: known.digest_tags,
            extent: Extent::FirstDifference,
            presence,
        })
        .await?;
        let is_absent = comparison.destination.is_none();
        if let Some(misses) = misses {
            misses.note(is_absent);
        }
        match comparison.action {
            Action::Skip(_) => return Ok(Compared::Skipped),
            Action::Copy if is_absent => {
                let found = comparison.source.map(|source| source.digest);
                return Ok(Compared::Missed(Box::new(self.task_of_absent(pair, found))));
            }
            _ => {}
        }
        let (Some(found), Some(wanted)) = (comparison.source, comparison.wanted) else {
            return Ok(Compared::Absent);
        };
        let selected = comparison.selection.map(|selection| selection.selected);
        let is_root_equal = comparison
            .destination
            .is_some_and(|there| there.digest == wanted.digest);
        Ok(match comparison.action {
            Action::Copy => {
                let members = vec![wanted.digest.clone()];
                let replica = is_root_equal.then(|| self.replica(&pair, &wanted.digest, members, selected));
                let mut task = self.task(pair, &found.digest.to_string());
                task.expected = Some(found.digest);
                match replica {
                    Some(replica) => Compared::Attached(Box::new(task), Box::new(replica)),
                    None => Compared::Missed(Box::new(task)),
                }
            }
            Action::Unchanged => Compared::Equal(Box::new(self.replica(
                &pair,
                &wanted.digest,
                comparison.members,
                selected,
            ))),
            Action::Keep(KeepReason::NotOurs) => Compared::Unexplained(pair, found.digest),
            Action::Keep(_) => Compared::Kept(pair, found.digest),
            Action::Skip(_) => Compared::Skipped,
            Action::Absent => Compared::Absent,
        })
    }
}

impl Ends<'_> {
    /// True if both registries are sites of a failover group.
    fn is_in_group(&self) -> bool {
        let snapshot = self.jobs.configuration.current();
        let (from, to) = (&self.rule.source.registry, &self.rule.destination.registry);
        snapshot.document.failover_between(from, to).is_some()
    }

    /// The task that copies a tag. `found` is what this walk found there.
    fn task(&self, pair: Pair, found: &str) -> CopyTask {
        let occurrence = format!("{} {found}", self.occurrence);
        task_of(self.rule, pair.source, pair.destination, &self.execution, &occurrence)
    }

    /// The task that copies a tag which the destination does not have. `named`: what the source names, if it was asked.
    fn task_of_absent(&self, pair: Pair, named: Option<Digest>) -> CopyTask {
        // A walk that does not always ask the source makes the same task in both cases.
        let found = named.as_ref().filter(|_| self.misses.is_none());
        let mut task = match found {
            Some(digest) => self.task(pair, &digest.to_string()),
            None => self.task(pair, "absent"),
        };
        task.expected = named;
        task.absent_at = Some(self.jobs.now());
        task
    }

    /// The replica of a tag that is equal on both sides.
    fn replica(&self, pair: &Pair, digest: &Digest, manifests: Vec<Digest>, selected: Option<Selected>) -> Replica {
        Replica {
            destination: pair.destination.clone(),
            source: Some(pair.source.clone()),
            digest: digest.clone(),
            earlier: Vec::new(),
            manifests,
            selected,
            rule: self.rule.name.clone(),
            written: self.jobs.now(),
            // Not known. So any push that is accepted from now on is later.
            accepted: Timestamp::UNIX_EPOCH,
        }
    }

    /// True if a copy with `options` would not let the image of the pair pass. It costs the requests of a comparison.
    pub(crate) async fn skips(&self, pair: &Pair, options: Options) -> Result<bool> {
        let Pair { source, destination } = pair;
        let replicas = WalkedReplicas {
            written: Arc::clone(&self.jobs.ledger.replicas),
            source,
            destination,
            is_attended: false,
            is_in_group: self.is_in_group(),
        };
        let comparison = compare(&CompareRequest {
            source: &self.source.repository(source.repository.clone()),
            from: source.target.clone(),
            destination: &self.destination.repository(destination.repository.clone()),
            to: destination.target.clone(),
            options,
            locations: &NoLocations,
            replicas: &replicas,
            digest_tags: None,
            extent: Extent::FirstDifference,
            presence: Presence::Unknown,
        })
        .await?;
        Ok(matches!(comparison.action, Action::Skip(_)))
    }

    /// Records the replicas of equal tags that the ledger does not know, so that `existing: follow` replaces them when the
    /// source moves. A tag that a worker is writing, or has written since, stays as it is.
    pub(crate) async fn adopt(&self, equal: Vec<Replica>) -> Result<Adoption> {
        let replicas = &self.jobs.ledger.replicas;
        let destinations: Vec<ImageRef> = equal.iter().map(|replica| replica.destination.clone()).collect();
        let known = replicas.find(&destinations).await?;
        let mut adoption = Adoption::default();
        let mut adopted = Vec::new();
        for mut replica in equal {
            match known.get(&replica.destination) {
                Some(known) if known.is_ours(&replica.digest) && known.selected == replica.selected => {
                    adoption.recorded += 1;
                }
                Some(known) => {
                    // The record is older than what both sides have, as after a restore of the ledger.
                    replica.accepted = known.accepted;
                    adopted.push(replica);
                }
                None => adopted.push(replica),
            }
        }
        if adopted.is_empty() {
            return Ok(adoption);
        }
        // The holder of leases, of which a walk takes none.
        let holder = format!("{} {}", self.jobs.worker, self.execution.id);
        replicas.settle(&adopted, &holder, self.jobs.now()).await?;
        adoption.adopted = adopted.len();
        Ok(adoption)
    }
}

/// How a copy of the rule treats an image.
pub(crate) fn options(rule: &Rule) -> Options {
    Options {
        existing: rule.existing,
        referrers: rule.referrers,
        kinds: rule.kinds.clone(),
        labels: rule.source.labels.clone(),
        platforms: rule.platforms.clone(),
        ..Options::default()
    }
}

/// What the ledger says we wrote to the repository of `destination`, and whether it came from `source`.
pub(crate) struct WalkedReplicas<'a> {
    pub(crate) written: Arc<dyn ledger::Replicas>,
    pub(crate) source: &'a ImageRef,
    pub(crate) destination: &'a ImageRef,
    /// See [`Ends::is_attended`].
    pub(crate) is_attended: bool,
    /// Both registries are sites of a failover group, so an image may have been copied in the other direction before.
    pub(crate) is_in_group: bool,
}

impl WalkedReplicas<'_> {
    /// The image that is copied to `tag` of the destination.
    fn source_of(&self, tag: &Tag) -> ImageRef {
        let is_own = self.destination.target.tag() == Some(tag);
        let target = if is_own {
            self.source.target.clone()
        } else {
            Target::Tag(tag.clone())
        };
        self.source.with_target(target)
    }
}

#[async_trait]
impl Replicas for WalkedReplicas<'_> {
    async fn owner(&self, tag: &Tag, found: &Digest) -> Result<Owner> {
        let destination = self.destination.with_target(Target::Tag(tag.clone()));
        let replica = self.written.get(&destination).await?;
        let source = self.source_of(tag);
        let owner = owner(replica.as_ref(), &source, found);
        if owner == Owner::Unknown && self.is_in_group {
            let reverse = self.written.get(&source).await?;
            if is_replicated(replica.as_ref(), reverse.as_ref(), &destination, found) {
                return Ok(Owner::Ours);
            }
        }
        Ok(owner)
    }

    fn knows_sources(&self) -> bool {
        true
    }

    async fn selected(&self, tag: &Tag) -> Result<Option<Selected>> {
        let destination = self.destination.with_target(Target::Tag(tag.clone()));
        let replica = self.written.get(&destination).await?;
        Ok(replica.and_then(|replica| replica.selected))
    }

    async fn is_attended(&self, tag: &Tag, found: &Digest) -> Result<bool> {
        if !self.is_attended {
            return Ok(false);
        }
        // What was copied in the other direction was not compared in this one.
        let replica = self
            .written
            .get(&self.destination.with_target(Target::Tag(tag.clone())))
            .await?;
        Ok(owner(replica.as_ref(), &self.source_of(tag), found) == Owner::Ours)
    }

    async fn claim(&self, _: &Tag, _: &Digest) -> Result<TagClaim> {
        Ok(TagClaim::Granted)
    }
}

/// The writer of `found`, as seen from `source`. Names can map several images to one tag. There the last push decides, and a
/// walk does not know which was last.
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
            selected: None,
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
