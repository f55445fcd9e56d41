//! What an object that was just written means, told by its key alone.
//!
//! Some keys name images: there is something to look at now. Others are content that something may be waiting for. All the
//! rest means nothing, and so does whatever no honest writer would write: a key that climbs, a digest or a tag that is none.

use transship_oci::{Algorithm, Digest, Target};

use crate::Found;
use crate::found::{layout_folder, split, tree};
use crate::layout::{INDEX, MARKER};

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upload {
    /// It names images, or is one.
    Names {
        /// The source it belongs to.
        found: Found,
        /// Of a storage tree the one tag or revision whose link it is; otherwise all there is.
        target: Option<Target>,
    },
    /// It is content, and sources may wait for it.
    Content {
        /// Where it lies: what [`Found::place`] answers for the sources that can wait for it.
        place: String,
        /// The digest its key holds.
        digest: Digest,
    },
}

impl Upload {
    /// What `key`, decoded, means seen from `prefix` (empty, or ending in `/`); [`None`] if nothing.
    pub fn of_key(prefix: &str, key: &str) -> Option<Self> {
        let is_folder = prefix.is_empty() || prefix.ends_with('/');
        let climbs = key.split('/').any(|part| part == "..");
        let below = key.strip_prefix(prefix).filter(|_| is_folder && !climbs)?;
        if let Some((root, rest)) = tree(below) {
            return Self::of_tree(prefix, root, rest);
        }
        let Some(folder) = layout_folder(below) else {
            return Some(Self::whole(Found::archive(prefix, below)?));
        };
        let file = &below[folder.len()..];
        if file == MARKER || file == INDEX {
            return Some(Self::whole(Found::layout(prefix, folder)));
        }
        let (above, hex) = split(below);
        let (_, algorithm) = split(above.strip_suffix('/')?);
        Some(Self::Content {
            place: format!("{prefix}{folder}"),
            digest: format!("{algorithm}:{hex}").parse().ok()?,
        })
    }

    /// `key` without the suffix that makes it an archive's; [`None`] if it is none's.
    pub fn archive_path(key: &str) -> Option<&str> {
        crate::found::archive_path(key)
    }

    const fn whole(found: Found) -> Self {
        Self::Names { found, target: None }
    }

    /// `rest` is what follows the root of the tree.
    fn of_tree(prefix: &str, root: &str, rest: &str) -> Option<Self> {
        let content = |digest: Digest| Self::Content {
            place: format!("{prefix}{root}"),
            digest,
        };
        if let Some(blob) = rest.strip_prefix("blobs/") {
            return tree_blob(blob).map(content);
        }
        if let Some((_, layer)) = rest.split_once("/_layers/") {
            return foreign_layer(layer).map(content);
        }
        let found = Found::repository_of(prefix, root, rest)?;
        let (_, link) = rest.split_once("/_manifests/")?;
        Some(Self::Names {
            found,
            target: Some(linked(link)?),
        })
    }
}

/// `<algorithm>/<2 digits>/<hex>/data`
fn tree_blob(key: &str) -> Option<Digest> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts.as_slice() {
        [algorithm, start, hex, "data"] if hex.get(..2) == Some(start) => format!("{algorithm}:{hex}").parse().ok(),
        _ => None,
    }
}

/// `<algorithm>/<hex>/link`. Bytes lie under their sha256; by another algorithm only this link leads to them, so it is what
/// is waited for.
fn foreign_layer(key: &str) -> Option<Digest> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts.as_slice() {
        [algorithm, hex, "link"] => {
            let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
            (digest.algorithm() != Algorithm::Sha256).then_some(digest)
        }
        _ => None,
    }
}

/// `tags/<tag>/current/link` or `revisions/<algorithm>/<hex>/link`
fn linked(key: &str) -> Option<Target> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts.as_slice() {
        ["tags", tag, "current", "link"] => tag.parse().ok().map(Target::Tag),
        ["revisions", algorithm, hex, "link"] => format!("{algorithm}:{hex}").parse().ok().map(Target::Digest),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
