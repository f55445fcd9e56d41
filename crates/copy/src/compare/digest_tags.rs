//! The digest tags of a repository, so that a comparison need not ask for each.

use std::collections::HashMap;

use transship_oci::referrers::COSIGN_SUFFIXES;
use transship_oci::{Algorithm, Digest, DigestTag, Tag};

/// Manifests whose digest tags are remembered: about 5 MB.
const SUBJECTS_MAX: usize = 50_000;
/// The fallback tag, beside the bits of [`COSIGN_SUFFIXES`].
const FALLBACK: u8 = 1 << 7;

/// The first 32 bytes of a digest, which a digest tag contains.
type Prefix = (Algorithm, [u8; 32]);

/// The digest tags of a repository, by the manifest they are named after.
#[derive(Debug, Default)]
pub struct DigestTags(HashMap<Prefix, u8>);

impl DigestTags {
    /// Adds `tag` if it is a digest tag. Returns false if there is no room for it.
    #[must_use]
    pub fn add(&mut self, tag: &Tag) -> bool {
        let Some(about) = DigestTag::of(tag) else {
            return true;
        };
        let Some(prefix) = prefix(&about.subject_tag()) else {
            return true;
        };
        if self.0.len() >= SUBJECTS_MAX && !self.0.contains_key(&prefix) {
            return false;
        }
        let suffix = tag.as_str().split_once('.').map(|(_, suffix)| suffix);
        let bit = match suffix {
            None => FALLBACK,
            Some(suffix) => COSIGN_SUFFIXES
                .iter()
                .position(|known| *known == suffix)
                .map_or(0, |at| 1 << at),
        };
        *self.0.entry(prefix).or_default() |= bit;
        true
    }

    /// True if there is a fallback tag of `subject`.
    pub(crate) fn has_fallback(&self, subject: &Digest) -> bool {
        self.of(subject) & FALLBACK != 0
    }

    /// The cosign tags of `subject`.
    pub(crate) fn cosign(&self, subject: &Digest) -> Vec<Tag> {
        let (bits, stem) = (self.of(subject), subject.fallback_tag());
        let known = COSIGN_SUFFIXES.iter().enumerate().filter(|(at, _)| bits & 1 << at != 0);
        known
            .filter_map(|(_, suffix)| format!("{stem}.{suffix}").parse().ok())
            .collect()
    }

    /// True if there is a digest tag of another manifest than `subject`.
    pub(crate) fn has_others(&self, subject: &Digest) -> bool {
        let own = usize::from(self.of(subject) != 0);
        self.0.len() > own
    }

    fn of(&self, subject: &Digest) -> u8 {
        let known = prefix(&subject.fallback_tag()).and_then(|prefix| self.0.get(&prefix));
        known.copied().unwrap_or(0)
    }
}

/// The beginning of the digest that a fallback tag contains.
fn prefix(fallback_tag: &str) -> Option<Prefix> {
    let (algorithm, hex) = fallback_tag.split_once('-')?;
    let algorithm = [Algorithm::Sha256, Algorithm::Sha512]
        .into_iter()
        .find(|known| known.as_str() == algorithm)?;
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some((algorithm, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn digest_tags_are_found_by_their_subject() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let (one, other) = (Digest::of(algorithm, b"one"), Digest::of(algorithm, b"other"));
            let stem = one.fallback_tag();
            let mut tags = DigestTags::default();
            for text in [
                "v1",
                "latest",
                &format!("{stem}.tar"),
                &format!("{stem}.sig"),
                &format!("{stem}.sbom"),
            ] {
                assert!(tags.add(&tag(text)));
            }
            assert_eq!(
                tags.cosign(&one),
                [tag(&format!("{stem}.sig")), tag(&format!("{stem}.sbom"))]
            );
            assert!(!tags.has_fallback(&one) && !tags.has_others(&one) && tags.has_others(&other));
            assert!(tags.add(&tag(&other.fallback_tag())));
            assert!(tags.has_fallback(&other) && tags.cosign(&other).is_empty() && tags.has_others(&one));
        }
    }

    #[test]
    fn there_is_room_for_a_stated_number() {
        let mut tags = DigestTags::default();
        let fits = |tags: &mut DigestTags, number: usize| tags.add(&tag(&format!("sha256-{number:064x}.sig")));
        assert!((0..SUBJECTS_MAX).all(|number| fits(&mut tags, number)));
        assert!(!fits(&mut tags, SUBJECTS_MAX));
        assert!(fits(&mut tags, 0), "it is known");
    }
}
