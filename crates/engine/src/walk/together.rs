//! Small repositories, looked at together: their tags are listed side by side and compared side by side, while those of the next
//! are listed. Over a long line a walk from repository to repository would wait for most of its time.
//!
//! What must hold: the visitor hears of the repositories one after the other, in their order, as if they were walked one by one.

use std::collections::VecDeque;

use futures_util::{StreamExt as _, stream};
use transship_oci::{Repository, Result, Tag};
use transship_registry::{Listing, Page};

use super::names::{Collected, Selected};
use super::{PARALLEL_TAGS, Pair, STRIDE_TAGS, Visitor, Walk};

/// Repositories whose tags are listed at the same time.
const REPOSITORIES: usize = 16;
/// The tags of a small repository, at most. Larger ones are walked page by page.
const TAGS_MAX: usize = 100;
/// Repositories and tags that are looked at together, at most. They must fit into the time slot of a worker.
const LOOKS_MAX: usize = 2 * STRIDE_TAGS;

/// A small repository: all its tags are on one page.
pub(super) struct Small {
    repository: Repository,
    listed: Page<Tag>,
    pairs: Vec<(Tag, Pair)>,
    digest_tags: Collected,
}

impl Small {
    /// What looking at it costs of [`Walk::looks_left`].
    const fn looks(&self) -> usize {
        1 + self.pairs.len()
    }
}

/// Repositories whose tags were listed ahead, in their order; [`None`]: it is not small, or could not be listed. Then it is listed
/// again, and the visitor hears why not.
pub(super) type Ahead = VecDeque<Option<Small>>;

impl Walk<'_> {
    /// Lists the tags of the next of `repositories`, where those of the first are `listed`.
    pub(super) async fn list_ahead(&self, repositories: &[Repository], listed: usize) -> Ahead {
        // What stopped the walk is passed in small steps. Which tags are the latest depends on all pages.
        if self.stuck > 0 || self.rule.source.latest.is_some() {
            return Ahead::new();
        }
        let next = repositories.iter().take(REPOSITORIES).skip(listed);
        let listings: Vec<_> = next.map(|repository| self.small(repository)).collect();
        stream::iter(listings).buffered(REPOSITORIES).collect().await
    }

    async fn small(&self, repository: &Repository) -> Option<Small> {
        if self.cursor.repository.as_ref() == Some(repository) {
            return None;
        }
        let source = self.source.repository(repository.clone());
        let Ok(Listing::Page(listed)) = source.tags_page(None).await else {
            return None;
        };
        let Selected { selected, is_cut } =
            Selected::of(&listed, TAGS_MAX, |tag| self.destination_of(repository, tag).is_some());
        if is_cut || listed.next().is_some() {
            return None;
        }
        let mut digest_tags = Collected::default();
        if !selected.is_empty() {
            digest_tags.add(&listed);
        }
        let pairs = selected
            .into_iter()
            .filter_map(|tag| Some((tag.clone(), self.pair(repository, &tag)?)))
            .collect();
        Some(Small {
            repository: repository.clone(),
            listed,
            pairs,
            digest_tags,
        })
    }

    /// Looks at the first of `rest` that are small, as many as the message may still look at, while those behind the ones in `ahead`
    /// are listed. Returns how many were looked at.
    pub(super) async fn together<V: Visitor>(
        &mut self,
        ahead: &mut Ahead,
        rest: &[Repository],
        visitor: &mut V,
    ) -> Result<usize> {
        let mut small = Vec::new();
        let mut looks = 0;
        while let Some(Some(one)) = ahead.front()
            && looks + one.looks() <= self.looks_left.min(LOOKS_MAX)
        {
            looks += one.looks();
            small.extend(ahead.pop_front().flatten());
        }
        if small.is_empty() {
            return Ok(0);
        }
        let rest = rest.get(small.len()..).unwrap_or_default();
        let comparisons: Vec<_> = small
            .iter()
            .flat_map(|one| one.pairs.iter().map(move |(_, pair)| (one, pair)))
            .map(|(one, pair)| visitor.compare(pair.clone(), one.digest_tags.all()))
            .collect();
        let comparing = stream::iter(comparisons).buffered(PARALLEL_TAGS).collect::<Vec<_>>();
        let listing = self.list_ahead(rest, ahead.len());
        let (compared, next) = tokio::join!(comparing, listing);
        ahead.extend(next);
        let mut compared = compared.into_iter();
        for one in &small {
            visitor.begin_repository(&one.repository);
            visitor.list(&one.repository, &one.listed);
            let mut found = Vec::new();
            for ((tag, _), compared) in one.pairs.iter().zip(&mut compared) {
                match compared {
                    Ok(one) => found.push(one),
                    Err(error) => self.pass_over(&error, &one.repository, Some(tag), visitor)?,
                }
            }
            visitor.act(found).await?;
            self.looks_left = self.looks_left.saturating_sub(one.looks());
            let last = one.pairs.last().map(|(tag, _)| tag.clone());
            self.move_to(&one.repository, None, last, visitor).await?;
        }
        Ok(small.len())
    }
}
