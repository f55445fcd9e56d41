//! The sweep of one rule: the repositories of its source, their tags, and what of them is missing at the destination.
//!
//! What must hold: a message looks at a bounded number of tags within its slot and sends the rest on with its cursor; the
//! cursor moves only past tags whose tasks are in the queue. One repository that cannot be read is passed over. One sweep of
//! a rule runs at a time, and it makes no more tasks than workers do: it waits for its own backlog.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use metrics::counter;
use transship_copy::DigestTags;
use transship_oci::{Backoff, Code, DigestTag, Error, Persistence, Repository, Result, Tag};
use transship_registry::{Catalog, Registry};
use transship_rules::{Destination, Pushed, Rule, Verdict};

use super::compare::Compared;
use crate::job::{Cursor, Run, Source, Sweep, SweepStep};
use crate::jobs::Jobs;
use crate::ledger::{self, By, TaskQuery};
use crate::plan::id;
use crate::retry_policy::Wait;
use crate::send::send_then_record;
use crate::{Execution, ImageRef, Job, Next, Outgoing, TaskEntry, Trigger};

/// Tags and repositories that one message looks at.
const STEP_TAGS_MAX: usize = 1000;
/// Tags between two moves of the cursor.
const STRIDE_TAGS: usize = 32;
/// Tags that are compared at the same time.
const PARALLEL_TAGS: usize = 4;
/// Pages of tags of one repository: 200 000 tags where a registry gives 1000 at once.
const TAG_PAGES_MAX: usize = 200;
/// Pages of a catalog. Some registries have been seen to page without end.
const CATALOG_PAGES_MAX: u32 = 10_000;
/// Kept tags that one message logs by name.
const KEPT_LOGGED_MAX: usize = 20;
/// Unfinished tasks of a rule beyond which its sweep waits.
const BACKLOG_TASKS_MAX: usize = 1000;
/// For how long.
const BACKLOG_WAIT: Duration = Duration::from_mins(5);
/// A sweep that stops without a word leaves its rule to the next one after so long: twice the longest wait.
const LEASE_TTL: Duration = Duration::from_mins(30);
/// The longest wait between two messages: what every queue can hold a message back.
const WAIT_MAX: Duration = Duration::from_mins(15);
/// The waits for an error to pass.
const ERROR_BACKOFF: Backoff = Backoff::doubling(Duration::from_secs(30), WAIT_MAX);
/// How often the sweep waits at one place for errors to pass. Then it goes on past it.
const STUCK_STEPS_MAX: u32 = 5;
/// Maximum age of a sweep. An older one ends, and the next one starts from the beginning.
const RUN_AGE_MAX: Duration = Duration::from_hours(24);

/// The sweep of one rule, within one message.
pub(crate) struct SweepRule<'a> {
    jobs: &'a Jobs,
    name: &'a str,
    started: Timestamp,
    run: &'a Run,
}

/// One message's walk through the tags of a rule.
pub(crate) struct Walk<'a> {
    pub(crate) jobs: &'a Jobs,
    pub(crate) rule: &'a Rule,
    pub(crate) source: Registry,
    pub(crate) destination: Registry,
    /// The execution of all tasks of this sweep of this rule.
    pub(crate) execution: Execution,
    under_way: HashSet<(ImageRef, ImageRef)>,
    cursor: Cursor,
    /// How often the sweep could not go on from the cursor.
    stuck: u32,
    looks_left: usize,
    made: usize,
    /// See [`Snapshot::fingerprint`].
    pub(super) rule_version: String,
    /// Equal tags that the ledger knew.
    pub(super) recorded: usize,
    /// Equal tags that it did not know, and knows now.
    pub(super) adopted: usize,
    /// Tags that are kept though we did not write what they name, as far as the ledger knows.
    unexplained: usize,
    /// Tags that are missing because their copies failed permanently.
    pub(super) failed: usize,
}

/// The rest of a walk: from where, after how many failures there, and after which wait; [`None`]: there is no rest.
struct Rest {
    cursor: Cursor,
    stuck: u32,
    wait: Option<Duration>,
}

/// The tags of one repository.
#[derive(Default)]
struct Tags {
    /// What the rule matches, in order, after the cursor, with where it belongs.
    matched: Vec<(Tag, Destination)>,
    digest_tags: DigestTags,
}

/// Why a walk ended.
enum End {
    /// There is no more to look at.
    Whole,
    /// The message has looked at enough.
    Enough,
}

impl<'a> SweepRule<'a> {
    pub(crate) const fn new(jobs: &'a Jobs, name: &'a str, started: Timestamp, run: &'a Run) -> Self {
        Self {
            jobs,
            name,
            started,
            run,
        }
    }

    /// Compares tags of the rule, `after` what was compared before.
    #[tracing::instrument(skip_all, fields(rule = self.name))]
    pub(crate) async fn run(&self, after: Option<&Cursor>) -> Result<Next> {
        let jobs = self.jobs;
        let snapshot = jobs.configuration.current();
        let Some(rule) = snapshot.document.rule(self.name).filter(|rule| rule.is_on_event()) else {
            tracing::info!("the rule was removed, so its sweep ends");
            return Ok(Next::Done);
        };
        let (source, destination) = match (
            snapshot.registry(&rule.source.registry),
            snapshot.registry(&rule.destination.registry),
        ) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(code = error.code(), %error, "the rule cannot be swept");
                return Ok(Next::Done);
            }
        };
        let (lease, holder) = (format!("sweep {}", self.name), self.started.to_string());
        if !jobs.ledger.leases.take(&lease, &holder, jobs.now(), LEASE_TTL).await? {
            tracing::info!(
                code = Code::SweepRunning.as_str(),
                "an earlier sweep of the rule is still running"
            );
            return Ok(Next::Done);
        }
        let cursor = after.cloned().unwrap_or_default();
        let rest = self.walk(rule, (source.clone(), destination.clone()), cursor).await?;
        let wait = rest.wait.filter(|_| !self.is_over(&rest));
        let Some(wait) = wait else {
            jobs.ledger.leases.release(&lease, &holder).await?;
            return Ok(Next::Done);
        };
        let next = Sweep {
            started: Some(self.started),
            step: Some(SweepStep::Rule {
                rule: self.name.to_owned(),
                after: Some(rest.cursor),
            }),
        };
        let (wait, host) = jobs.wait_for(wait.min(WAIT_MAX), &[&source, &destination]).await;
        let next = Outgoing::later(next, wait).with_tries(rest.stuck);
        Ok(Next::Send(vec![next.waiting_for(host)]))
    }

    async fn walk(&self, rule: &Rule, (source, destination): (Registry, Registry), cursor: Cursor) -> Result<Rest> {
        let (jobs, stuck) = (self.jobs, self.run.tries);
        let later = |cursor, wait| {
            Ok(Rest {
                cursor,
                stuck,
                wait: Some(wait),
            })
        };
        if let Some(pause) = jobs.pause_of(&[&source, &destination]).await {
            return later(cursor, pause.left);
        }
        let under_way = self.under_way(rule).await?;
        if under_way.len() >= BACKLOG_TASKS_MAX {
            return later(cursor, BACKLOG_WAIT);
        }
        let begun = cursor.clone();
        let mut walk = Walk {
            jobs,
            rule,
            source: source.clone(),
            destination: destination.clone(),
            execution: Execution {
                id: id("e", &[&rule.name, "sweep", &self.started.to_string()]),
                rule: rule.name.clone(),
                trigger: Trigger::Schedule,
                created: self.started,
            },
            under_way,
            cursor,
            stuck,
            looks_left: STEP_TAGS_MAX,
            made: 0,
            rule_version: jobs.configuration.current().fingerprint(rule),
            recorded: 0,
            adopted: 0,
            unexplained: 0,
            failed: 0,
        };
        let ended = match self.run.budget {
            Some(budget) => tokio::time::timeout(budget.left(), walk.run()).await,
            None => Ok(walk.run().await),
        };
        for registry in [&source, &destination] {
            jobs.share_pause(registry).await;
        }
        let looked = STEP_TAGS_MAX - walk.looks_left;
        let Walk {
            made,
            adopted,
            unexplained,
            failed,
            ..
        } = walk;
        tracing::info!(looked, missed = made, adopted, unexplained, failed, "compared tags");
        counter!("KeptUnexplained").increment(unexplained as u64);
        self.report_lost_ledger(&walk).await?;
        let wait = match ended {
            Ok(Ok(End::Whole)) => None,
            Ok(Ok(End::Enough)) => Some(Duration::ZERO),
            Ok(Err(error)) => walk.stop(&error),
            Err(_) => {
                if walk.cursor == begun {
                    walk.stuck += 1;
                }
                Some(Duration::ZERO)
            }
        };
        Ok(Rest {
            cursor: walk.cursor,
            stuck: walk.stuck,
            wait,
        })
    }

    /// Reports once that the destination was filled and the ledger empty when its first sweep began.
    async fn report_lost_ledger(&self, walk: &Walk<'_>) -> Result<()> {
        let first_sweep = &self.jobs.ledger.first_sweep;
        let unknown = walk.adopted + walk.unexplained;
        if unknown <= walk.recorded || !first_sweep.is_first(self.started).await? {
            return Ok(());
        }
        if first_sweep.report(self.jobs.now()).await? {
            counter!("LedgerLost").increment(1);
            tracing::error!(
                code = Code::LedgerLost.as_str(),
                adopted = walk.adopted,
                unexplained = walk.unexplained,
                "the ledger was empty beside a destination that has images: equal tags were adopted; tags that differ are kept under existing: follow"
            );
        }
        Ok(())
    }

    /// The ends of the unfinished copies of the rule, until there are [`BACKLOG_TASKS_MAX`]. Those of other rules are passed
    /// over, however many they are.
    async fn under_way(&self, rule: &Rule) -> Result<HashSet<(ImageRef, ImageRef)>> {
        let mut query = TaskQuery::new(By::Open);
        query.filter.rule = Some(rule.name.clone());
        query.filter.origin = Some(rule.source.registry.clone());
        let mut under_way = HashSet::new();
        let mut after: Option<ledger::Cursor> = None;
        loop {
            let history = &self.jobs.ledger.history;
            let page = history.entries(&query, after.as_ref(), BACKLOG_TASKS_MAX).await?;
            under_way.extend(page.items.iter().filter_map(ends_of));
            after = page.next;
            if after.is_none() || under_way.len() >= BACKLOG_TASKS_MAX {
                return Ok(under_way);
            }
        }
    }

    /// True if a sweep that is not at its end does not go on either.
    fn is_over(&self, rest: &Rest) -> bool {
        let age = Duration::try_from(self.jobs.now().duration_since(self.started)).unwrap_or_default();
        let is_over = age > RUN_AGE_MAX || rest.cursor.pages > CATALOG_PAGES_MAX || rest.stuck > 2 * STUCK_STEPS_MAX;
        if is_over {
            tracing::error!(
                code = Code::SweepAborted.as_str(),
                repository = rest.cursor.repository.as_ref().map(ToString::to_string),
                pages = rest.cursor.pages,
                ?age,
                "the sweep ends before it compared every tag; the next one starts again"
            );
        }
        is_over
    }
}

/// Source and destination of a copy between registries.
fn ends_of(entry: &TaskEntry) -> Option<(ImageRef, ImageRef)> {
    match entry.envelope().ok()?.job {
        Job::Copy(task) => match task.source {
            Source::Registry(source) => Some((source, task.destination)),
            Source::Stored { .. } => None,
        },
        _ => None,
    }
}

impl Walk<'_> {
    /// True if a task of this rule that has not ended will look there anyway.
    pub(crate) fn is_under_way(&self, source: &ImageRef, destination: &ImageRef) -> bool {
        self.under_way.contains(&(source.clone(), destination.clone()))
    }

    async fn run(&mut self) -> Result<End> {
        loop {
            let Some((repositories, next)) = self.page().await? else {
                return Ok(End::Whole);
            };
            for repository in self.rest_of(&repositories) {
                if self.looks_left == 0 {
                    return Ok(End::Enough);
                }
                if let End::Enough = self.repository(repository).await? {
                    return Ok(End::Enough);
                }
            }
            let Some(next) = next else { return Ok(End::Whole) };
            self.stuck = 0;
            self.cursor = Cursor {
                page: Some(next),
                pages: self.cursor.pages + 1,
                ..Cursor::default()
            };
            if self.cursor.pages > CATALOG_PAGES_MAX {
                return Ok(End::Enough);
            }
        }
    }

    /// Repositories, and what comes after them; [`None`] if the registry does not say what it has.
    async fn page(&self) -> Result<Option<(Vec<Repository>, Option<String>)>> {
        if let Some(named) = self.rule.source.named_repositories() {
            return Ok(Some((named, None)));
        }
        match self.source.catalog(self.cursor.page.as_deref()).await? {
            Catalog::Page { repositories, next } => Ok(Some((repositories, next))),
            Catalog::Refused(how) => {
                tracing::warn!(
                    code = Code::SweepNoCatalog.as_str(),
                    "{how}; name the repositories (source.repository: [NAME, NAME]), or allow this login to list the catalog"
                );
                Ok(None)
            }
        }
    }

    /// The repositories of the rule on this page that were not looked at in whole.
    fn rest_of<'p>(&self, page: &'p [Repository]) -> Vec<&'p Repository> {
        let at = self.cursor.repository.as_ref();
        let from = page.iter().position(|repository| Some(repository) == at).unwrap_or(0);
        page[from..]
            .iter()
            .filter(|repository| self.rule.source.holds(repository))
            .collect()
    }

    /// Looks at the tags of one repository.
    async fn repository(&mut self, repository: &Repository) -> Result<End> {
        let tags = match self.tags(repository).await {
            Ok(tags) => tags,
            Err(error) => {
                self.pass_over(error, repository, None)?;
                Tags::default()
            }
        };
        self.looks_left = self.looks_left.saturating_sub(1);
        if tags.matched.is_empty() {
            self.move_to(repository, None);
        }
        // What did not fit into one slot may fit into the next in smaller steps.
        let stride = (STRIDE_TAGS >> self.stuck.min(5)).max(1);
        for stride in tags.matched.chunks(stride) {
            if self.looks_left == 0 {
                return Ok(End::Enough);
            }
            self.stride(repository, stride, &tags.digest_tags).await?;
        }
        Ok(End::Whole)
    }

    async fn tags(&self, repository: &Repository) -> Result<Tags> {
        let listed = self
            .source
            .repository(repository.clone())
            .list_tags(None, TAG_PAGES_MAX)
            .await?;
        let Some(mut tags) = listed else {
            tracing::warn!(
                code = Code::SweepNoTags.as_str(),
                %repository,
                "the registry does not list the tags, or there are too many; the repository is skipped"
            );
            return Ok(Tags::default());
        };
        tags.sort_unstable();
        tags.dedup();
        let is_at_work = self.cursor.repository.as_ref() == Some(repository);
        let after = self.cursor.tag.as_ref().filter(|_| is_at_work);
        let mut digest_tags = DigestTags::new();
        for tag in &tags {
            if let Some(attached) = DigestTag::of(tag) {
                digest_tags.entry(attached.subject_tag()).or_default().push(tag.clone());
            }
        }
        let rest = tags.into_iter().filter(|tag| after.is_none_or(|after| tag > after));
        Ok(Tags {
            matched: rest
                .filter_map(|tag| self.destination_of(repository, &tag).map(|place| (tag, place)))
                .collect(),
            digest_tags,
        })
    }

    fn destination_of(&self, repository: &Repository, tag: &Tag) -> Option<Destination> {
        let pushed = Pushed {
            repository,
            tag: Some(tag),
            kind: None,
        };
        match self.rule.matches(&pushed) {
            Verdict::Matches(destination) => Some(destination),
            Verdict::Follows(_) | Verdict::No(_) => None,
        }
    }

    /// Compares some tags, makes tasks of what was missed, and moves the cursor past them.
    async fn stride(
        &mut self,
        repository: &Repository,
        tags: &[(Tag, Destination)],
        digest_tags: &DigestTags,
    ) -> Result<()> {
        // Made before they are polled: a closure over borrowed tags inside the stream would not be `Send`.
        let looks: Vec<_> = tags
            .iter()
            .map(|(tag, destination)| self.compare(repository, tag, destination.clone(), digest_tags))
            .collect();
        let compared: Vec<_> = stream::iter(looks).buffered(PARALLEL_TAGS).collect().await;
        let (mut equal, mut missed) = (Vec::new(), Vec::new());
        for ((tag, _), compared) in tags.iter().zip(compared) {
            match compared {
                Ok(Compared::Nothing) => {}
                Ok(Compared::Equal(replica)) => equal.push(*replica),
                Ok(Compared::Unexplained(destination)) => self.keep(repository, tag, &destination),
                Ok(Compared::Missed(task)) => missed.push(*task),
                Err(error) => self.pass_over(error, repository, Some(tag))?,
            }
        }
        self.adopt(equal).await?;
        let tasks = self.not_failed(missed).await?;
        send_then_record(
            self.jobs.queue.as_ref(),
            self.jobs.ledger.history.as_ref(),
            &tasks,
            None,
        )
        .await?;
        self.made += tasks.len();
        self.looks_left = self.looks_left.saturating_sub(tags.len());
        self.move_to(repository, tags.last().map(|(tag, _)| tag.clone()));
        Ok(())
    }

    /// Counts a tag that keeps what we did not write, and logs the first of them.
    fn keep(&mut self, repository: &Repository, tag: &Tag, destination: &ImageRef) {
        self.unexplained += 1;
        if self.unexplained <= KEPT_LOGGED_MAX {
            tracing::warn!(
                code = "DESTINATION_KEPT",
                %repository,
                %tag,
                %destination,
                "the destination tag differs and is kept: the ledger does not say that Transship wrote it"
            );
        }
    }

    /// Identifies this sweep as the holder of leases, of which it takes none.
    pub(super) fn holder(&self) -> String {
        format!("{} {}", self.jobs.worker, self.execution.id)
    }

    /// The cursor goes past this tag, or past a repository of which there is nothing to look at.
    fn move_to(&mut self, repository: &Repository, tag: Option<Tag>) {
        self.stuck = 0;
        self.cursor.repository = Some(repository.clone());
        self.cursor.tag = tag;
    }

    /// A permanent error, or one that remained after all retries, is logged and the item is skipped. Another error pauses the walk.
    fn pass_over(&self, error: Error, repository: &Repository, tag: Option<&Tag>) -> Result<()> {
        let is_stuck = self.stuck >= STUCK_STEPS_MAX && !matches!(Wait::of(&error), Wait::Asked(_));
        if !is_stuck && error.persistence().is_temporary() {
            return Err(error);
        }
        let tag = tag.map(ToString::to_string);
        tracing::warn!(code = error.code(), %error, %repository, tag, "a repository or tag cannot be swept and is skipped");
        Ok(())
    }

    /// How long the sweep waits for this error to pass; [`None`]: it ends.
    fn stop(&mut self, error: &Error) -> Option<Duration> {
        let told = match error.persistence() {
            Persistence::Temporary(_) => Wait::of(error),
            Persistence::Permanent | Persistence::Persistent => {
                tracing::error!(code = error.code(), %error, "the rule cannot be swept");
                return None;
            }
        };
        let wait = match told {
            Wait::Asked(asked) => asked,
            Wait::AtOnce | Wait::Growing | Wait::ForDocument => {
                self.stuck += 1;
                ERROR_BACKOFF.wait(self.stuck - 1)
            }
        };
        tracing::warn!(code = error.code(), %error, ?wait, "the sweep of the rule will continue later");
        Some(wait)
    }
}
