//! Recognizes sources in a store by their keys.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use transship_oci::{Error, Repository, Result, Verb};

use crate::ObjectStore;
use crate::layout::{INDEX, MARKER};
use crate::storage_tree::{ROOT, TreeRepository};

/// Extensions of archives.
const ARCHIVES: [&str; 6] = [".tar.zst", ".tar.gz", ".tar.zstd", ".tzst", ".tgz", ".tar"];

/// Path from the root of a storage tree to the repositories.
pub(crate) const REPOSITORIES: &str = "repositories/";

/// A source within a store. It is small and serializable, so that a message can contain it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceRef {
    /// Kind of the source.
    pub kind: SourceKind,
    /// Location: of a layout the prefix of its files (empty, or ending in `/`), of an archive its key, of a repository of a
    /// storage tree `…docker/registry/v2/repositories/<name>/`.
    pub key: String,
    /// Path relative to the searched prefix, as a repository path: empty for the prefix itself; of an archive without the
    /// extension; of a repository of a tree the path before the tree, followed by its name.
    pub path: String,
    /// Of an archive with a storage tree, the name of one repository in it, which is also the end of the path; [`None`] for an
    /// archive as a whole, and for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_repository: Option<String>,
}

/// Its key, and the repository in it.
impl fmt::Display for SourceRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.key.trim_end_matches('/'))?;
        match &self.tree_repository {
            Some(repository) => write!(formatter, ":{repository}"),
            None => Ok(()),
        }
    }
}

/// Kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// An OCI image layout, possibly incomplete.
    Layout,
    /// A tar archive, plain or compressed, with an OCI layout, the output of `docker save`, or a storage tree.
    Archive,
    /// A repository in a registry's storage tree.
    Repository,
}

impl SourceRef {
    /// The source that `key` belongs to, relative to `prefix` (empty, or ending in `/`): a layout for its two files and its blobs,
    /// an archive for itself, a repository for its tags and revisions. [`None`] for any other key.
    pub fn of_key(prefix: &str, key: &str) -> Option<Self> {
        let below = key.strip_prefix(prefix)?;
        if let Some((root, rest)) = tree(below) {
            return Self::repository_of(prefix, root, rest);
        }
        if let Some(folder) = layout_folder(below) {
            return Some(Self::layout(prefix, folder));
        }
        Self::archive(prefix, below)
    }

    /// A source of `kind` at `key`, to be copied to `path`; of an archive the whole.
    pub fn new(kind: SourceKind, key: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            kind,
            key: key.into(),
            path: path.into(),
            tree_repository: None,
        }
    }

    pub(crate) fn layout(prefix: &str, folder: &str) -> Self {
        let key = format!("{prefix}{folder}");
        Self::new(SourceKind::Layout, key, folder.trim_end_matches('/'))
    }

    pub(crate) fn archive(prefix: &str, below: &str) -> Option<Self> {
        let path = archive_path(below)?;
        Some(Self::new(SourceKind::Archive, format!("{prefix}{below}"), path))
    }

    /// The repository `name` of the storage tree in this archive.
    pub(crate) fn in_tree_of_archive(&self, name: &str) -> Self {
        let parts = [self.path.as_str(), name].into_iter().filter(|part| !part.is_empty());
        Self {
            kind: self.kind,
            key: self.key.clone(),
            path: parts.collect::<Vec<_>>().join("/"),
            tree_repository: Some(name.to_owned()),
        }
    }

    /// True if the source is a repository of a storage tree, in an archive or not.
    pub const fn is_in_tree(&self) -> bool {
        matches!(self.kind, SourceKind::Repository) || self.tree_repository.is_some()
    }

    /// `rest` is the part of the key after the root of the tree.
    pub(crate) fn repository_of(prefix: &str, root: &str, rest: &str) -> Option<Self> {
        let name = repository_name(rest)?;
        let before = root.strip_suffix(ROOT)?;
        let key = format!("{prefix}{root}{REPOSITORIES}{name}/");
        Some(Self::new(SourceKind::Repository, key, format!("{before}{name}")))
    }

    /// Location of its content, which several sources may share: of a layout and an archive its key, of a repository the root of
    /// its tree, `…docker/registry/v2/`.
    pub fn place(&self) -> &str {
        match self.kind {
            SourceKind::Layout | SourceKind::Archive => &self.key,
            SourceKind::Repository => self.in_tree().0,
        }
    }

    /// The root of the tree of a repository, and the repository's name. Folders above the tree and the repository itself may have
    /// the name of a tree; the path determines where the repository's name starts.
    fn in_tree(&self) -> (&str, &str) {
        let key = self.key.trim_end_matches('/');
        let split = |at: usize| Some((key.get(..at)?, key.get(at..)?.strip_prefix(REPOSITORIES)?));
        let is_it = |(root, name): &(&str, &str)| {
            let above = root.strip_suffix(ROOT);
            let before = self.path.strip_suffix(name);
            matches!((above, before), (Some(above), Some(before)) if above.ends_with(before))
        };
        let mut places = key.match_indices(REPOSITORIES).filter_map(|(at, _)| split(at));
        places.find(is_it).unwrap_or_default()
    }

    /// [`SourceRef::path`] as a repository path to append to the destination; [`None`] if it is empty. `INVALID_REFERENCE` if it is
    /// not a valid repository name.
    pub fn repository(&self) -> Result<Option<Repository>> {
        let path = Some(self.path.as_str()).filter(|path| !path.is_empty());
        let repository = path.map(str::parse).transpose();
        repository.map_err(|error: Error| error.during(Verb::Import.on(&self.key)))
    }
}

/// The repository of a storage tree. `INVALID_REFERENCE` if its name is not a valid repository name.
pub(crate) fn tree_repository(store: Arc<dyn ObjectStore>, found: &SourceRef) -> Result<TreeRepository> {
    let (root, name) = found.in_tree();
    let name = name
        .parse()
        .map_err(|error: Error| error.during(Verb::Open.on(&found.key)))?;
    Ok(TreeRepository::new(store, root, name))
}

/// A key without the extension of an archive; [`None`] if it has no such extension, or nothing before it.
pub(crate) fn archive_path(key: &str) -> Option<&str> {
    let lower = key.to_ascii_lowercase();
    let suffix = ARCHIVES.iter().find(|suffix| lower.ends_with(**suffix))?;
    let path = key.get(..key.len() - suffix.len())?;
    (!path.is_empty() && !path.ends_with('/')).then_some(path)
}

/// Splits a key into the root of a storage tree, which ends in [`ROOT`], and the rest.
pub(crate) fn tree(key: &str) -> Option<(&str, &str)> {
    let mut starts = key.match_indices(ROOT).map(|(at, _)| at);
    let at = starts.find(|at| *at == 0 || key[..*at].ends_with('/'))?;
    Some(key.split_at(at + ROOT.len()))
}

/// The name of the repository that a key belongs to, without the root of its tree; [`None`] outside of tags and revisions.
pub(crate) fn repository_name(rest: &str) -> Option<&str> {
    let (name, _) = rest.strip_prefix(REPOSITORIES)?.split_once("/_manifests/")?;
    let is_name = name.split('/').all(|part| !part.starts_with('_') && !part.is_empty());
    is_name.then_some(name)
}

/// The folder of the layout that a key belongs to: `oci-layout`, `index.json`, `blobs/<algorithm>/<hex>`.
pub(crate) fn layout_folder(key: &str) -> Option<&str> {
    let (folder, name) = split(key);
    if name == MARKER || name == INDEX {
        return Some(folder);
    }
    let (above, algorithm) = split(folder.strip_suffix('/')?);
    let (above, blobs) = split(above.strip_suffix('/')?);
    let is_blob = blobs == "blobs" && format!("{algorithm}:{name}").parse::<transship_oci::Digest>().is_ok();
    is_blob.then_some(above)
}

/// Splits a key into its folder, which is empty or ends in `/`, and its name.
pub(crate) fn split(key: &str) -> (&str, &str) {
    key.rfind('/').map_or(("", key), |slash| key.split_at(slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_belongs_to() {
        let hex = "a".repeat(64);
        for (key, expected) in [
            ("p/index.json".to_owned(), Some((SourceKind::Layout, "p/", ""))),
            (
                "p/a/b/oci-layout".to_owned(),
                Some((SourceKind::Layout, "p/a/b/", "a/b")),
            ),
            (
                format!("p/a/blobs/sha256/{hex}"),
                Some((SourceKind::Layout, "p/a/", "a")),
            ),
            (format!("p/blobs/sha256/{hex}"), Some((SourceKind::Layout, "p/", ""))),
            (format!("p/blobs/md5/{hex}"), None),
            (format!("p/blobs/sha256/{hex}x"), None),
            (
                "p/a+b%2Bü.tar.gz".to_owned(),
                Some((SourceKind::Archive, "p/a+b%2Bü.tar.gz", "a+b%2Bü")),
            ),
            ("p/a/B.TAR".to_owned(), Some((SourceKind::Archive, "p/a/B.TAR", "a/B"))),
            ("p/.tar".to_owned(), None),
            ("p/a/.tgz".to_owned(), None),
            ("elsewhere/index.json".to_owned(), None),
            (
                "p/docker/registry/v2/repositories/a/b/_manifests/tags/v1/current/link".to_owned(),
                Some((SourceKind::Repository, "p/docker/registry/v2/repositories/a/b/", "a/b")),
            ),
            (
                "p/copy/docker/registry/v2/repositories/a/_manifests/revisions/sha256/x/link".to_owned(),
                Some((
                    SourceKind::Repository,
                    "p/copy/docker/registry/v2/repositories/a/",
                    "copy/a",
                )),
            ),
            (
                "p/docker/registry/v2/repositories/a/_layers/sha256/x/link".to_owned(),
                None,
            ),
            (format!("p/docker/registry/v2/blobs/sha256/aa/{hex}/data"), None),
            ("p/notdocker/registry/v2/repositories/a/_manifests/x".to_owned(), None),
        ] {
            let found = SourceRef::of_key("p/", &key);
            let found = found
                .as_ref()
                .map(|found| (found.kind, found.key.as_str(), found.path.as_str()));
            assert_eq!(found, expected, "{key}");
        }
    }

    #[test]
    fn a_place_no_repository_can_be_called_by_is_told() {
        let found = SourceRef::of_key("", "Team/App/index.json").unwrap();
        assert_eq!(found.repository().unwrap_err().code(), "INVALID_REFERENCE");
        assert_eq!(SourceRef::of_key("", "index.json").unwrap().repository().unwrap(), None);
    }
}
