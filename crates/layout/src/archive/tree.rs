//! A storage tree in an archive, as a backup of a registry has it.
//!
//! The tree may be anywhere in the archive: `tar czf backup.tgz docker`, `tar czf backup.tgz .` and the same of a folder above
//! or below give the same repositories. The folders above the tree are not part of their names.

use std::collections::BTreeSet;
use std::sync::Arc;

use transship_oci::{Code, Error, Repository, Result, Verb};

use super::ArchiveFiles;
use crate::TreeRepository;
use crate::source_ref::{repository_name, tree};
use crate::storage_tree::ROOT;

/// Maximum number of repositories that a message lists.
const SHOWN_NAMES_MAX: usize = 20;

/// A storage tree in an archive.
#[derive(Clone)]
pub(super) struct ArchivedTree {
    files: Arc<ArchiveFiles>,
    /// The path of the tree, up to its `repositories/`.
    root: String,
    /// The names of all repositories with a tag or a revision, possibly invalid.
    names: Arc<BTreeSet<String>>,
    /// The repository, if it is the only one and has a valid name.
    only: Option<TreeRepository>,
}

impl ArchivedTree {
    /// The tree in `files`; [`None`] if there is none. `ARCHIVE_INVALID` if there are several. `ARCHIVE_TRUNCATED` if the archive
    /// is cut, because a tree has no list of its content.
    pub(super) fn find(files: &Arc<ArchiveFiles>) -> Result<Option<Self>> {
        let operation = || Verb::Read.on(files.name());
        let mut roots: BTreeSet<&str> = BTreeSet::new();
        let mut names: BTreeSet<String> = BTreeSet::new();
        for key in files.keys() {
            let (root, rest) = split(key);
            if let Some(name) = repository_name(rest) {
                roots.insert(root);
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        let mut roots = roots.into_iter();
        let Some(root) = roots.next() else { return Ok(None) };
        if roots.next().is_some() {
            let why = "it contains several storage trees; create one archive for each tree";
            return Err(Error::of(Code::ArchiveInvalid, operation()).because(why));
        }
        if files.is_cut() {
            return Err(Error::of(Code::ArchiveTruncated, operation()));
        }
        let mut tree = Self {
            files: Arc::clone(files),
            root: root.to_owned(),
            names: Arc::new(names),
            only: None,
        };
        let only = tree.names().next().filter(|_| tree.names.len() == 1);
        tree.only = only.and_then(|name| tree.repository(name).ok());
        Ok(Some(tree))
    }

    /// The only repository. `LAYOUT_REFERENCE_AMBIGUOUS` if there are several.
    pub(super) fn only(&self) -> Result<&TreeRepository> {
        self.only.as_ref().ok_or_else(|| {
            let names: Vec<&str> = self.names().take(SHOWN_NAMES_MAX).collect();
            let names = names.join(", ");
            let message = format!("the archive has a storage tree: name an image REPOSITORY:TAG of one of {names}");
            Error::new(
                Code::LayoutReferenceAmbiguous,
                Verb::Read.on(self.files.name()),
                message,
            )
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The repository `name`. `INVALID_REFERENCE` if the name is not valid.
    pub(super) fn repository(&self, name: &str) -> Result<TreeRepository> {
        let parsed: Result<Repository> = name.parse();
        let parsed = parsed.map_err(|error| error.during(Verb::Open.on(self.files.name())))?;
        Ok(TreeRepository::new(Arc::clone(&self.files) as _, &self.root, parsed))
    }
}

/// Splits a key into the root of a tree and the rest. An archive of a folder within a tree has only the end of the root.
fn split(key: &str) -> (&str, &str) {
    if let Some(found) = tree(key) {
        return found;
    }
    let ends = ROOT.match_indices('/').filter_map(|(at, _)| ROOT.get(at + 1..));
    let end = ends.into_iter().find(|end| key.starts_with(end)).unwrap_or_default();
    key.split_at(end.len())
}

#[cfg(test)]
mod tests;
