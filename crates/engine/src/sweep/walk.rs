//! One message's walk through the repositories and tags of a rule, page by page.
//!
//! What must hold: one page of names is held at a time, and of it only what this message looks at. The cursor names the pages by
//! the registry's own links, and the last repository and tag by their sorted order within their page: registries need not sort,
//! and may send everything as one page.

use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use transship_copy::DigestTags;
use transship_oci::{Backoff, Code, Error, Persistence, Repository, Result, Tag};
use transship_registry::{Listing, Page, PageCursor, Registry, RemoteRepository};
use transship_rules::{Destination, LatestTags, Pushed, Rule, Verdict};

use super::compare::Compared;
use super::rule::WAIT_MAX;
use crate::job::Cursor;
use crate::jobs::Jobs;
use crate::latest::latest_tags;
use crate::retry_policy::Wait;
use crate::send::send_then_record;
use crate::{Execution, ImageRef};

/// Tags and repositories that one message looks at.
pub(super) const STEP_TAGS_MAX: usize = 1000;

/// Tags between two moves of the cursor.
const STRIDE_TAGS: usize = 32;

/// Tags that are compared at the same time.
const PARALLEL_TAGS: usize = 4;

/// Kept tags that one message logs by name.
const KEPT_LOGGED_MAX: usize = 20;
/// Pages of tags of one repository that are read for its digest tags alone. If there are more, each digest tag is asked for.
const DIGEST_TAG_PAGES_MAX: usize = 200;
/// After so many failures at one place, digest tags are asked for one by one, because listing all may not fit into a slot.
const DIGEST_TAGS_STUCK_MAX: u32 = 3;
/// The waits for an error to pass.
const ERROR_BACKOFF: Backoff = Backoff::doubling(Duration::from_secs(30), WAIT_MAX);

/// How often the sweep waits at one place for errors to pass. Then it goes on past it.
pub(super) const STUCK_STEPS_MAX: u32 = 5;

/// One message's walk through the tags of a rule.
pub(super) struct Walk<'a> {
    pub(super) jobs: &'a Jobs,
    pub(super) rule: &'a Rule,
    pub(super) source: Registry,
    pub(super) destination: Registry,
    /// The execution of all tasks of this sweep of this rule.
    pub(super) execution: Execution,
    pub(super) under_way: HashSet<(ImageRef, ImageRef)>,
    pub(super) cursor: Cursor,
    /// How often the sweep could not go on from the cursor.
    pub(super) stuck: u32,
    pub(super) looks_left: usize,
    pub(super) made: usize,
    /// See [`Snapshot::fingerprint`].
    pub(super) rule_version: String,
    /// Equal tags that the ledger knew.
    pub(super) recorded: usize,
    /// Equal tags that it did not know, and knows now.
    pub(super) adopted: usize,
    /// Tags that are kept though we did not write what they name, as far as the ledger knows.
    pub(super) unexplained: usize,
    /// Tags that are missing because their copies failed permanently.
    pub(super) failed: usize,
}

/// Why a walk ended.
pub(super) enum End {
    /// There is no more to look at.
    Whole,
    /// The message has looked at enough.
    Enough,
}

impl Walk<'_> {
    /// True if a task of this rule that has not ended will look there anyway.
    pub(super) fn is_under_way(&self, source: &ImageRef, destination: &ImageRef) -> bool {
        self.under_way.contains(&(source.clone(), destination.clone()))
    }

    pub(super) async fn run(&mut self) -> Result<End> {
        loop {
            let Some((repositories, next)) = self.page().await? else {
                return Ok(End::Whole);
            };
            for repository in &repositories.selected {
                if self.looks_left == 0 {
                    return Ok(End::Enough);
                }
                if let End::Enough = self.repository(repository).await? {
                    return Ok(End::Enough);
                }
            }
            if repositories.is_cut {
                return Ok(End::Enough);
            }
            let Some(next) = next else { return Ok(End::Whole) };
            self.stuck = 0;
            self.cursor = Cursor {
                page: Some(next),
                ..Cursor::default()
            };
        }
    }

    /// Repositories of the rule that were not looked at in whole, of the current page, and the next page; [`None`] if the registry
    /// does not say what it has.
    async fn page(&self) -> Result<Option<(Selected<Repository>, Option<PageCursor>)>> {
        let at = self.cursor.repository.as_ref();
        let is_next = |repository: &Repository| at.is_none_or(|at| repository >= at);
        if let Some(mut named) = self.rule.source.named_repositories() {
            named.retain(|repository| is_next(repository) && self.rule.source.holds(repository));
            named.sort_unstable();
            named.dedup();
            let named = Selected {
                selected: named,
                is_cut: false,
            };
            return Ok(Some((named, None)));
        }
        match self.source.catalog_page(self.cursor.page.as_ref()).await? {
            Listing::Page(page) => {
                let repositories = Selected::of(&page, self.looks_left, |repository| {
                    is_next(repository) && self.rule.source.holds(repository)
                });
                Ok(Some((repositories, page.next().cloned())))
            }
            Listing::Refused(how) => {
                tracing::warn!(
                    code = Code::SweepNoCatalog.as_str(),
                    "{how}; name the repositories (source.repository: [NAME, NAME]), or allow this login to list the catalog"
                );
                Ok(None)
            }
        }
    }

    /// Looks at the tags of one repository, page by page.
    async fn repository(&mut self, repository: &Repository) -> Result<End> {
        let is_at_work = self.cursor.repository.as_ref() == Some(repository);
        let cursor = Some(&self.cursor).filter(|_| is_at_work);
        let mut page = cursor.and_then(|cursor| cursor.tag_page.clone());
        let mut after = cursor.and_then(|cursor| cursor.tag.clone());
        let mut digest_tags = None;
        // Which tags are the latest depends on all pages.
        let listed = self.source.repository(repository.clone());
        let latest = match latest_tags(&self.rule.source, &listed, None).await {
            Ok(latest) => latest,
            Err(error) => {
                self.pass_over(error, repository, None)?;
                self.looks_left = self.looks_left.saturating_sub(1);
                self.move_to(repository, page, after);
                return Ok(End::Whole);
            }
        };
        loop {
            let tags = self
                .tags(
                    repository,
                    page.as_ref(),
                    after.as_ref(),
                    &mut digest_tags,
                    latest.as_ref(),
                )
                .await;
            self.looks_left = self.looks_left.saturating_sub(1);
            let tags = match tags {
                Ok(tags) => tags,
                Err(error) => {
                    self.pass_over(error, repository, None)?;
                    None
                }
            };
            let Some((tags, next)) = tags else {
                self.move_to(repository, page, after);
                return Ok(End::Whole);
            };
            if tags.selected.is_empty() {
                self.move_to(repository, page.clone(), after.take());
            }
            // What did not fit into one slot may fit into the next in smaller steps.
            let stride = (STRIDE_TAGS >> self.stuck.min(5)).max(1);
            for stride in tags.selected.chunks(stride) {
                if self.looks_left == 0 {
                    return Ok(End::Enough);
                }
                self.stride(
                    repository,
                    page.as_ref(),
                    stride,
                    digest_tags.as_ref().and_then(Collected::all),
                )
                .await?;
            }
            if tags.is_cut {
                return Ok(End::Enough);
            }
            let Some(next) = next else { return Ok(End::Whole) };
            self.move_to(repository, Some(next.clone()), None);
            (page, after) = (Some(next), None);
            if self.looks_left == 0 {
                return Ok(End::Enough);
            }
        }
    }

    /// Tags of the rule on a page of `repository`, those `after` a tag, and the next page; [`None`] if the registry does not list
    /// them. `digest_tags` are collected when they are needed first.
    async fn tags(
        &self,
        repository: &Repository,
        page: Option<&PageCursor>,
        after: Option<&Tag>,
        digest_tags: &mut Option<Collected>,
        latest: Option<&LatestTags<'_>>,
    ) -> Result<Option<(Selected<Tag>, Option<PageCursor>)>> {
        let source = self.source.repository(repository.clone());
        let listed = match source.tags_page(page).await? {
            Listing::Page(listed) => listed,
            Listing::Refused(how) => {
                tracing::warn!(
                    code = Code::SweepNoTags.as_str(),
                    %repository,
                    "{how}; the repository is skipped"
                );
                return Ok(None);
            }
        };
        let is_next = |tag: &Tag| after.is_none_or(|after| tag > after);
        let tags = Selected::of(&listed, self.looks_left.max(1), |tag| {
            let is_selected = latest.is_none_or(|latest| latest.has(tag));
            is_next(tag) && is_selected && self.destination_of(repository, tag).is_some()
        });
        let next = listed.next().cloned();
        if digest_tags.is_none() && !tags.selected.is_empty() {
            let mut collected = Collected::default();
            collected.add(&listed);
            // One page is held at a time.
            drop(listed);
            let is_first = page.is_none();
            if !is_first || next.is_some() {
                let from = next.clone().filter(|_| is_first);
                collected
                    .add_pages(&source, from, self.stuck < DIGEST_TAGS_STUCK_MAX)
                    .await?;
            }
            *digest_tags = Some(collected);
        }
        Ok(Some((tags, next)))
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
        page: Option<&PageCursor>,
        tags: &[Tag],
        digest_tags: Option<&DigestTags>,
    ) -> Result<()> {
        // Made before they are polled: a closure over borrowed tags inside the stream would not be `Send`.
        let looks: Vec<_> = tags
            .iter()
            .filter_map(|tag| Some((tag, self.destination_of(repository, tag)?)))
            .map(|(tag, destination)| self.compare(repository, tag, destination, digest_tags))
            .collect();
        let compared: Vec<_> = stream::iter(looks).buffered(PARALLEL_TAGS).collect().await;
        let (mut equal, mut missed) = (Vec::new(), Vec::new());
        for (tag, compared) in tags.iter().zip(compared) {
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
        self.move_to(repository, page.cloned(), tags.last().cloned());
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

    /// The cursor goes past this tag of a page, or to the beginning of the page.
    fn move_to(&mut self, repository: &Repository, page: Option<PageCursor>, tag: Option<Tag>) {
        self.stuck = 0;
        self.cursor.repository = Some(repository.clone());
        self.cursor.tag_page = page;
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
    pub(super) fn stop(&mut self, error: &Error) -> Option<Duration> {
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

/// Names of one page, sorted, and whether there may be more of them on it.
struct Selected<T> {
    selected: Vec<T>,
    is_cut: bool,
}

impl<T: FromStr + Ord> Selected<T> {
    /// The first `limit` names of `page` that `keep` accepts.
    fn of(page: &Page<T>, limit: usize, keep: impl FnMut(&T) -> bool) -> Self {
        let selected = page.select(limit, keep);
        Self {
            is_cut: selected.len() >= limit,
            selected,
        }
    }
}

/// The digest tags of a repository, of all its pages.
struct Collected {
    tags: DigestTags,
    /// Every page was read, and there was room for every digest tag.
    are_all: bool,
}

impl Default for Collected {
    fn default() -> Self {
        Self {
            tags: DigestTags::default(),
            are_all: true,
        }
    }
}

impl Collected {
    /// [`None`] if they are too many: each is asked for.
    fn all(&self) -> Option<&DigestTags> {
        Some(&self.tags).filter(|_| self.are_all)
    }

    fn add(&mut self, page: &Page<Tag>) {
        page.for_each(|tag| self.are_all &= self.tags.add(&tag));
    }

    /// Adds those of all pages from `page` on, unless they are too many, or too much for this message.
    async fn add_pages(&mut self, source: &RemoteRepository, mut page: Option<PageCursor>, fits: bool) -> Result<()> {
        self.are_all &= fits;
        let mut pages = 0;
        while self.are_all {
            let Listing::Page(listed) = source.tags_page(page.as_ref()).await? else {
                self.are_all = false;
                break;
            };
            self.add(&listed);
            pages += 1;
            match listed.next() {
                None => break,
                Some(_) if pages >= DIGEST_TAG_PAGES_MAX => self.are_all = false,
                next => page = next.cloned(),
            }
        }
        if !self.are_all {
            self.tags = DigestTags::default();
        }
        Ok(())
    }
}
