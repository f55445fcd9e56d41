//! What a run does about the tags of its rule: everything that a copy would change becomes a task, whether or not a copy of it
//! failed before.

use transship_oci::{Code, Error, Repository, Result, Tag, Verb};

use super::WalkLease;
use crate::Outgoing;
use crate::TaskEntry;
use crate::job::{Cursor, RunRule};
use crate::ledger::{RunBeginning, RunWalk, UNREAD_NAMED_MAX, Unread};
use crate::walk::{Compared, Ends, Narrow, Visitor};

/// Moves of the cursor between two times that it is saved.
const MOVES_UNSAVED_MAX: usize = 8;

/// The visitor of a run.
pub(super) struct RunVisitor<'a> {
    pub(super) ends: &'a Ends<'a>,
    pub(super) job: &'a RunRule,
    pub(super) lease: &'a WalkLease,
    /// What was found, and how far the walk got.
    pub(super) walked: RunWalk,
    /// What this message came to first.
    pub(super) beginning: RunBeginning,
    /// What could not be read and is not recorded yet: the walk of it, the code and the message.
    pub(super) unread: Vec<(RunRule, String, String)>,
    /// Moves since the last time that the cursor was saved.
    pub(super) moves: usize,
}

impl Visitor for RunVisitor<'_> {
    type Found = Compared;
    type Listed = ();

    fn begin_repository(&mut self, repository: &Repository) {
        self.walked.progress.repositories += 1;
        self.beginning.add(repository);
    }

    async fn act(&mut self, found: Vec<Compared>) -> Result<()> {
        let (mut equal, mut tasks) = (Vec::new(), Vec::new());
        self.beginning.tags += found.len();
        let mut progress = self.walked.progress.clone();
        for compared in found {
            progress.tags += 1;
            match compared {
                Compared::Equal(replica) => {
                    progress.equal += 1;
                    equal.push(*replica);
                }
                Compared::Missed(mut task) | Compared::Attached(mut task, _) => {
                    progress.enqueued += 1;
                    task.policy.is_by_hand = self.walked.is_disabled;
                    tasks.push(*task);
                }
                Compared::Kept(..) | Compared::Unexplained(..) => progress.kept += 1,
                Compared::Absent | Compared::Skipped => progress.skipped += 1,
            }
        }
        self.ends.adopt(equal).await?;
        if !tasks.is_empty() {
            let jobs = self.ends.jobs;
            // Before they are sent: the execution must not end while a copy is only a message.
            let entries: Vec<TaskEntry> = tasks.iter().map(crate::CopyTask::entry).collect();
            jobs.ledger.history.record(&entries).await?;
            let messages: Vec<Outgoing> = tasks.into_iter().map(Outgoing::now).collect();
            jobs.queue.send(&messages).await?;
        }
        self.walked.progress = progress;
        Ok(())
    }

    fn pass_over(&mut self, repository: Option<&Repository>, tag: Option<&Tag>, error: &Error) {
        self.add_unread(repository, tag, error);
    }

    async fn moved(&mut self, cursor: &Cursor) -> Result<()> {
        self.walked.cursor = cursor.clone();
        self.moves += 1;
        if self.moves < MOVES_UNSAVED_MAX && self.unread.is_empty() {
            return Ok(());
        }
        let (jobs, execution) = (self.ends.jobs, &self.job.execution.id);
        self.lease.take(jobs).await?;
        self.save().await?;
        if jobs.is_cancelled(execution).await? {
            return Err(Error::of(Code::ExecutionCancelled, Verb::Run.on(execution)));
        }
        Ok(())
    }
}

impl RunVisitor<'_> {
    /// Notes something that could not be read: a tag, a repository, or the list of repositories.
    pub(super) fn add_unread(&mut self, repository: Option<&Repository>, tag: Option<&Tag>, error: &Error) {
        let narrow = Narrow {
            repository: repository.or(self.job.narrow.repository.as_ref()).cloned(),
            tag: tag.or(self.job.narrow.tag.as_ref()).cloned(),
        };
        let part = self.job.part(narrow);
        let unread = Unread {
            name: part.entry().source,
            code: error.code().to_owned(),
        };
        let progress = &mut self.walked.progress;
        if progress.unread.contains(&unread) {
            return;
        }
        progress.unreadable += 1;
        if progress.unread.len() < UNREAD_NAMED_MAX {
            progress.unread.push(unread);
        }
        self.unread.push((part, error.code().to_owned(), error.to_string()));
    }

    /// Records what could not be read, each as a task that failed, then how far the walk got.
    pub(super) async fn save(&mut self) -> Result<()> {
        let jobs = self.ends.jobs;
        while let Some((part, code, message)) = self.unread.last() {
            jobs.fail(&part.entry(), code, message.clone()).await?;
            self.unread.pop();
        }
        self.moves = 0;
        let (execution, runs) = (&self.job.execution.id, &jobs.ledger.runs);
        runs.save(execution, &self.job.id, &self.walked, jobs.now()).await
    }
}
