//! The meaning of a new object, by its key.
//!
//! Some keys name images, which can be scanned now. Others are content that a source may be waiting for. All other keys are
//! ignored, including invalid ones: keys with `..`, and invalid digests or tags.

use transship_oci::{Algorithm, Digest, Target};

use crate::SourceRef;
use crate::layout::{INDEX, MARKER};
use crate::source_ref::{layout_folder, split, tree};

/// A new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectMeaning {
    /// The object names images, or is an image.
    Names {
        /// The source it belongs to.
        found: SourceRef,
        /// In a storage tree, the tag or revision of the link; otherwise all images.
        target: Option<Target>,
    },
    /// The object is content that sources may wait for.
    Content {
        /// Its location: [`SourceRef::place`] of the sources that can wait for it.
        place: String,
        /// The digest in its key.
        digest: Digest,
    },
}

impl ObjectMeaning {
    /// The meaning of the decoded `key`, relative to `prefix` (empty, or ending in `/`); [`None`] if it has none.
    pub fn of_key(prefix: &str, key: &str) -> Option<Self> {
        let is_folder = prefix.is_empty() || prefix.ends_with('/');
        let climbs = key.split('/').any(|part| part == "..");
        let below = key.strip_prefix(prefix).filter(|_| is_folder && !climbs)?;
        if let Some((root, rest)) = tree(below) {
            return Self::of_tree(prefix, root, rest);
        }
        let Some(folder) = layout_folder(below) else {
            return Some(Self::whole(SourceRef::archive(prefix, below)?));
        };
        let file = &below[folder.len()..];
        if file == MARKER || file == INDEX {
            return Some(Self::whole(SourceRef::layout(prefix, folder)));
        }
        let (above, hex) = split(below);
        let (_, algorithm) = split(above.strip_suffix('/')?);
        Some(Self::Content {
            place: format!("{prefix}{folder}"),
            digest: format!("{algorithm}:{hex}").parse().ok()?,
        })
    }

    /// `key` without the extension of an archive; [`None`] for other keys.
    pub fn archive_path(key: &str) -> Option<&str> {
        crate::source_ref::archive_path(key)
    }

    const fn whole(found: SourceRef) -> Self {
        Self::Names { found, target: None }
    }

    /// `rest` is the part of the key after the root of the tree.
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
        let found = SourceRef::repository_of(prefix, root, rest)?;
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

/// `<algorithm>/<hex>/link`. Bytes are stored under their sha256 digest. For another algorithm, only this link leads to them,
/// so sources wait for the link.
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
