//! Referrers: the index that lists them, and the tags that stand for them where a registry has no API.
//!
//! Source: distribution-spec, Listing Referrers and Referrers Tag Schema; cosign's tag scheme
//! (`sha256-<hex>.sig`, `.att`, `.sbom`), which predates the specification.

use bytes::Bytes;
use serde_json::json;

use crate::{Descriptor, Digest, Tag, media_type};

/// The suffixes cosign gives to tags that belong to an image.
pub const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// The cosign tags that may belong to the manifest `digest`.
pub fn cosign_tags(digest: &Digest) -> impl Iterator<Item = String> + '_ {
    COSIGN_SUFFIXES
        .iter()
        .map(|suffix| format!("{}-{}.{suffix}", digest.algorithm().as_str(), digest.hex()))
}

/// A tag that belongs to another manifest: what it is about, and whether it is the fallback index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestTag {
    /// The manifest the tag is about.
    pub subject: Digest,
    /// True for the referrers fallback tag, false for a cosign tag.
    pub is_fallback: bool,
}

/// Reads `sha256-<hex>` and `sha256-<hex>.<suffix>`; [`None`] for any other tag.
pub fn digest_tag(tag: &Tag) -> Option<DigestTag> {
    let (name, suffix) = match tag.as_str().split_once('.') {
        Some((name, suffix)) => (name, Some(suffix)),
        None => (tag.as_str(), None),
    };
    let subject = name.replacen('-', ":", 1).parse().ok()?;
    match suffix {
        None => Some(DigestTag {
            subject,
            is_fallback: true,
        }),
        Some(suffix) => COSIGN_SUFFIXES.contains(&suffix).then_some(DigestTag {
            subject,
            is_fallback: false,
        }),
    }
}

/// The bytes of a fallback index that lists `referrers`, always the same for the same list.
pub fn fallback_index(referrers: &[Descriptor]) -> Bytes {
    Bytes::from(json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": referrers }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_tags_are_told_from_release_tags() {
        let digest = Digest::sha256(b"x");
        for tag in cosign_tags(&digest) {
            assert_eq!(
                digest_tag(&tag.parse().unwrap()),
                Some(DigestTag {
                    subject: digest.clone(),
                    is_fallback: false
                })
            );
        }
        let fallback = digest.fallback_tag().parse().unwrap();
        assert_eq!(
            digest_tag(&fallback),
            Some(DigestTag {
                subject: digest.clone(),
                is_fallback: true
            })
        );
        for plain in ["v1.0.sig", "sha256-beef", "latest", "sha256-beef.sig"] {
            assert_eq!(digest_tag(&plain.parse().unwrap()), None);
        }
    }
}
