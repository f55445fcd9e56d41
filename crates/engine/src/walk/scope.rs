//! What a walk reads of the names of a registry: pages of repositories and of tags, and which of them are of the rule.

use transship_oci::{Code, Error, Repository, Result, Tag, Target, Verb};
use transship_registry::{Listing, Page, PageCursor, Registry};
use transship_rules::{Destination, LatestTags, Pushed, Rule, Verdict};

use super::names::Selected;
use super::{Narrow, Pair};
use crate::ImageRef;
use crate::latest::latest_tags;
use crate::plan::destination_of;

/// The names that a walk is about.
pub(super) struct Scope<'a> {
    pub(super) rule: &'a Rule,
    pub(super) source: Registry,
    pub(super) narrow: Narrow,
}

/// Repositories of the rule on one page of the catalog.
pub(super) struct Repositories {
    pub(super) names: Selected<Repository>,
    pub(super) next: Option<PageCursor>,
}

impl<'a> Scope<'a> {
    /// The first `limit` repositories of the rule on a page, from the repository `at` on. `SWEEP_NO_CATALOG` if the registry does not
    /// say what it has.
    pub(super) async fn repositories(
        &self,
        page: Option<&PageCursor>,
        at: Option<&Repository>,
        limit: usize,
    ) -> Result<Repositories> {
        let is_next = |repository: &Repository| at.is_none_or(|at| repository >= at);
        let known = match &self.narrow.repository {
            Some(only) => Some(vec![only.clone()]),
            None => self.rule.source.named_repositories(),
        };
        if let Some(mut named) = known {
            named.retain(|repository| is_next(repository) && self.rule.source.holds(repository));
            named.sort_unstable();
            named.dedup();
            let names = Selected {
                selected: named,
                is_cut: false,
            };
            return Ok(Repositories { names, next: None });
        }
        match self.source.catalog_page(page).await? {
            Listing::Page(page) => Ok(Repositories {
                names: Selected::of(&page, limit, |repository| {
                    is_next(repository) && self.rule.source.holds(repository)
                }),
                next: page.next().cloned(),
            }),
            Listing::Refused(how) => {
                let why = format!(
                    "{how}; name the repositories (source.repository: [NAME, NAME]), or allow this login to list the catalog"
                );
                let operation = Verb::Catalog.on(self.source.host());
                Err(Error::of(Code::SweepNoCatalog, operation).because(why))
            }
        }
    }

    /// A page of the tags of `repository`. `SWEEP_NO_TAGS` if the registry does not list them.
    pub(super) async fn tags(&self, repository: &Repository, page: Option<&PageCursor>) -> Result<Page<Tag>> {
        match self.source.repository(repository.clone()).tags_page(page).await? {
            Listing::Page(page) => Ok(page),
            Listing::Refused(how) => {
                let operation = Verb::TagsList.on(format_args!("{}/{repository}", self.source.host()));
                Err(Error::of(Code::SweepNoTags, operation).because(how))
            }
        }
    }

    /// The tags of `repository` that count as the latest; [`None`]: all. It depends on all pages of its tags.
    pub(super) async fn latest(&self, repository: &Repository) -> Result<Option<LatestTags<'a>>> {
        let listed = self.source.repository(repository.clone());
        latest_tags(&self.rule.source, &listed, None).await
    }

    /// Both sides of a tag; [`None`] if it is not of the rule.
    pub(super) fn pair(&self, repository: &Repository, tag: &Tag) -> Option<Pair> {
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

    /// True if the tag is of the rule.
    pub(super) fn selects(&self, repository: &Repository, tag: &Tag) -> bool {
        self.destination_of(repository, tag).is_some()
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
}
