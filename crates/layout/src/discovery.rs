//! Discovers sources below a prefix (layouts, archives and repositories of storage trees) in one pass over the listing, which
//! can be interrupted after every page and resumed elsewhere.
//!
//! A bucket may contain millions of objects and few sources. The listing is read page by page, and only the folders that may
//! still be layouts are kept. If a whole page is within blobs, the remaining blobs are skipped. These folders are always
//! parents of the last key, so that a length is enough to store each, and the state stays small as JSON.

use crate::store::empty;
use serde::{Deserialize, Serialize};

use crate::layout::{INDEX, MARKER};
use crate::source_ref::{layout_folder, split, tree};
use crate::{ObjectStore, PAGE_MAX, SourceRef};
use transship_oci::{Error, Result, Verb};

/// The state of a discovery. It is serializable, so that a message can contain it between two pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    prefix: String,
    /// The last key that was read or skipped to; [`None`] at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// The folders that the listing has not left yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    folders: Vec<Folder>,
    /// Keys up to this one are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skip_to: Option<String>,
    /// The repository that was reported last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<SourceRef>,
    #[serde(default)]
    has_any: bool,
    #[serde(default)]
    is_over: bool,
}

/// A folder that may be a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Folder {
    /// Length in bytes of its path, as part of the last key after the prefix. The path is empty or ends in `/`.
    length: usize,
    has_marker: bool,
    has_index: bool,
    has_blobs: bool,
}

impl Folder {
    /// Whether the folder has more than an index.json, which any web page may have.
    const fn is_layout(&self) -> bool {
        self.has_marker || (self.has_index && self.has_blobs)
    }
}

impl Discovery {
    /// Starts a discovery below `prefix`: empty, ending in `/`, a folder without its slash, or the key of one archive.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            after: None,
            folders: Vec::new(),
            skip_to: None,
            repository: None,
            has_any: false,
            is_over: false,
        }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Reads one more page and returns the sources that end in it, possibly none; [`None`] after the last page. Incomplete
    /// layouts are included, see [`crate::inspect`]. `SOURCE_EMPTY` at the end if there were no sources at all. After an error it can
    /// be called again; nothing is lost or reported twice.
    pub async fn next(&mut self, store: &dyn ObjectStore) -> Result<Option<Vec<SourceRef>>> {
        self.next_of(store, PAGE_MAX).await
    }

    /// Like [`Self::next`], with pages of at most `max` keys.
    pub(crate) async fn next_of(&mut self, store: &dyn ObjectStore, max: usize) -> Result<Option<Vec<SourceRef>>> {
        if self.is_over {
            return if self.has_any { Ok(None) } else { Err(self.empty(store)) };
        }
        let found = if self.is_folder() {
            self.page(store, max).await?
        } else {
            self.itself(store).await?
        };
        self.has_any |= !found.is_empty();
        Ok(Some(found))
    }

    fn empty(&self, store: &dyn ObjectStore) -> Error {
        let place = format!("{}/{}", store.name(), self.prefix);
        empty(&place, Verb::Import.on(&self.prefix))
    }

    fn is_folder(&self) -> bool {
        self.prefix.is_empty() || self.prefix.ends_with('/')
    }

    /// A prefix that is the key of an archive means that archive; any other is a folder without its slash.
    async fn itself(&mut self, store: &dyn ObjectStore) -> Result<Vec<SourceRef>> {
        let (folder, name) = split(&self.prefix);
        if let Some(found) = SourceRef::archive(folder, name)
            && store.head(&self.prefix).await?.is_some()
        {
            self.is_over = true;
            let path = String::new();
            return Ok(vec![SourceRef { path, ..found }]);
        }
        self.prefix.push('/');
        Ok(Vec::new())
    }

    async fn page(&mut self, store: &dyn ObjectStore, max: usize) -> Result<Vec<SourceRef>> {
        let page = store.list(&self.prefix, self.after.as_deref(), max).await?;
        let mut found = Vec::new();
        let last = page.objects.last().map(|last| last.key.clone());
        for object in page.objects {
            if self.skip_to.as_ref().is_none_or(|skip_to| object.key > *skip_to) {
                self.skip_to = None;
                self.take(object.key, &mut found);
            }
        }
        if page.is_last || last.is_none() {
            self.leave("", &mut found);
            self.is_over = true;
        }
        // All keys up to that one are below the open folders.
        self.after = self.skip_to.clone().max(last);
        Ok(found)
    }

    fn take(&mut self, key: String, found: &mut Vec<SourceRef>) {
        let Some(below) = key.strip_prefix(&self.prefix).map(str::to_owned) else {
            return;
        };
        self.leave(&below, found);
        self.after = Some(key);
        if let Some((root, rest)) = tree(&below) {
            found.extend(self.take_of_tree(root, rest));
        } else if let Some(folder) = layout_folder(&below) {
            self.take_of_layout(folder, &below[folder.len()..]);
        } else {
            found.extend(SourceRef::archive(&self.prefix, &below));
        }
    }

    fn take_of_tree(&mut self, root: &str, rest: &str) -> Option<SourceRef> {
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
        let found = SourceRef::repository_of(&self.prefix, root, rest);
        let found = found.filter(|found| self.repository.as_ref() != Some(found))?;
        self.repository = Some(found.clone());
        Some(found)
    }

    fn take_of_layout(&mut self, path: &str, name: &str) {
        let folder = match self.folders.iter_mut().find(|folder| folder.length == path.len()) {
            Some(folder) => folder,
            None => self.folders.push_mut(Folder {
                length: path.len(),
                has_marker: false,
                has_index: false,
                has_blobs: false,
            }),
        };
        match name {
            MARKER => folder.has_marker = true,
            INDEX => folder.has_index = true,
            _ => {
                folder.has_blobs = true;
                self.skip_to = Some(format!("{}{path}blobs/~", self.prefix));
            }
        }
    }

    /// Closes the folders that do not contain `below`, because the listing is sorted by key. Empty closes all of them.
    fn leave(&mut self, below: &str, found: &mut Vec<SourceRef>) {
        let seen = self.after.as_deref().and_then(|after| after.strip_prefix(&self.prefix));
        let seen = seen.unwrap_or_default();
        let path = |folder: &Folder| seen.get(..folder.length).unwrap_or_default();
        let is_left = |folder: &mut Folder| below.is_empty() || !below.starts_with(path(folder));
        for folder in self.folders.extract_if(.., is_left) {
            if folder.is_layout() {
                found.push(SourceRef::layout(&self.prefix, path(&folder)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
