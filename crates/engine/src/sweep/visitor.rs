//! What a sweep does about the tags of a rule: what was missed becomes tasks.
//!
//! What must hold: a task is made only for what did not fail permanently before, unless the tag or the rule changed since, and
//! not for what a task that has not ended copies anyway.

use std::collections::HashSet;

use transship_copy::DigestTags;
use transship_oci::{Error, Repository, Result, Tag};

use crate::ImageRef;
use crate::job::CopyTask;
use crate::ledger::Failure;
use crate::send::send_then_record;
use crate::walk::{Compared, Ends, Pair, Visitor};

/// Kept tags that one message logs by name.
const KEPT_LOGGED_MAX: usize = 20;

/// The visitor of a sweep.
pub(super) struct SweepVisitor<'a> {
    pub(super) ends: Ends<'a>,
    pub(super) under_way: HashSet<(ImageRef, ImageRef)>,
    /// See [`crate::Snapshot::fingerprint`].
    pub(super) rule_version: String,
    pub(super) counts: SweepCounts,
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

impl Visitor for SweepVisitor<'_> {
    /// [`None`]: a task of this rule that has not ended will look there anyway.
    type Found = Option<Compared>;

    async fn compare(&self, pair: Pair, digest_tags: Option<&DigestTags>) -> Result<Self::Found> {
        let ends = (pair.source, pair.destination);
        if self.under_way.contains(&ends) {
            return Ok(None);
        }
        let (source, destination) = ends;
        let pair = Pair { source, destination };
        self.ends.compare(pair, digest_tags).await.map(Some)
    }

    async fn act(&mut self, found: Vec<Self::Found>) -> Result<()> {
        let (mut equal, mut missed) = (Vec::new(), Vec::new());
        for compared in found.into_iter().flatten() {
            match compared {
                Compared::Equal(replica) => equal.push(*replica),
                Compared::Unexplained(pair) => self.keep(&pair),
                Compared::Missed(task) => missed.push(*task),
                Compared::Absent | Compared::Skipped | Compared::Kept => {}
            }
        }
        let adoption = self.ends.adopt(equal).await?;
        self.counts.recorded += adoption.recorded;
        self.counts.adopted += adoption.adopted;
        let tasks = self.not_failed(missed).await?;
        let jobs = self.ends.jobs;
        send_then_record(jobs.queue.as_ref(), jobs.ledger.history.as_ref(), &tasks, None).await?;
        self.counts.made += tasks.len();
        self.counts.pushes += self.pushes_among(&tasks).await?;
        Ok(())
    }

    fn pass_over(&mut self, repository: Option<&Repository>, tag: Option<&Tag>, error: &Error) {
        self.counts.is_partial = true;
        let (repository, tag) = (repository.map(Repository::as_str), tag.map(Tag::as_str));
        tracing::warn!(code = error.code(), %error, repository, tag, "a repository or tag cannot be swept and is skipped");
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

    /// The tasks whose copies have not failed permanently before: neither the tag nor the rule changed since.
    async fn not_failed(&mut self, missed: Vec<CopyTask>) -> Result<Vec<CopyTask>> {
        let destinations: Vec<&ImageRef> = missed.iter().map(|task| &task.destination).collect();
        let ledger = &self.ends.jobs.ledger;
        let failures = ledger
            .failures
            .find(&self.ends.rule.name, &destinations, self.ends.jobs.now())
            .await?;
        let mut tasks = Vec::new();
        for task in missed {
            let failure = failures.get(&task.destination);
            let has_failed = failure.filter(|failure| self.is_the_same(failure, &task));
            // It may have arrived after all, and been removed since.
            if let Some(failure) = has_failed
                && !ledger.replicas.get(&task.destination).await?.is_some_and(|replica| {
                    task.expected.as_ref() == Some(replica.source_digest())
                        && replica.written.as_millisecond() > failure.at_ms
                })
            {
                self.counts.failed += 1;
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
