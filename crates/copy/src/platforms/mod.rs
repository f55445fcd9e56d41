//! A source of which only some platforms are copied.
//!
//! [`SelectedSource`] is such a source: what its tag names is the manifest of one platform, an index of several, or, where the
//! index is sparse, the index as it is with fewer manifests below it. So a copy and a comparison treat it as any other source,
//! and equality is judged by what the destination is to name. What must hold: the same bytes at the source become the same bytes
//! at the destination, always; what an index names beside the selected platforms is never read, and never copied.

mod image;
mod index;
mod source;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use transship_oci::{Code, Digest, DigestTag, Error, Platform, Platforms, Target};

pub(crate) use source::SelectedSource;

use crate::{Replicas, Source};

/// What an image of the source became at the destination, so that the source need not be read again to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// What the source names.
    pub source: Digest,
    /// The platforms, as [`Platforms::key`].
    pub platforms: String,
    /// What the destination is to name.
    pub digest: Digest,
}

/// As a ledger keeps it: `SOURCE DIGEST PLATFORMS`.
impl fmt::Display for Selected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.source, self.digest, self.platforms)
    }
}

impl FromStr for Selected {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(3, ' ');
        let (Some(source), Some(digest), Some(platforms)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::refused(Code::InvalidDigest, "it is not SOURCE DIGEST PLATFORMS"));
        };
        Ok(Self {
            source: source.parse()?,
            platforms: platforms.to_owned(),
            digest: digest.parse()?,
        })
    }
}

/// What a copy or a comparison found out about the platforms of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// What becomes what.
    pub selected: Selected,
    /// The platforms that the image lacks, as far as the image was read.
    pub missing: Vec<Platform>,
}

/// `source` with only `platforms`; [`None`] if everything is copied. A digest tag names no image of a platform, and a digest at
/// the destination is that of the source: there only the manifests below a sparse index can be left out.
pub(crate) fn selected<'a>(
    source: &'a dyn Source,
    from: &'a Target,
    to: &'a Target,
    platforms: &'a Platforms,
    replicas: &'a dyn Replicas,
) -> Option<SelectedSource<'a>> {
    let is_attachment = from.tag().is_some_and(|tag| DigestTag::of(tag).is_some());
    let is_possible = to.tag().is_some() || platforms.sparse;
    (!platforms.is_all() && !is_attachment && is_possible)
        .then(|| SelectedSource::new(source, from, to, platforms, replicas))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_an_image_is_read_as_it_is_written() {
        for platforms in ["linux/amd64", "linux/amd64,linux/arm64 sparse"] {
            let selected = Selected {
                source: Digest::sha256(b"a"),
                platforms: platforms.to_owned(),
                digest: Digest::sha256(b"b"),
            };
            assert_eq!(selected.to_string().parse::<Selected>().unwrap(), selected);
        }
        for text in ["", "a b c", "sha256:1"] {
            assert!(text.parse::<Selected>().is_err(), "{text}");
        }
    }
}
