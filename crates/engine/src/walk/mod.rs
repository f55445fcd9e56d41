//! The walk through the repositories and tags of a rule, page by page. A sweep, a run, a plan and a verification share it and
//! differ in their [`Visitor`]: what is found out about a tag, and what is done about it.
//!
//! What must hold: one page of names is held at a time, and of it only what this walk looks at. The cursor names the pages by
//! the registry's own links, and the last repository and tag by their sorted order within their page: registries need not sort,
//! and may send everything as one page. What cannot be read is reported to the visitor, never left out silently.

mod ahead;
mod compare;
mod in_order;
mod misses;
mod names;
mod scope;
mod stages;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, Receiver};
use transship_copy::DigestTags;
use transship_oci::{Backoff, Code, Error, Persistence, Repository, Result, Tag};
use transship_registry::{Page, Registry};
use transship_rules::Rule;

pub(crate) use self::compare::{Compared, Ends, WalkedReplicas, options};
pub(crate) use self::misses::Misses;
use self::scope::Scope;
use self::stages::{Mark, Place, Stages, Step};
use crate::ImageRef;
use crate::job::Cursor;
use crate::retry_policy::Wait;

/// Tags and pages of tags that one message looks at.
pub(crate) const STEP_TAGS_MAX: usize = 1000;

/// Tags between two moves of the cursor, at most.
const STRIDE_TAGS: usize = 64;

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
    /// Repositories that the source probably has. Their tags are listed while it says which it has.
    pub(crate) expected: Vec<Repository>,
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

/// What is found out about the tags of a walk, several at the same time.
pub(crate) trait Comparer: Sync {
    /// What is found out about one tag.
    type Found: Send;
    /// What is taken out of a page of tags, whether or not the rule selects them.
    type Listed: Send;

    /// A page of the tags of `repository` was read.
    fn list(&self, repository: &Repository, page: &Page<Tag>) -> Self::Listed;

    /// True if the destination has no tag in the repository that `repository` is copied to. False if that is not known.
    fn is_destination_empty(&self, _repository: &Repository) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// Finds out about one tag.
    fn compare(&self, pair: Pair, known: Known<'_>) -> impl Future<Output = Result<Self::Found>> + Send;
}

/// What is known of a repository when its tags are compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Its digest tags at the source; [`None`]: each is asked for.
    pub(crate) digest_tags: Option<&'a DigestTags>,
    /// See [`Comparer::is_destination_empty`].
    pub(crate) is_destination_empty: bool,
}

/// What is done about it, in the order of the names.
pub(crate) trait Visitor: Send {
    /// What was found out about one tag.
    type Found: Send;
    /// What was taken out of a page of tags.
    type Listed: Send;

    /// A repository is walked from its beginning.
    fn begin_repository(&mut self, _repository: &Repository) {}

    /// A page of its tags was read.
    fn list(&mut self, _listed: Self::Listed) {}

    /// Does what is to be done about some tags of one repository. The cursor moves past them afterwards.
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
    pub(crate) async fn run<C, V>(&mut self, comparer: &C, visitor: &mut V) -> Result<End>
    where
        C: Comparer,
        V: Visitor<Found = C::Found, Listed = C::Listed>,
    {
        let stages = Stages {
            scope: Scope {
                rule: self.rule,
                source: self.source.clone(),
                narrow: self.narrow.clone(),
            },
            comparer,
            expected: std::mem::take(&mut self.expected),
            from: self.cursor.clone(),
            looks: self.looks_left,
            stuck: self.stuck,
        };
        let (found, steps) = mpsc::channel(1);
        tokio::select! {
            biased;
            end = self.follow(steps, visitor) => end,
            // The last stage ends before it is followed to its end.
            end = async { Box::pin(stages.run(found)).await; std::future::pending().await } => end,
        }
    }

    /// Acts on what the stages find, in order.
    async fn follow<V: Visitor>(
        &mut self,
        mut steps: Receiver<Step<Result<V::Found>, V::Listed>>,
        visitor: &mut V,
    ) -> Result<End> {
        // What did not fit into one slot may fit into the next in smaller steps.
        let stride = (STRIDE_TAGS >> self.stuck.min(5)).max(1);
        let mut tags = Vec::new();
        loop {
            match steps.recv().await {
                Some(Step::Tag(place, found)) => {
                    tags.push((place, found));
                    if tags.len() >= stride {
                        self.act(&mut tags, visitor).await?;
                    }
                }
                Some(Step::Mark(mark)) => {
                    self.act(&mut tags, visitor).await?;
                    if let Some(end) = self.pass(mark, visitor).await? {
                        return Ok(end);
                    }
                }
                None => {
                    self.act(&mut tags, visitor).await?;
                    return Ok(End::Whole);
                }
            }
        }
    }

    /// Lets the visitor act on some tags of one repository, and moves the cursor past them.
    async fn act<V: Visitor>(&mut self, tags: &mut Vec<(Place, Result<V::Found>)>, visitor: &mut V) -> Result<()> {
        let (mut found, mut last, mut count) = (Vec::new(), None, 0);
        let mut stopped = Ok(());
        for (place, one) in tags.drain(..) {
            match one {
                Ok(one) => found.push(one),
                Err(error) => {
                    stopped = self.pass_over(&error, &place.repository, place.tag.as_ref(), visitor);
                    if stopped.is_err() {
                        break;
                    }
                }
            }
            count += 1;
            last = Some(place);
        }
        if let Some(last) = last {
            visitor.act(found).await?;
            self.looks_left = self.looks_left.saturating_sub(count);
            self.move_to(last, visitor).await?;
        }
        stopped
    }

    /// Goes past something other than a tag. [`None`]: the walk goes on.
    async fn pass<V: Visitor>(&mut self, mark: Mark<V::Listed>, visitor: &mut V) -> Result<Option<End>> {
        match mark {
            Mark::Page(page) => {
                self.stuck = 0;
                self.cursor = Cursor {
                    page: Some(page),
                    ..Cursor::default()
                };
                visitor.moved(&self.cursor).await?;
            }
            Mark::Repository(repository) => visitor.begin_repository(&repository),
            Mark::Listed(listed) => {
                self.looks_left = self.looks_left.saturating_sub(1);
                visitor.list(listed);
            }
            Mark::Past(place) => self.move_to(place, visitor).await?,
            Mark::Unlisted(place, error) => {
                self.looks_left = self.looks_left.saturating_sub(1);
                self.pass_over(&error, &place.repository, None, visitor)?;
                self.move_to(place, visitor).await?;
            }
            Mark::Failed(error) if error.is(Code::SweepNoCatalog) => {
                visitor.pass_over(None, None, &error);
                return Ok(Some(End::Whole));
            }
            Mark::Failed(error) => return Err(error),
            Mark::Enough => return Ok(Some(End::Enough)),
        }
        Ok(None)
    }

    /// The cursor goes past this tag of a page, or to the beginning of the page.
    async fn move_to<V: Visitor>(&mut self, place: Place, visitor: &mut V) -> Result<()> {
        let cursor = Cursor {
            page: self.cursor.page.take(),
            repository: Some(place.repository),
            tag_page: place.tag_page,
            tag: place.tag,
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
            | Wait::ForSubject
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
