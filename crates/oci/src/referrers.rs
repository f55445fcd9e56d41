//! Referrers: the index that lists them, and the digest tags for registries without a referrers API.
//!
//! Source: distribution-spec, Listing Referrers and Referrers Tag Schema; cosign's tag scheme
//! (`sha256-<hex>.sig`, `.att`, `.sbom`), which predates the specification.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::digest::FALLBACK_HEX_LEN;
use crate::{Algorithm, Code, Descriptor, Digest, Error, Manifest, Tag, media_type};

/// The suffixes cosign gives to tags that belong to an image.
pub const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// The cosign tags that may belong to the manifest `digest`.
pub fn cosign_tags(digest: &Digest) -> impl Iterator<Item = String> + '_ {
    COSIGN_SUFFIXES
        .iter()
        .map(|suffix| format!("{}-{}.{suffix}", digest.algorithm().as_str(), digest.hex()))
}

/// A tag that belongs to another manifest, its subject: a cosign tag or the referrers fallback tag.
///
/// The tag contains at most 64 digits of the subject's digest: all of a sha256 digest and half of a sha512 digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DigestTag {
    algorithm: Algorithm,
    prefix: Box<str>,
    is_fallback: bool,
}

impl DigestTag {
    /// Parses `<algorithm>-<64 hex>` and `<algorithm>-<64 hex>.<suffix>`; [`None`] for any other tag.
    pub fn of(tag: &Tag) -> Option<Self> {
        let (name, suffix) = match tag.as_str().split_once('.') {
            Some((name, suffix)) => (name, Some(suffix)),
            None => (tag.as_str(), None),
        };
        let (algorithm, prefix) = name.split_once('-')?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return None,
        };
        let is_hex = prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_digest_tag =
            prefix.len() == FALLBACK_HEX_LEN && is_hex && suffix.is_none_or(|suffix| COSIGN_SUFFIXES.contains(&suffix));
        is_digest_tag.then(|| Self {
            algorithm,
            prefix: prefix.into(),
            is_fallback: suffix.is_none(),
        })
    }

    /// The algorithm of the subject's digest.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// True for the referrers fallback tag, false for a cosign tag.
    pub const fn is_fallback(&self) -> bool {
        self.is_fallback
    }

    /// True if the tag belongs to the manifest `digest`.
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.algorithm == digest.algorithm() && digest.hex().starts_with(&*self.prefix)
    }

    /// The digest of the subject; [`None`] if the tag contains only its first half (sha512).
    pub fn subject(&self) -> Option<Digest> {
        format!("{}:{}", self.algorithm.as_str(), self.prefix).parse().ok()
    }

    /// The fallback tag of the subject, which is the same for all tags that belong to one manifest: see
    /// [`Digest::fallback_tag`].
    pub fn subject_tag(&self) -> String {
        format!("{}-{}", self.algorithm.as_str(), self.prefix)
    }
}

/// The bytes of a fallback index that lists `referrers`, which are always the same for the same list.
pub fn fallback_index(referrers: &[Descriptor]) -> Bytes {
    let mut list = ReferrerList::default();
    for referrer in referrers {
        list.add(referrer);
    }
    list.to_bytes()
}

/// The list of referrers that a fallback tag names. Other clients write to it as well, so entries that were read are written
/// again as they were, with the fields that Transship does not know.
#[derive(Debug, Clone, Default)]
pub struct ReferrerList {
    /// Everything beside the entries.
    rest: Map<String, Value>,
    entries: Vec<Value>,
    digests: HashSet<String>,
}

impl ReferrerList {
    /// The list that `index` contains. `MANIFEST_INVALID` if it is nested so deeply that it could not be written again.
    pub fn of(index: &Manifest) -> Result<Self, Error> {
        let read = serde_json::from_slice(index.bytes());
        let mut rest: Map<String, Value> = read.map_err(|error| Error::refused(Code::ManifestInvalid, error))?;
        let mut list = Self::default();
        if let Some(Value::Array(entries)) = rest.remove("manifests") {
            for entry in entries {
                list.insert(entry);
            }
        }
        list.rest = rest;
        Ok(list)
    }

    /// True if the list has an entry for `referrer`.
    pub fn contains(&self, referrer: &Digest) -> bool {
        self.digests.contains(&referrer.to_string())
    }

    /// Number of entries.
    #[expect(clippy::len_without_is_empty, reason = "no caller asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry, unless there is one for its digest.
    pub fn add(&mut self, referrer: &Descriptor) {
        self.insert(json!(referrer));
    }

    /// Adds the entries of `other` that this list does not have.
    pub fn merge(&mut self, other: Self) {
        for entry in other.entries {
            self.insert(entry);
        }
    }

    fn insert(&mut self, entry: Value) {
        if let Some(digest) = entry["digest"].as_str()
            && self.digests.insert(digest.to_owned())
        {
            self.entries.push(entry);
        }
    }

    /// The bytes of the index, which are always the same for the same list.
    pub fn to_bytes(&self) -> Bytes {
        let mut index = self.rest.clone();
        index.insert("schemaVersion".into(), json!(2));
        let own = index.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        if own.is_empty() {
            index.insert("mediaType".into(), json!(media_type::OCI_INDEX));
        }
        index.insert("manifests".into(), Value::Array(self.entries.clone()));
        Bytes::from(Value::Object(index).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(tag: &str) -> Option<DigestTag> {
        DigestTag::of(&tag.parse().unwrap())
    }

    #[test]
    fn a_digest_tag_is_recognised_for_both_algorithms() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let (digest, other) = (Digest::of(algorithm, b"x"), Digest::of(algorithm, b"y"));
            let fallback = about(&digest.fallback_tag()).unwrap();
            assert!(fallback.is_fallback() && fallback.is_about(&digest) && !fallback.is_about(&other));
            assert_eq!(fallback.subject_tag(), digest.fallback_tag());
            assert_eq!(
                fallback.subject(),
                Some(digest).filter(|_| algorithm == Algorithm::Sha256)
            );
        }
    }

    #[test]
    fn cosign_tags_are_digest_tags() {
        let digest = Digest::sha256(b"x");
        for tag in cosign_tags(&digest) {
            let about = about(&tag).unwrap();
            assert!(!about.is_fallback() && about.is_about(&digest), "{tag}");
            assert_eq!(about.subject(), Some(digest.clone()));
        }
    }

    #[test]
    fn entries_of_other_clients_are_written_again_as_they_were() {
        let entry = |text: &str| {
            json!({
                "mediaType": media_type::OCI_MANIFEST, "digest": Digest::sha256(text.as_bytes()), "size": 1,
                "platform": { "os": "linux", "architecture": "amd64", "os.features": ["x"] }, "x-own": text,
            })
        };
        let read = |entries: &[Value]| {
            let index = json!({ "schemaVersion": 2, "manifests": entries, "annotations": { "by": "another" } });
            ReferrerList::of(&Manifest::parse(index.to_string().into(), None).unwrap()).unwrap()
        };
        let (first, second) = (entry("first"), entry("second"));
        let mut list = read(std::slice::from_ref(&first));
        list.merge(read(&[first.clone(), second.clone()]));
        let own = Descriptor::new(media_type::OCI_MANIFEST.into(), Digest::sha256(b"own"), 3);
        list.add(&own);
        list.add(&own);
        assert!(list.contains(&own.digest) && list.contains(&Digest::sha256(b"second")));
        assert!(!list.contains(&Digest::sha256(b"another")));
        let written: Value = serde_json::from_slice(&list.to_bytes()).unwrap();
        assert_eq!(written["manifests"], json!([first, second, own]));
        assert_eq!(written["annotations"], json!({ "by": "another" }));
        assert_eq!(written["mediaType"], media_type::OCI_INDEX);
    }

    #[test]
    fn release_tags_are_not_digest_tags() {
        let hex = "a".repeat(64);
        for plain in [
            "v1.0.sig",
            "sha256-beef",
            "latest",
            "sha256-beef.sig",
            &format!("md5-{hex}"),
            &format!("sha256-{hex}.tar"),
            &format!("sha256-{hex}a"),
            &format!("sha256-{}", "A".repeat(64)),
            &format!("sha512-{}", "a".repeat(63)),
        ] {
            assert_eq!(about(plain), None, "{plain}");
        }
    }
}
