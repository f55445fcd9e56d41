//! What lies under a prefix: layouts, archives and the repositories of storage trees, found in one pass over the listing.
//!
//! A bucket may hold millions of objects and few sources. So the listing is read page by page and nothing of it is kept but
//! the folders that may still turn out to be layouts; and where a whole page lies within blobs, the rest of them is jumped
//! over.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::found::{layout_folder, split, tree};
use crate::layout::{INDEX, MARKER};
use crate::{Error, ErrorKind, Found, ObjectStore, PAGE_MAX, Result};

/// Everything that can be taken from below `prefix` (empty, ending in `/`, or the key of one archive), in the order in which
/// the listing ends them. A layout of which only a part is there yet is among it: see [`crate::Layout::completeness`].
/// The stream ends with `SOURCE_EMPTY` if there is nothing.
pub fn discover(store: Arc<dyn ObjectStore>, prefix: &str) -> BoxStream<'static, Result<Found>> {
    let walk = Walk::new(prefix);
    let start = (store, walk, false);
    stream::try_unfold(start, |(store, mut walk, mut is_over)| async move {
        loop {
            if let Some(found) = walk.found.pop_front() {
                walk.has_any = true;
                return Ok(Some((found, (store, walk, is_over))));
            }
            if is_over {
                let empty = || ErrorKind::SourceEmpty(format!("{}/{}", store.name(), walk.prefix));
                let operation = || format!("import {}", walk.prefix);
                return if walk.has_any {
                    Ok(None)
                } else {
                    Err(Error::new(empty(), operation()))
                };
            }
            is_over = walk.next_page(store.as_ref()).await?;
        }
    })
    .boxed()
}

/// Folders that may be layouts, by what was seen of them.
#[derive(Debug, Default)]
struct Folder {
    path: String,
    has_marker: bool,
    has_index: bool,
    has_blobs: bool,
}

struct Walk {
    prefix: String,
    after: Option<String>,
    found: VecDeque<Found>,
    has_any: bool,
    /// Those the listing has not left yet.
    folders: Vec<Folder>,
    /// Keys up to this one are of no interest.
    skip_to: Option<String>,
    /// The repository told last.
    repository: Option<Found>,
}

impl Walk {
    fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            after: None,
            found: VecDeque::new(),
            has_any: false,
            folders: Vec::new(),
            skip_to: None,
            repository: None,
        }
    }

    /// Takes one more page; true if it was the last.
    async fn next_page(&mut self, store: &dyn ObjectStore) -> Result<bool> {
        let is_first = self.after.is_none();
        if is_first && !self.prefix.is_empty() && !self.prefix.ends_with('/') {
            self.take_itself(store).await?;
            return Ok(!self.found.is_empty());
        }
        let page = store.list(&self.prefix, self.after.as_deref(), PAGE_MAX).await?;
        for object in &page.objects {
            if self.skip_to.as_ref().is_none_or(|skip_to| object.key > *skip_to) {
                self.skip_to = None;
                self.take(&object.key);
            }
        }
        let last = page.objects.last().map(|last| last.key.clone());
        self.after = self.skip_to.clone().max(last);
        if page.is_last || self.after.is_none() {
            self.leave("");
            return Ok(true);
        }
        Ok(false)
    }

    /// A prefix that is the key of an archive is that archive; any other is a folder whose slash was left out.
    async fn take_itself(&mut self, store: &dyn ObjectStore) -> Result<()> {
        let (folder, name) = split(&self.prefix);
        if let Some(found) = Found::archive(folder, name)
            && store.head(&self.prefix).await?.is_some()
        {
            self.found.push_back(Found {
                path: String::new(),
                ..found
            });
        } else {
            self.prefix.push('/');
        }
        Ok(())
    }

    fn take(&mut self, key: &str) {
        let Some(below) = key.strip_prefix(&self.prefix) else {
            return;
        };
        let below = below.to_owned();
        self.leave(&below);
        if let Some((root, rest)) = tree(&below) {
            self.take_of_tree(root, rest);
        } else if let Some(folder) = layout_folder(&below) {
            self.take_of_layout(folder, &below[folder.len()..]);
        } else if let Some(found) = Found::archive(&self.prefix, &below) {
            self.found.push_back(found);
        }
    }

    fn take_of_tree(&mut self, root: &str, rest: &str) {
        let within = |end: usize| format!("{}{root}{}~", self.prefix, &rest[..end]);
        let parts = ["/_layers/", "/_manifests/", "/_uploads/"];
        let part = parts
            .iter()
            .filter_map(|part| Some(rest.find(part)? + part.len()))
            .min();
        if rest.starts_with("blobs/") {
            self.skip_to = Some(within("blobs/".len()));
        } else if let Some(end) = part {
            self.skip_to = Some(within(end));
        }
        let found = Found::repository_of(&self.prefix, root, rest);
        if let Some(found) = found.filter(|found| self.repository.as_ref() != Some(found)) {
            self.repository = Some(found.clone());
            self.found.push_back(found);
        }
    }

    fn take_of_layout(&mut self, path: &str, name: &str) {
        let at = self.folders.iter().position(|folder| folder.path == path);
        let at = at.unwrap_or_else(|| {
            self.folders.push(Folder {
                path: path.to_owned(),
                ..Folder::default()
            });
            self.folders.len() - 1
        });
        let Some(folder) = self.folders.get_mut(at) else { return };
        match name {
            MARKER => folder.has_marker = true,
            INDEX => folder.has_index = true,
            _ => {
                folder.has_blobs = true;
                self.skip_to = Some(format!("{}{path}blobs/~", self.prefix));
            }
        }
    }

    /// Folders that `below` is not in will not be seen again: the listing is in the order of keys. Empty: all of them.
    fn leave(&mut self, below: &str) {
        let is_left = |folder: &mut Folder| below.is_empty() || !below.starts_with(&folder.path);
        for folder in self.folders.extract_if(.., is_left) {
            // Any web page may have an index.json; a layout has more than that.
            if folder.has_marker || (folder.has_index && folder.has_blobs) {
                self.found.push_back(Found::layout(&self.prefix, &folder.path));
            }
        }
    }
}
