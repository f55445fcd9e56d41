//! Extra tags: those of the destination that no tag of the source is copied to, also in repositories that only the destination has.
//!
//! What must hold: what could not be listed at the source makes nothing extra.

use transship_oci::{Code, DigestTag, Repository, Result, Tag};
use transship_registry::{Listing, PageCursor, RemoteRepository};

use super::{Checked, Finding, Verification, VerifyRule};
use crate::ImageRef;
use crate::send::now;
use crate::walk::{Comparer as _, Visitor as _};

impl<F: FnMut(Checked) + Send + Sync> Verification<'_, F> {
    /// Adds the repositories that only the destination has, as far as the rule would write to them. Returns why they are not
    /// looked for, if so.
    pub(super) async fn find_others(&mut self) -> Result<Option<String>> {
        let VerifyRule {
            rule,
            source,
            destination,
            ..
        } = self.verify;
        if rule.source.named_repositories().is_some() {
            // Every one was walked.
            return Ok(None);
        }
        if self.is_cut {
            return Ok(Some(
                "the list of repositories of the source could not be read whole".to_owned(),
            ));
        }
        if !rule.is_invertible() {
            let why = "the naming of the rule does not tell which repository of the source a repository of the destination belongs to";
            return Ok(Some(why.to_owned()));
        }
        let mut page: Option<PageCursor> = None;
        loop {
            let listed = match destination.catalog_page(page.as_ref()).await {
                Ok(Listing::Page(listed)) => listed,
                Ok(Listing::Refused(why)) => return Ok(Some(why)),
                Err(error) => return Ok(Some(error.to_string())),
            };
            let mut others: Vec<(Repository, Repository)> = Vec::new();
            listed.for_each(|repository: Repository| {
                if !self.repositories.contains(&repository)
                    && let Some(at_source) = rule.source_repository(&repository)
                {
                    others.push((repository, at_source));
                }
            });
            page = listed.next().cloned();
            drop(listed);
            for (repository, at_source) in others {
                // It may be new since the walk, or be left out of the catalog.
                self.list_at_source(&source.repository(at_source.clone()), &at_source, &repository)
                    .await?;
                self.repositories.insert(repository);
            }
            if page.is_none() {
                return Ok(None);
            }
        }
    }

    /// Notes the tags of a repository of the source that was not walked.
    async fn list_at_source(
        &mut self,
        remote: &RemoteRepository,
        at_source: &Repository,
        repository: &Repository,
    ) -> Result<()> {
        let mut page: Option<PageCursor> = None;
        loop {
            match remote.tags_page(page.as_ref()).await {
                Ok(Listing::Page(listed)) => {
                    self.list(self.checks.list(at_source, &listed));
                    page = listed.next().cloned();
                }
                Err(error) if error.persistence().is_temporary() || page.is_some() => {
                    self.unread.insert(repository.clone());
                    self.unknown_destination(repository, error.kind(), error.to_string());
                    return Ok(());
                }
                // Many registries deny access to what does not exist.
                Ok(Listing::Refused(_)) | Err(_) => return Ok(()),
            }
            if page.is_none() {
                return Ok(());
            }
        }
    }

    /// Those of `tags` that another rule did not write, as far as the ledger knows.
    async fn not_of_others(&self, repository: &Repository, tags: Vec<Tag>) -> Result<Vec<Tag>> {
        let verify = self.verify;
        let places: Vec<ImageRef> = tags.iter().map(|tag| verify.at(repository, tag.clone())).collect();
        let known = verify.ledger.replicas.find(&places).await?;
        let is_foreign = |place: &ImageRef| known.get(place).is_some_and(|replica| replica.rule != verify.rule.name);
        let kept = tags.into_iter().zip(&places).filter(|(_, place)| !is_foreign(place));
        Ok(kept.map(|(tag, _)| tag).collect())
    }

    /// Reports the tags of the destination that no tag of the source is copied to.
    pub(super) async fn extras(&mut self) -> Result<()> {
        let verify = self.verify;
        for repository in std::mem::take(&mut self.repositories) {
            if self.unread.contains(&repository) {
                continue;
            }
            let remote = verify.destination.repository(repository.clone());
            let mut page: Option<PageCursor> = None;
            loop {
                let listed = match remote.tags_page(page.as_ref()).await {
                    Ok(Listing::Page(listed)) => listed,
                    Ok(Listing::Refused(how)) => {
                        self.unknown_destination(&repository, Code::SweepNoTags, how);
                        break;
                    }
                    Err(error) => {
                        self.unknown_destination(&repository, error.kind(), error.to_string());
                        break;
                    }
                };
                let mut extra = Vec::new();
                listed.for_each(|tag| {
                    if DigestTag::of(&tag).is_none() && !self.named.contains(&self.checks.hash(&repository, &tag)) {
                        extra.push(tag);
                    }
                });
                page = listed.next().cloned();
                drop(listed);
                let extra = self.not_of_others(&repository, extra).await?;
                let checked = now(verify.clock.as_ref());
                for tag in extra {
                    let destination = verify.at(&repository, tag).to_string();
                    let code = Code::ExtraTag;
                    let row = Checked {
                        source: String::new(),
                        destination,
                        state: Finding::Extra,
                        reason: Some(code.meaning().to_owned()),
                        code: Some(code.as_str().to_owned()),
                        checked,
                        source_digest: None,
                        destination_digest: None,
                        since: None,
                    };
                    self.add(row);
                }
                if page.is_none() {
                    break;
                }
            }
        }
        Ok(())
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
