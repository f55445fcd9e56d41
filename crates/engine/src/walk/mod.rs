//! The walk through the repositories and tags of a rule, page by page. A sweep, a run, a plan and a verification share it and
//! differ in their [`Visitor`]: what is found out about a tag, and what is done about it.
//!
//! What must hold: one page of names is held at a time, and of it only what this walk looks at. The cursor names the pages by
//! the registry's own links, and the last repository and tag by their sorted order within their page: registries need not sort,
//! and may send everything as one page. What cannot be read is reported to the visitor, never left out silently.

mod compare;
mod names;
mod together;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use transship_copy::DigestTags;
use transship_oci::{Backoff, Code, Error, Persistence, Repository, Result, Tag, Target, Verb};
use transship_registry::{Listing, Page, PageCursor, Registry};
use transship_rules::{Destination, LatestTags, Pushed, Rule, Verdict};

pub(crate) use self::compare::{Compared, Ends, WalkedReplicas, options};
use self::names::{Collected, Selected};
use self::together::Ahead;
use crate::ImageRef;
use crate::job::Cursor;
use crate::latest::latest_tags;
use crate::plan::destination_of;
use crate::retry_policy::Wait;

/// Tags and repositories that one message looks at.
pub(crate) const STEP_TAGS_MAX: usize = 1000;

/// Tags between two moves of the cursor.
const STRIDE_TAGS: usize = 64;

/// Tags that are compared at the same time. What a registry bears of it decides how many are ([`transship_registry`]).
const PARALLEL_TAGS: usize = 64;

/// After so many failures at one place, digest tags are asked for one by one, because listing all may not fit into a slot.
const DIGEST_TAGS_STUCK_MAX: u32 = 3;

/// The part of a rule that a walk is limited to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Narrow {
    /// Only this repository of the source; [`None`]: every one that the rule selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Only this tag of the source; [`None`]: every one that the rule selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

/// How long a walk waits at one place for errors to pass. Then it goes on past it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The number of waits.
    pub(crate) waits_max: u32,
    /// Their lengths.
    pub(crate) backoff: Backoff,
}

/// One walk through the tags of a rule, or a part of it.
pub(crate) struct Walk<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) source: Registry,
    pub(crate) narrow: Narrow,
    pub(crate) patience: Patience,
    pub(crate) cursor: Cursor,
    /// How often the walk could not go on from the cursor.
    pub(crate) stuck: u32,
    /// Tags and repositories that it may still look at.
    pub(crate) looks_left: usize,
}

/// A tag at the source, and the one at the destination that the rule gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) source: ImageRef,
    pub(crate) destination: ImageRef,
}

/// What a walk does.
pub(crate) trait Visitor: Send + Sync {
    /// What is found out about one tag.
    type Found: Send;

    /// A repository is walked from its beginning.
    fn begin_repository(&mut self, _repository: &Repository) {}

    /// A page of its tags was read.
    fn list(&mut self, _repository: &Repository, _page: &Page<Tag>) {}

    /// Finds out about one tag. `digest_tags`: those of its repository; [`None`]: each is asked for.
    fn compare(&self, pair: Pair, digest_tags: Option<&DigestTags>)
    -> impl Future<Output = Result<Self::Found>> + Send;

    /// Does what is to be done about some tags. The cursor moves past them afterwards.
    fn act(&mut self, found: Vec<Self::Found>) -> impl Future<Output = Result<()>> + Send;

    /// Something could not be read and is passed over: a tag, all tags of a repository, or ([`None`]) the list of repositories.
    fn pass_over(&mut self, repository: Option<&Repository>, tag: Option<&Tag>, error: &Error);

    /// The walk got as far as `cursor`.
    fn moved(&mut self, _cursor: &Cursor) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Why a walk ended.
pub(crate) enum End {
    /// There is no more to look at.
    Whole,
    /// The message has looked at enough.
    Enough,
}

impl Walk<'_> {
    /// Walks until the end, or until it has looked at enough.
    pub(crate) async fn run<V: Visitor>(&mut self, visitor: &mut V) -> Result<End> {
        loop {
            let Some((repositories, next)) = self.page(visitor).await? else {
                return Ok(End::Whole);
            };
            let mut rest = repositories.selected.as_slice();
            let mut ahead = Ahead::new();
            while let Some((repository, others)) = rest.split_first() {
                if self.looks_left == 0 {
                    return Ok(End::Enough);
                }
                if ahead.is_empty() {
                    ahead = self.list_ahead(rest, 0).await;
                }
                let count = self.together(&mut ahead, rest, visitor).await?;
                if count > 0 {
                    rest = rest.get(count..).unwrap_or_default();
                    continue;
                }
                if let End::Enough = self.repository(repository, visitor).await? {
                    return Ok(End::Enough);
                }
                ahead.pop_front();
                rest = others;
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
            visitor.moved(&self.cursor).await?;
        }
    }

    /// Repositories of the rule that were not looked at in whole, of the current page, and the next page; [`None`] if the registry
    /// does not say what it has.
    async fn page<V: Visitor>(&self, visitor: &mut V) -> Result<Option<(Selected<Repository>, Option<PageCursor>)>> {
        let at = self.cursor.repository.as_ref();
        let is_next = |repository: &Repository| at.is_none_or(|at| repository >= at);
        let known = match &self.narrow.repository {
            Some(only) => Some(vec![only.clone()]),
            None => self.rule.source.named_repositories(),
        };
        if let Some(mut named) = known {
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
                let why = format!(
                    "{how}; name the repositories (source.repository: [NAME, NAME]), or allow this login to list the catalog"
                );
                let operation = Verb::Catalog.on(self.source.host());
                visitor.pass_over(None, None, &Error::of(Code::SweepNoCatalog, operation).because(why));
                Ok(None)
            }
        }
    }

    /// Looks at the tags of one repository, page by page.
    async fn repository<V: Visitor>(&mut self, repository: &Repository, visitor: &mut V) -> Result<End> {
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
                self.pass_over(&error, repository, None, visitor)?;
                self.looks_left = self.looks_left.saturating_sub(1);
                self.move_to(repository, page, after, visitor).await?;
                return Ok(End::Whole);
            }
        };
        if !is_at_work {
            visitor.begin_repository(repository);
        }
        loop {
            let tags = self
                .tags(
                    repository,
                    (page.as_ref(), after.as_ref()),
                    &mut digest_tags,
                    latest.as_ref(),
                    visitor,
                )
                .await;
            self.looks_left = self.looks_left.saturating_sub(1);
            let tags = match tags {
                Ok(tags) => tags,
                Err(error) => {
                    self.pass_over(&error, repository, None, visitor)?;
                    None
                }
            };
            let Some((tags, next)) = tags else {
                self.move_to(repository, page, after, visitor).await?;
                return Ok(End::Whole);
            };
            if tags.selected.is_empty() {
                self.move_to(repository, page.clone(), after.take(), visitor).await?;
            }
            // What did not fit into one slot may fit into the next in smaller steps.
            let stride = (STRIDE_TAGS >> self.stuck.min(5)).max(1);
            for stride in tags.selected.chunks(stride) {
                if self.looks_left == 0 {
                    return Ok(End::Enough);
                }
                let digest_tags = digest_tags.as_ref().and_then(Collected::all);
                self.stride(repository, page.as_ref(), stride, digest_tags, visitor)
                    .await?;
            }
            if tags.is_cut {
                return Ok(End::Enough);
            }
            let Some(next) = next else { return Ok(End::Whole) };
            self.move_to(repository, Some(next.clone()), None, visitor).await?;
            (page, after) = (Some(next), None);
            if self.looks_left == 0 {
                return Ok(End::Enough);
            }
        }
    }

    /// Tags of the rule on a page of `repository`, those `after` a tag, and the next page; [`None`] if the registry does not list
    /// them. `digest_tags` are collected when they are needed first.
    async fn tags<V: Visitor>(
        &self,
        repository: &Repository,
        (page, after): (Option<&PageCursor>, Option<&Tag>),
        digest_tags: &mut Option<Collected>,
        latest: Option<&LatestTags<'_>>,
        visitor: &mut V,
    ) -> Result<Option<(Selected<Tag>, Option<PageCursor>)>> {
        let source = self.source.repository(repository.clone());
        let listed = match source.tags_page(page).await? {
            Listing::Page(listed) => listed,
            Listing::Refused(how) => {
                let operation = Verb::TagsList.on(format_args!("{}/{repository}", self.source.host()));
                let error = Error::of(Code::SweepNoTags, operation).because(how);
                visitor.pass_over(Some(repository), None, &error);
                return Ok(None);
            }
        };
        visitor.list(repository, &listed);
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
        if self.narrow.tag.as_ref().is_some_and(|only| only != tag) {
            return None;
        }
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

    /// Compares some tags, lets the visitor act, and moves the cursor past them.
    async fn stride<V: Visitor>(
        &mut self,
        repository: &Repository,
        page: Option<&PageCursor>,
        tags: &[Tag],
        digest_tags: Option<&DigestTags>,
        visitor: &mut V,
    ) -> Result<()> {
        // Made before they are polled: a closure over borrowed tags inside the stream would not be `Send`.
        let looks: Vec<_> = tags
            .iter()
            .filter_map(|tag| self.pair(repository, tag))
            .map(|pair| visitor.compare(pair, digest_tags))
            .collect();
        let compared: Vec<_> = stream::iter(looks).buffered(PARALLEL_TAGS).collect().await;
        let mut found = Vec::new();
        for (tag, compared) in tags.iter().zip(compared) {
            match compared {
                Ok(one) => found.push(one),
                Err(error) => self.pass_over(&error, repository, Some(tag), visitor)?,
            }
        }
        visitor.act(found).await?;
        self.looks_left = self.looks_left.saturating_sub(tags.len());
        self.move_to(repository, page.cloned(), tags.last().cloned(), visitor)
            .await
    }

    fn pair(&self, repository: &Repository, tag: &Tag) -> Option<Pair> {
        let destination = self.destination_of(repository, tag)?;
        let target = Target::Tag(tag.clone());
        Some(Pair {
            destination: destination_of(destination, &target),
            source: ImageRef {
                registry: self.rule.source.registry.clone(),
                repository: repository.clone(),
                target,
            },
        })
    }

    /// The cursor goes past this tag of a page, or to the beginning of the page.
    async fn move_to<V: Visitor>(
        &mut self,
        repository: &Repository,
        page: Option<PageCursor>,
        tag: Option<Tag>,
        visitor: &mut V,
    ) -> Result<()> {
        let cursor = Cursor {
            page: self.cursor.page.take(),
            repository: Some(repository.clone()),
            tag_page: page,
            tag,
        };
        // What was walked before is passed again on the way to what failed. That does not count as progress.
        let before = Cursor {
            page: cursor.page.clone(),
            ..std::mem::take(&mut self.cursor)
        };
        if cursor != before {
            self.stuck = 0;
        }
        self.cursor = cursor;
        visitor.moved(&self.cursor).await
    }

    /// A permanent error, or one that remained after all retries, is reported and the item is skipped. Another error pauses the
    /// walk.
    fn pass_over<V: Visitor>(
        &self,
        error: &Error,
        repository: &Repository,
        tag: Option<&Tag>,
        visitor: &mut V,
    ) -> Result<()> {
        let is_stuck = self.stuck >= self.patience.waits_max && !matches!(Wait::of(error), Wait::Asked(_));
        if !is_stuck && error.persistence().is_temporary() {
            return Err(error.clone());
        }
        visitor.pass_over(Some(repository), tag, error);
        Ok(())
    }

    /// How long the walk waits for this error to pass; [`None`]: it ends.
    pub(crate) fn stop(&mut self, error: &Error) -> Option<Duration> {
        let told = match error.persistence() {
            Persistence::Temporary(_) => Wait::of(error),
            Persistence::Permanent | Persistence::Persistent => return None,
        };
        Some(match told {
            Wait::Asked(asked) => asked,
            Wait::AtOnce
            | Wait::Growing
            | Wait::ForReferrer
            | Wait::ForDocument
            | Wait::ForSwitch
            | Wait::ForBlob
            | Wait::ForQuota => {
                self.stuck += 1;
                self.patience.backoff.wait(self.stuck - 1)
            }
        })
    }
}
