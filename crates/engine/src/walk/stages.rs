//! The stages of a walk, which work at the same time: repositories are named, their tags are listed, the tags are compared, and
//! what was found is given on in the order of the names.

use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};
use transship_copy::memory::SMALL_BODY_BYTES;
use transship_oci::{Error, Repository, Result, Tag};
use transship_registry::PageCursor;
use transship_rules::LatestTags;

use super::ahead::{self, Ahead};
use super::in_order::{Ended, in_order, send};
use super::names::{Collected, Selected};
use super::scope::Scope;
use super::{Comparer, Known, Pair};
use crate::job::Cursor;

/// Repositories whose tags are listed before it is their turn.
const LISTED_AHEAD: usize = 64;
/// The tags of a repository that is listed ahead, at most. Of others one page is held at a time.
const TAGS_AHEAD_MAX: usize = 100;
/// Tags that are compared at the same time, at most. What a registry bears of it decides how many requests are in progress
/// ([`transship_registry`]); the others wait behind one that is slow to be answered.
const COMPARED_AHEAD: usize = 256;
/// After so many failures at one place, digest tags are asked for one by one, because listing all may not fit into a slot.
const DIGEST_TAGS_STUCK_MAX: u32 = 3;

/// Names one look of a walk.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) repository: Repository,
    pub(super) tag_page: Option<PageCursor>,
    pub(super) tag: Option<Tag>,
}

/// What a walk comes to, in its order.
pub(super) enum Step<T, L> {
    /// A tag, and what is or was found out about it.
    Tag(Place, T),
    /// Anything else.
    Mark(Mark<L>),
}

/// What a walk comes to beside tags.
pub(super) enum Mark<L> {
    /// A page of repositories begins.
    Page(PageCursor),
    /// A repository begins.
    Repository(Repository),
    /// A page of tags was listed.
    Listed(L),
    /// Nothing up to here is left to look at.
    Past(Place),
    /// The tags of a repository could not be listed.
    Unlisted(Place, Error),
    /// The repositories could not be listed.
    Failed(Error),
    /// The message has looked at enough.
    Enough,
}

/// A tag before it is compared.
pub(super) struct Look {
    pair: Pair,
    digest_tags: Arc<Collected>,
    is_destination_empty: bool,
}

/// What the first stage names.
enum Named<L> {
    /// A repository, and whether an earlier message looked at a part of it.
    Repository(Repository, bool),
    Mark(Mark<L>),
}

/// What the second stage makes of it.
enum Listed<L> {
    /// All its tags are on one page, and few.
    Small(Small<L>),
    /// It is listed when it is its turn.
    Later(Repository, bool),
    Mark(Mark<L>),
}

struct Small<L> {
    repository: Repository,
    listed: L,
    tags: Vec<Tag>,
    digest_tags: Collected,
    is_destination_empty: bool,
}

/// The stages of one walk.
pub(super) struct Stages<'a, C> {
    pub(super) scope: Scope<'a>,
    pub(super) comparer: &'a C,
    /// Repositories that the first page will probably name.
    pub(super) expected: Vec<Repository>,
    /// Where the walk begins.
    pub(super) from: Cursor,
    /// Tags and pages that may be looked at.
    pub(super) looks: usize,
    /// How often the walk could not go on from there.
    pub(super) stuck: u32,
}

impl<C: Comparer> Stages<'_, C> {
    /// Gives everything that the walk comes to, until the end of its names or of what it may look at.
    pub(super) async fn run(&self, found: Sender<Step<Result<C::Found>, C::Listed>>) {
        // What stopped the walk is passed in small steps.
        let (listed_ahead, compared_ahead) = match self.stuck {
            0 => (LISTED_AHEAD, COMPARED_AHEAD),
            stuck => (1, (COMPARED_AHEAD >> stuck.min(8)).max(1)),
        };
        let (to_list, named) = mpsc::channel(1);
        let (to_step, listed) = mpsc::channel(1);
        let (to_compare, looks) = mpsc::channel(1);
        let expected = self.expected.iter().take(listed_ahead);
        let (ahead, orders) = Ahead::new(expected.filter(|name| self.scope.rule.source.holds(name)));
        // A stage that ends early has told the next ones.
        let _ = tokio::join!(
            self.name(to_list),
            ahead::work(orders, async |repository| self.small(&repository).await),
            in_order(named, to_step, listed_ahead, |named| self.list(named, &ahead)),
            self.step(listed, to_compare),
            in_order(looks, found, compared_ahead, |step| self.compare(step)),
        );
    }

    async fn name(&self, to: Sender<Named<C::Listed>>) -> Result<(), Ended> {
        let (mut page, mut at) = (self.from.page.clone(), self.from.repository.as_ref());
        loop {
            let listed = match self.scope.repositories(page.as_ref(), at, self.looks).await {
                Ok(listed) => listed,
                Err(error) => return send(&to, Named::Mark(Mark::Failed(error))).await,
            };
            for repository in listed.names.selected {
                let is_at_work = at == Some(&repository);
                send(&to, Named::Repository(repository, is_at_work)).await?;
            }
            if listed.names.is_cut {
                return send(&to, Named::Mark(Mark::Enough)).await;
            }
            let Some(next) = listed.next else { return Ok(()) };
            send(&to, Named::Mark(Mark::Page(next.clone()))).await?;
            (page, at) = (Some(next), None);
        }
    }

    async fn list(&self, named: Named<C::Listed>, ahead: &Ahead<Option<Small<C::Listed>>>) -> Listed<C::Listed> {
        match named {
            Named::Mark(mark) => Listed::Mark(mark),
            Named::Repository(repository, true) => Listed::Later(repository, true),
            Named::Repository(repository, false) => {
                let small = match ahead.take(&repository).await {
                    Some(small) => small,
                    None => self.small(&repository).await,
                };
                match small {
                    Some(small) => Listed::Small(small),
                    None => Listed::Later(repository, false),
                }
            }
        }
    }

    /// The tags of a small repository; [`None`] if it is not, or cannot be listed: then it is listed again when it is its turn.
    async fn small(&self, repository: &Repository) -> Option<Small<C::Listed>> {
        // Which tags are the latest depends on all pages.
        if self.stuck > 0 || self.scope.rule.source.latest.is_some() {
            return None;
        }
        let small = async {
            // The page is not held while the destination answers.
            let listed = self.scope.tags(repository, None).await.ok()?;
            if listed.next().is_some() || listed.bytes() > SMALL_BODY_BYTES {
                return None;
            }
            let select = |tag: &Tag| self.scope.selects(repository, tag);
            let tags = Selected::of(&listed, TAGS_AHEAD_MAX + 1, select);
            if tags.is_cut {
                return None;
            }
            let mut digest_tags = Collected::default();
            if !tags.selected.is_empty() {
                digest_tags.add(&listed);
            }
            Some(Small {
                repository: repository.clone(),
                listed: self.comparer.list(repository, &listed),
                tags: tags.selected,
                digest_tags,
                is_destination_empty: false,
            })
        };
        let (small, is_destination_empty) = tokio::join!(small, self.comparer.is_destination_empty(repository));
        Some(Small {
            is_destination_empty,
            ..small?
        })
    }

    async fn step(
        &self,
        mut listed: Receiver<Listed<C::Listed>>,
        to: Sender<Step<Look, C::Listed>>,
    ) -> Result<(), Ended> {
        let mut looks = Looks { left: self.looks, to };
        while let Some(listed) = listed.recv().await {
            let is_enough = match listed {
                Listed::Mark(mark) => {
                    looks.mark(mark).await?;
                    false
                }
                _ if looks.left == 0 => true,
                Listed::Small(small) => self.step_small(small, &mut looks).await?,
                Listed::Later(repository, is_at_work) => self.step_pages(repository, is_at_work, &mut looks).await?,
            };
            if is_enough {
                return looks.mark(Mark::Enough).await;
            }
        }
        Ok(())
    }

    /// True if there are more tags than may be looked at.
    async fn step_small(&self, small: Small<C::Listed>, looks: &mut Looks<C::Listed>) -> Result<bool, Ended> {
        let Small {
            repository,
            listed,
            tags,
            digest_tags,
            is_destination_empty,
        } = small;
        looks.mark(Mark::Repository(repository.clone())).await?;
        looks.listed(listed).await?;
        let mut place = Place {
            repository,
            tag_page: None,
            tag: None,
        };
        if tags.is_empty() {
            looks.mark(Mark::Past(place)).await?;
            return Ok(false);
        }
        let known = (&Arc::new(digest_tags), is_destination_empty);
        self.step_tags(&mut place, tags, known, looks).await
    }

    /// Lists the tags of a repository page by page. True if there are more than may be looked at.
    async fn step_pages(
        &self,
        repository: Repository,
        is_at_work: bool,
        looks: &mut Looks<C::Listed>,
    ) -> Result<bool, Ended> {
        let at = Some(&self.from).filter(|_| is_at_work);
        let mut place = Place {
            repository,
            tag_page: at.and_then(|at| at.tag_page.clone()),
            tag: at.and_then(|at| at.tag.clone()),
        };
        let latest = match self.scope.latest(&place.repository).await {
            Ok(latest) => latest,
            Err(error) => {
                looks.mark(Mark::Unlisted(place, error)).await?;
                return Ok(false);
            }
        };
        if !is_at_work {
            looks.mark(Mark::Repository(place.repository.clone())).await?;
        }
        let is_destination_empty = self.stuck == 0 && self.comparer.is_destination_empty(&place.repository).await;
        let mut digest_tags: Option<Arc<Collected>> = None;
        loop {
            let limit = looks.left.saturating_sub(1).max(1);
            let (listed, tags, next) = match self.page(&place, limit, latest.as_ref(), &mut digest_tags).await {
                Ok(page) => page,
                Err(error) => {
                    looks.mark(Mark::Unlisted(place, error)).await?;
                    return Ok(false);
                }
            };
            looks.listed(listed).await?;
            let is_cut = tags.is_cut;
            if tags.selected.is_empty() {
                looks.mark(Mark::Past(place.clone())).await?;
            } else {
                let known = (&*digest_tags.get_or_insert_default(), is_destination_empty);
                if self.step_tags(&mut place, tags.selected, known, looks).await? {
                    return Ok(true);
                }
            }
            if is_cut {
                return Ok(true);
            }
            let Some(next) = next else { return Ok(false) };
            (place.tag_page, place.tag) = (Some(next), None);
            looks.mark(Mark::Past(place.clone())).await?;
            if looks.left == 0 {
                return Ok(true);
            }
        }
    }

    /// Tags of the rule on the page of `place` that are after it, and the next page. `digest_tags` are collected when they are needed
    /// first.
    async fn page(
        &self,
        place: &Place,
        limit: usize,
        latest: Option<&LatestTags<'_>>,
        digest_tags: &mut Option<Arc<Collected>>,
    ) -> Result<(C::Listed, Selected<Tag>, Option<PageCursor>)> {
        let repository = &place.repository;
        let listed = self.scope.tags(repository, place.tag_page.as_ref()).await?;
        let seen = self.comparer.list(repository, &listed);
        let is_next = |tag: &Tag| place.tag.as_ref().is_none_or(|after| tag > after);
        let tags = Selected::of(&listed, limit, |tag| {
            let is_selected = latest.is_none_or(|latest| latest.has(tag));
            is_next(tag) && is_selected && self.scope.selects(repository, tag)
        });
        let next = listed.next().cloned();
        if digest_tags.is_none() && !tags.selected.is_empty() {
            let mut collected = Collected::default();
            collected.add(&listed);
            // One page is held at a time.
            drop(listed);
            let is_first = place.tag_page.is_none();
            if !is_first || next.is_some() {
                let from = next.clone().filter(|_| is_first);
                let source = self.scope.source.repository(repository.clone());
                let fits = self.stuck < DIGEST_TAGS_STUCK_MAX;
                collected.add_pages(&source, from, fits).await?;
            }
            *digest_tags = Some(Arc::new(collected));
        }
        Ok((seen, tags, next))
    }

    /// Gives some tags of the page of `place`, which moves past them. True if there are more than may be looked at.
    async fn step_tags(
        &self,
        place: &mut Place,
        tags: Vec<Tag>,
        (digest_tags, is_destination_empty): (&Arc<Collected>, bool),
        looks: &mut Looks<C::Listed>,
    ) -> Result<bool, Ended> {
        for tag in tags {
            if looks.left == 0 {
                return Ok(true);
            }
            let Some(pair) = self.scope.pair(&place.repository, &tag) else {
                continue;
            };
            place.tag = Some(tag);
            let look = Look {
                pair,
                digest_tags: Arc::clone(digest_tags),
                is_destination_empty,
            };
            looks.tag(place.clone(), look).await?;
        }
        Ok(false)
    }

    async fn compare(&self, step: Step<Look, C::Listed>) -> Step<Result<C::Found>, C::Listed> {
        match step {
            Step::Tag(place, look) => {
                let known = Known {
                    digest_tags: look.digest_tags.all(),
                    is_destination_empty: look.is_destination_empty,
                };
                Step::Tag(place, self.comparer.compare(look.pair, known).await)
            }
            Step::Mark(mark) => Step::Mark(mark),
        }
    }
}

/// Counts what is given to be looked at.
struct Looks<L> {
    left: usize,
    to: Sender<Step<Look, L>>,
}

impl<L> Looks<L> {
    async fn mark(&self, mark: Mark<L>) -> Result<(), Ended> {
        send(&self.to, Step::Mark(mark)).await
    }

    async fn listed(&mut self, listed: L) -> Result<(), Ended> {
        self.left = self.left.saturating_sub(1);
        self.mark(Mark::Listed(listed)).await
    }

    async fn tag(&mut self, place: Place, look: Look) -> Result<(), Ended> {
        self.left = self.left.saturating_sub(1);
        send(&self.to, Step::Tag(place, look)).await
    }
}
