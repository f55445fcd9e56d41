//! What a sweep does about the tags of a rule: what was missed becomes tasks.
//!
//! What must hold: a task is made only for what did not exist before the rule and did not fail permanently before, unless the tag
//! or the rule changed since, and not for what a task that has not ended copies anyway.

use std::collections::{HashMap, HashSet};

use transship_oci::{Digest, Error, Repository, Result, Tag};
use transship_registry::Page;

use super::baseline::{Baseline, Decision, Difference};
use crate::job::{CopyTask, Source};
use crate::ledger::Failure;
use crate::send::send_then_record;
use crate::walk::{Compared, Comparer, Ends, Known, Pair, Visitor};
use crate::{ImageRef, Replica};

/// Kept tags that one message logs by name.
const KEPT_LOGGED_MAX: usize = 20;

/// What a sweep finds out about a tag.
pub(super) struct SweepComparer<'a> {
    pub(super) ends: &'a Ends<'a>,
    /// The ends of tasks of the rule that have not ended.
    pub(super) under_way: HashSet<(ImageRef, ImageRef)>,
}

/// The visitor of a sweep.
pub(super) struct SweepVisitor<'a> {
    pub(super) ends: &'a Ends<'a>,
    /// See [`crate::Snapshot::fingerprint`].
    pub(super) rule_version: String,
    pub(super) baseline: Baseline<'a>,
    pub(super) counts: SweepCounts,
}

/// A tag that a copy would change.
struct Missed {
    task: CopyTask,
    /// The image itself is equal on both sides, and what is attached to it is not.
    equal: Option<Replica>,
}

/// What a sweep counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SweepCounts {
    /// Tasks.
    pub(super) made: usize,
    /// Equal tags that the ledger knew.
    pub(super) recorded: usize,
    /// Equal tags that it did not know, and knows now.
    pub(super) adopted: usize,
    /// Tags that are kept though we did not write what they name, as far as the ledger knows.
    pub(super) unexplained: usize,
    /// Tags that are missing because their copies failed permanently.
    pub(super) failed: usize,
    /// Tasks that are about a push.
    pub(super) pushes: u64,
    /// True if something could not be read.
    pub(super) is_partial: bool,
}

impl Comparer for SweepComparer<'_> {
    /// [`None`]: a task of this rule that has not ended will look there anyway.
    type Found = Option<Compared>;
    type Listed = ();

    fn list(&self, _: &Repository, _: &Page<Tag>) {}

    async fn compare(&self, pair: Pair, known: Known<'_>) -> Result<Self::Found> {
        let ends = (pair.source, pair.destination);
        if self.under_way.contains(&ends) {
            return Ok(None);
        }
        let (source, destination) = ends;
        let pair = Pair { source, destination };
        self.ends.compare(pair, known).await.map(Some)
    }
}

impl Visitor for SweepVisitor<'_> {
    type Found = Option<Compared>;
    type Listed = ();

    async fn act(&mut self, found: Vec<Self::Found>) -> Result<()> {
        let (mut equal, mut kept, mut missed) = (Vec::new(), Vec::new(), Vec::new());
        for compared in found.into_iter().flatten() {
            match compared {
                Compared::Equal(replica) => equal.push(*replica),
                Compared::Kept(pair, digest) => kept.push(difference(pair, digest)),
                Compared::Unexplained(pair, digest) => {
                    self.keep(&pair);
                    kept.push(difference(pair, digest));
                }
                Compared::Missed(task) => missed.push(Missed {
                    task: *task,
                    equal: None,
                }),
                Compared::Attached(task, replica) => missed.push(Missed {
                    task: *task,
                    equal: Some(*replica),
                }),
                Compared::Absent | Compared::Skipped => {}
            }
        }
        // They are not copied anyway, and are part of the baseline if the rule replaces them one day.
        self.baseline.record(self.ends, &kept).await?;
        let (tasks, unchanged) = self.divide(missed).await?;
        equal.extend(unchanged);
        let adoption = self.ends.adopt(equal).await?;
        self.counts.recorded += adoption.recorded;
        self.counts.adopted += adoption.adopted;
        let jobs = self.ends.jobs;
        send_then_record(jobs.queue.as_ref(), jobs.ledger.history.as_ref(), &tasks, None).await?;
        self.counts.made += tasks.len();
        self.counts.pushes += self.pushes_among(&tasks).await?;
        Ok(())
    }

    fn begin_repository(&mut self, repository: &Repository) {
        self.baseline.begin_repository(repository);
    }

    fn pass_over(&mut self, repository: Option<&Repository>, tag: Option<&Tag>, error: &Error) {
        self.counts.is_partial = true;
        let passed = (repository, tag);
        let (repository, tag) = (repository.map(Repository::as_str), tag.map(Tag::as_str));
        tracing::warn!(code = error.code(), %error, repository, tag, "a repository or tag cannot be swept and is skipped");
        self.baseline.pass_over(passed.0, passed.1);
    }
}

impl SweepVisitor<'_> {
    /// Counts a tag that keeps what we did not write, and logs the first of them.
    fn keep(&mut self, pair: &Pair) {
        self.counts.unexplained += 1;
        if self.counts.unexplained <= KEPT_LOGGED_MAX {
            tracing::warn!(
                code = "DESTINATION_KEPT",
                source = %pair.source,
                destination = %pair.destination,
                "the destination tag differs and is kept: the ledger does not say that Transship wrote it"
            );
        }
    }

    /// The tasks that are wanted, and the images that are equal but for what is attached, which existed before the rule.
    async fn divide(&mut self, missed: Vec<Missed>) -> Result<(Vec<CopyTask>, Vec<Replica>)> {
        let failures = self.failures(&missed).await?;
        let (mut tasks, mut open, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
        for missed in missed {
            match failures.get(&missed.task.destination) {
                Some(failure) if self.has_failed(failure, &missed.task).await? => self.counts.failed += 1,
                // A push or a sweep has tried it since the rule exists, so it is not part of the baseline.
                Some(failure) if self.is_tried(failure, &missed.task) => tasks.push(missed.task),
                _ => open.push(missed),
            }
        }
        let differences: Vec<Difference> = open.iter().filter_map(|missed| difference_of(&missed.task)).collect();
        if differences.len() < open.len() {
            tasks.extend(open.into_iter().map(|missed| missed.task));
            return Ok((tasks, unchanged));
        }
        let decisions = self.baseline.decide(self.ends, &differences).await?;
        for (missed, decision) in open.into_iter().zip(decisions) {
            match decision {
                Decision::Copy => tasks.push(missed.task),
                // Its image is equal, so what is attached from now on belongs to it.
                Decision::Leave | Decision::Record => unchanged.extend(missed.equal),
                Decision::Report => {}
            }
        }
        Ok((tasks, unchanged))
    }

    async fn failures(&self, missed: &[Missed]) -> Result<HashMap<ImageRef, Failure>> {
        let jobs = self.ends.jobs;
        let destinations: Vec<&ImageRef> = missed.iter().map(|missed| &missed.task.destination).collect();
        let failures = &jobs.ledger.failures;
        failures.find(&self.ends.rule.name, &destinations, jobs.now()).await
    }

    /// True if the copy has failed permanently before, and neither the tag nor the rule changed since.
    async fn has_failed(&self, failure: &Failure, task: &CopyTask) -> Result<bool> {
        if !self.is_the_same(failure, task) {
            return Ok(false);
        }
        // It may have arrived after all, and been removed since.
        let replica = self.ends.jobs.ledger.replicas.get(&task.destination).await?;
        let has_arrived = replica.is_some_and(|replica| {
            task.expected.as_ref() == Some(replica.source_digest()) && replica.written.as_millisecond() > failure.at_ms
        });
        Ok(!has_arrived)
    }

    /// True if the image was tried since the rule was first seen.
    fn is_tried(&self, failure: &Failure, task: &CopyTask) -> bool {
        let since = self.baseline.since();
        task.expected.as_ref() == Some(&failure.digest)
            && since.is_some_and(|since| failure.at_ms >= since.as_millisecond())
    }

    fn is_the_same(&self, failure: &Failure, task: &CopyTask) -> bool {
        task.expected.as_ref() == Some(&failure.digest)
            && failure
                .rule_version
                .as_ref()
                .is_none_or(|version| *version == self.rule_version)
    }
}

fn difference(pair: Pair, digest: Digest) -> Difference {
    Difference {
        source: pair.source,
        destination: pair.destination,
        digest,
    }
}

fn difference_of(task: &CopyTask) -> Option<Difference> {
    let Source::Registry(source) = &task.source else {
        return None;
    };
    Some(Difference {
        source: source.clone(),
        destination: task.destination.clone(),
        digest: task.expected.clone()?,
    })
}
