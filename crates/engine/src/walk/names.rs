//! What a walk takes out of a page of names.

use std::str::FromStr;

use transship_copy::DigestTags;
use transship_oci::{Result, Tag};
use transship_registry::{Listing, Page, PageCursor, RemoteRepository};

/// Pages of tags of one repository that are read for its digest tags alone. If there are more, each digest tag is asked for.
const DIGEST_TAG_PAGES_MAX: usize = 200;

/// Names of one page, sorted, and whether there may be more of them on it.
pub(super) struct Selected<T> {
    pub(super) selected: Vec<T>,
    pub(super) is_cut: bool,
}

impl<T: FromStr + Ord> Selected<T> {
    /// The first `limit` names of `page` that `keep` accepts.
    pub(super) fn of(page: &Page<T>, limit: usize, keep: impl FnMut(&T) -> bool) -> Self {
        let selected = page.select(limit, keep);
        Self {
            is_cut: selected.len() >= limit,
            selected,
        }
    }
}

/// The digest tags of a repository, of all its pages.
pub(super) struct Collected {
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
    pub(super) fn all(&self) -> Option<&DigestTags> {
        Some(&self.tags).filter(|_| self.are_all)
    }

    pub(super) fn add(&mut self, page: &Page<Tag>) {
        page.for_each(|tag| self.are_all &= self.tags.add(&tag));
    }

    /// Adds those of all pages from `page` on, unless they are too many, or too much for this message.
    pub(super) async fn add_pages(
        &mut self,
        source: &RemoteRepository,
        mut page: Option<PageCursor>,
        fits: bool,
    ) -> Result<()> {
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
