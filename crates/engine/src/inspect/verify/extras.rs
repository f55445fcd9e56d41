//! Extra tags: those of the destination that no tag of the source is copied to, also in repositories that only the destination has.
//!
//! What must hold: what could not be listed at the source makes nothing extra.

use std::ops::Bound;

use transship_oci::{Code, DigestTag, Error, Repository, Result, Tag};
use transship_registry::{Listing, PageCursor};

use super::slice::{Slot, Step};
use super::{Checked, Finding, Verification, name_hash};
use crate::job::Cursor;
use crate::send::now;
use crate::walk::{Comparer as _, Visitor as _};
use crate::{ImageRef, Replica};

impl<F: FnMut(Checked) + Send + Sync> Verification<'_, F> {
    /// Adds the repositories that only the destination has, as far as the rule would write to them, or notes why they are not looked
    /// for.
    pub(super) async fn find_others(&mut self, slot: &mut Slot) -> Result<Step> {
        let rule = self.verify.rule;
        if rule.source.named_repositories().is_some() {
            // Every one was walked.
            return Ok(self.searched(None));
        }
        if self.place.is_cut {
            let why = "the list of repositories of the source could not be read whole";
            return Ok(self.searched(Some(why.to_owned())));
        }
        if !rule.is_invertible() {
            let why = "the naming of the rule does not tell which repository of the source a repository of the destination belongs to";
            return Ok(self.searched(Some(why.to_owned())));
        }
        while !slot.is_over() {
            let listing = self.verify.destination.catalog_page(self.place.cursor.page.as_ref());
            let listed = match slot.within(listing).await {
                None => break,
                Some(Ok(Listing::Page(listed))) => listed,
                Some(Ok(Listing::Refused(why))) => return Ok(self.searched(Some(why))),
                Some(Err(error)) if self.may_pass(&error) => return Ok(Step::Stopped(error)),
                Some(Err(error)) => return Ok(self.searched(Some(error.to_string()))),
            };
            slot.look();
            let mut others: Vec<(Repository, Repository)> = Vec::new();
            let after = self.place.cursor.repository.clone();
            listed.for_each(|repository: Repository| {
                let is_next = after.as_ref().is_none_or(|after| repository > *after);
                if is_next
                    && !self.seen.repositories.contains(&repository)
                    && let Some(at_source) = rule.source_repository(&repository)
                {
                    others.push((repository, at_source));
                }
            });
            let next = listed.next().cloned();
            drop(listed);
            // The cursor names the last one.
            others.sort_unstable();
            for (repository, at_source) in others {
                if slot.is_over() {
                    return Ok(Step::Enough);
                }
                // It may be new since the walk, or be left out of the catalog.
                let listing = self.list_at_source(&at_source, &repository);
                match slot.within(listing).await {
                    None => return Ok(Step::Enough),
                    Some(Some(error)) => return Ok(Step::Stopped(error)),
                    Some(None) => {}
                }
                slot.look();
                self.seen.repositories.insert(repository.clone());
                self.place.move_to(Cursor {
                    repository: Some(repository),
                    ..self.place.cursor.clone()
                });
            }
            let Some(next) = next else {
                return Ok(self.searched(None));
            };
            self.place.move_to(Cursor {
                page: Some(next),
                ..Cursor::default()
            });
        }
        Ok(Step::Enough)
    }

    /// The search for repositories is over; `why` it was not made, if so.
    fn searched(&mut self, why: Option<String>) -> Step {
        self.place.summary.unsearched = why;
        self.place.begin_next();
        Step::Next
    }

    /// Notes the tags of a repository of the source that was not walked. Returns the error that another attempt may not meet.
    async fn list_at_source(&mut self, at_source: &Repository, repository: &Repository) -> Option<Error> {
        let remote = self.verify.source.repository(at_source.clone());
        let mut page: Option<PageCursor> = None;
        loop {
            match remote.tags_page(page.as_ref()).await {
                Ok(Listing::Page(listed)) => {
                    self.list(self.checks.list(at_source, &listed));
                    page = listed.next().cloned();
                }
                Err(error) if self.may_pass(&error) => return Some(error),
                Err(error) if error.persistence().is_temporary() || page.is_some() => {
                    self.seen.unread.insert(repository.clone());
                    self.unknown_destination(repository, error.kind(), error.to_string());
                    return None;
                }
                // Many registries deny access to what does not exist.
                Ok(Listing::Refused(_)) | Err(_) => return None,
            }
            page.as_ref()?;
        }
    }

    /// Those of `tags` that are not known to be copies of an image of the source: what another rule wrote is its own, and what this
    /// rule wrote since the verification began was pushed to the source meanwhile.
    async fn not_explained(&self, repository: &Repository, tags: Vec<Tag>) -> Result<Vec<Tag>> {
        let verify = self.verify;
        let places: Vec<ImageRef> = tags.iter().map(|tag| verify.at(repository, tag.clone())).collect();
        let known = verify.ledger.replicas.find(&places).await?;
        let is_explained = |place: &ImageRef| {
            let is_ours = |replica: &Replica| replica.rule == verify.rule.name;
            let known = known.get(place);
            known.is_some_and(|replica| !is_ours(replica) || replica.written >= self.place.began)
        };
        let kept = tags.into_iter().zip(&places).filter(|(_, place)| !is_explained(place));
        Ok(kept.map(|(tag, _)| tag).collect())
    }

    /// Reports the tags of the destination that no tag of the source is copied to.
    pub(super) async fn extras(&mut self, slot: &mut Slot) -> Result<Step> {
        let verify = self.verify;
        loop {
            let from = self.place.cursor.repository.clone();
            let begin = from.as_ref().map_or(Bound::Unbounded, Bound::Included);
            let rest = self.seen.repositories.range((begin, Bound::Unbounded));
            let mut left = rest.filter(|repository| !self.seen.unread.contains(*repository));
            let Some(repository) = left.next().cloned() else {
                self.place.begin_next();
                return Ok(Step::Next);
            };
            let following = left.next().cloned();
            if slot.is_over() {
                return Ok(Step::Enough);
            }
            let page = self
                .place
                .cursor
                .tag_page
                .clone()
                .filter(|_| from.as_ref() == Some(&repository));
            let remote = verify.destination.repository(repository.clone());
            let Some(listed) = slot.within(remote.tags_page(page.as_ref())).await else {
                return Ok(Step::Enough);
            };
            slot.look();
            let next = match listed {
                Ok(Listing::Page(listed)) => {
                    let mut extra = Vec::new();
                    listed.for_each(|tag| {
                        let is_named = self.seen.named.contains(&name_hash(&repository, &tag));
                        if DigestTag::of(&tag).is_none() && !is_named {
                            extra.push(tag);
                        }
                    });
                    let next = listed.next().cloned();
                    drop(listed);
                    for tag in self.not_explained(&repository, extra).await? {
                        self.add_extra(&repository, tag);
                    }
                    next
                }
                Ok(Listing::Refused(how)) => {
                    self.unknown_destination(&repository, Code::SweepNoTags, how);
                    None
                }
                Err(error) if self.may_pass(&error) => return Ok(Step::Stopped(error)),
                Err(error) => {
                    self.unknown_destination(&repository, error.kind(), error.to_string());
                    None
                }
            };
            let is_last = next.is_none();
            let Some(repository) = Some(repository).filter(|_| !is_last).or(following) else {
                self.place.begin_next();
                return Ok(Step::Next);
            };
            self.place.move_to(Cursor {
                repository: Some(repository),
                tag_page: next,
                ..Cursor::default()
            });
        }
    }

    fn add_extra(&mut self, repository: &Repository, tag: Tag) {
        let code = Code::ExtraTag;
        self.add(Checked {
            source: String::new(),
            destination: self.verify.at(repository, tag).to_string(),
            state: Finding::Extra,
            reason: Some(code.meaning().to_owned()),
            code: Some(code.as_str().to_owned()),
            checked: now(self.verify.clock.as_ref()),
            source_digest: None,
            destination_digest: None,
            since: None,
        });
    }

    fn unknown_destination(&mut self, repository: &Repository, code: Code, reason: String) {
        let row = Checked {
            source: String::new(),
            destination: format!("{}/{repository}", self.verify.rule.destination.registry),
            state: Finding::Unknown,
            reason: Some(reason),
            code: Some(code.as_str().to_owned()),
            checked: now(self.verify.clock.as_ref()),
            source_digest: None,
            destination_digest: None,
            since: None,
        };
        self.add(row);
    }
}
