//! The images of a source, by name.
//!
//! All kinds of sources list their images in the same form. An invalid image is an item of the list with its code and does not
//! affect the others. The whole list fails only if the store fails.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use transship_copy::Source;
use transship_oci::{Code, Descriptor, Digest, Error, Operation, Reference, Result, Tag, Target};

/// An image that can be read from its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name in the source, possibly a whole reference; [`None`] if the image has only its digest.
    pub name: Option<String>,
    /// The target to read and to write: the tag part of the name, otherwise the digest.
    pub target: Target,
    /// The descriptor of its manifest. Type and size are from the source and not verified yet.
    pub descriptor: Descriptor,
    /// True for a referrer in a storage tree. Referrers in layouts and archives are not listed, because they are copied with their
    /// subject.
    pub refers: bool,
}

/// An image that cannot be imported.
#[derive(Debug)]
pub struct Refused {
    /// Its name, its digest, or its position in the source.
    pub name: String,
    /// Its digest, if known.
    pub digest: Option<Digest>,
    /// The error, with a stable code.
    pub error: Error,
}

/// The images of one source.
#[derive(Debug, Default)]
pub struct Listing {
    /// The readable images, named ones first. Images that are copied with another one are not listed: children of an index, and in
    /// layouts also referrers, cosign tags and fallback tags.
    pub images: Vec<Image>,
    /// The images that cannot be imported.
    pub refused: Vec<Refused>,
}

/// A source with a list of images.
#[async_trait]
pub trait Images: Source {
    /// Its images.
    async fn images(&self) -> Result<Listing>;

    /// The image for `reference`: a name, the tag part of a name, or a digest. Without a reference: the only image, or `latest`.
    /// `LAYOUT_REFERENCE_NOT_FOUND`, `LAYOUT_REFERENCE_AMBIGUOUS`, `LAYOUT_NAME_CONFLICT`.
    async fn target_of(&self, reference: Option<&str>) -> Result<Target>;
}

/// An item of a source with an optional name.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) name: Option<String>,
    pub(crate) descriptor: Descriptor,
}

/// The tag of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Called {
    Tag(Tag),
    /// A reference by digest only: `r.example/app@sha256:…`.
    ByDigest,
    /// The name has no valid tag.
    Unmappable,
}

/// Parses a name: a tag alone, or a whole reference with a tag or a digest.
pub(crate) fn called(name: &str) -> Called {
    let (rest, has_digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, digest.parse::<Digest>().is_ok()),
        None => (name, false),
    };
    let tag = match rest.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => Some(tag),
        _ if has_digest || rest.contains('/') => None,
        _ => Some(rest),
    };
    match tag.map(str::parse) {
        Some(Ok(tag)) => Called::Tag(tag),
        None if has_digest => Called::ByDigest,
        _ => Called::Unmappable,
    }
}

/// Resolves names: a tag with one manifest is an image, a tag with several is an error. Items without a name follow by digest,
/// unless `comes_along` is true for them.
pub(crate) fn listing(
    candidates: &[Candidate],
    comes_along: impl Fn(&Digest) -> bool,
    operation: &Operation,
) -> Listing {
    let mut listing = Listing::default();
    let mut by_tag: BTreeMap<Tag, Vec<&Candidate>> = BTreeMap::new();
    let mut by_digest: Vec<&Candidate> = Vec::new();
    for candidate in candidates {
        match candidate.name.as_deref().map(called) {
            Some(Called::Tag(tag)) => by_tag.entry(tag).or_default().push(candidate),
            Some(Called::ByDigest) | None => by_digest.push(candidate),
            Some(Called::Unmappable) => {
                let name = candidate.name.clone().unwrap_or_default();
                let error = Error::new(
                    Code::LayoutNameUnmappable,
                    operation,
                    format!("{name:?} has no valid tag part: name the image name:tag, or give it no name"),
                );
                let digest = Some(candidate.descriptor.digest.clone());
                listing.refused.push(Refused { name, digest, error });
            }
        }
    }
    let mut named: HashSet<&Digest> = HashSet::new();
    for (tag, candidates) in &by_tag {
        match candidates.as_slice() {
            [one, others @ ..]
                if others
                    .iter()
                    .all(|other| other.descriptor.digest == one.descriptor.digest) =>
            {
                named.insert(&one.descriptor.digest);
                listing.images.push(Image {
                    name: one.name.clone(),
                    target: Target::Tag(tag.clone()),
                    descriptor: one.descriptor.clone(),
                    refers: false,
                });
            }
            several => listing.refused.push(Refused {
                name: tag.to_string(),
                digest: None,
                error: conflict(tag, several.iter().map(|one| &one.descriptor.digest), operation),
            }),
        }
    }
    for candidate in by_digest {
        let digest = &candidate.descriptor.digest;
        if !comes_along(digest) && named.insert(digest) {
            listing.images.push(Image {
                name: candidate.name.clone(),
                target: Target::Digest(digest.clone()),
                descriptor: candidate.descriptor.clone(),
                refers: false,
            });
        }
    }
    listing
}

/// `LAYOUT_NAME_CONFLICT`.
pub(crate) fn conflict<'a>(tag: &Tag, digests: impl Iterator<Item = &'a Digest>, operation: &Operation) -> Error {
    let digests: Vec<String> = digests.map(Digest::to_string).take(4).collect();
    name_conflict(tag.as_str(), &digests.join(", "), operation)
}

/// `LAYOUT_NAME_CONFLICT`: `name` is the name of several manifests, whose `digests` are joined by commas.
pub fn name_conflict(name: &str, digests: &str, operation: impl Into<Operation>) -> Error {
    let message = format!("{name:?} names several manifests, {digests}: keep one of them");
    Error::new(Code::LayoutNameConflict, operation, message)
}

/// [`Images::target_of`] for `candidates`.
pub(crate) fn resolve<'a>(
    candidates: &'a [Candidate],
    reference: Option<&str>,
    operation: &Operation,
) -> Result<&'a Candidate> {
    let named: Vec<&str> = candidates.iter().filter_map(|one| one.name.as_deref()).collect();
    let has = || match named.as_slice() {
        [] => "no names".to_owned(),
        names => names[..names.len().min(20)].join(", "),
    };
    let wanted = match (reference, candidates, named.as_slice()) {
        (Some(reference), ..) => reference,
        (None, [only, others @ ..], _) if others.iter().all(|one| one.descriptor.digest == only.descriptor.digest) => {
            return Ok(only);
        }
        (None, _, [only]) => only,
        (None, ..) => "latest",
    };
    match (find(candidates, wanted, operation)?, reference) {
        (Some(found), _) => Ok(found),
        (None, None) if candidates.len() > 1 => Err(Error::new(
            Code::LayoutReferenceAmbiguous,
            operation,
            format!("the layout has several images: name one of {}", has()),
        )),
        (None, reference) => {
            let wanted = reference.unwrap_or_default();
            let message = format!("the layout has no image {wanted:?}; it has {}", has());
            Err(Error::new(Code::LayoutReferenceNotFound, operation, message))
        }
    }
}

/// Compares the whole name, then the tag part, then the expanded names (`app` is `docker.io/library/app:latest`), then the
/// digest.
fn find<'a>(candidates: &'a [Candidate], wanted: &str, operation: &Operation) -> Result<Option<&'a Candidate>> {
    let is_name = |one: &&Candidate| one.name.as_deref() == Some(wanted);
    let is_tag = |one: &&Candidate| match one.name.as_deref().map(called) {
        Some(Called::Tag(tag)) => tag.as_str() == wanted,
        _ => false,
    };
    let meant = meaning(wanted);
    let is_meant = |one: &&Candidate| meant.is_some() && one.name.as_deref().and_then(meaning) == meant;
    for matches in [&is_name as &dyn Fn(&&Candidate) -> bool, &is_tag, &is_meant] {
        let found: Vec<&Candidate> = candidates.iter().filter(matches).collect();
        match found.as_slice() {
            [] => {}
            [one, others @ ..]
                if others
                    .iter()
                    .all(|other| other.descriptor.digest == one.descriptor.digest) =>
            {
                return Ok(Some(one));
            }
            several => {
                let digests: Vec<String> = several.iter().map(|one| one.descriptor.digest.to_string()).collect();
                return Err(name_conflict(wanted, &digests.join(", "), operation));
            }
        }
    }
    let digest = wanted.trim_start_matches('@').parse::<Digest>().ok();
    Ok(candidates
        .iter()
        .find(|one| Some(&one.descriptor.digest) == digest.as_ref()))
}

/// A name as a whole reference. Tools write one image's name long or short: `docker save` as it was typed, skopeo and podman
/// in full.
fn meaning(name: &str) -> Option<(Reference, Target)> {
    let reference: Reference = name.parse().ok()?;
    let target = reference.target().ok()?;
    let bare = Reference {
        tag: None,
        digest: None,
        ..reference
    };
    Some((bare, target))
}

#[cfg(test)]
mod tests {
    use transship_oci::media_type::OCI_MANIFEST;

    use super::*;

    fn candidate(name: Option<&str>, content: &str) -> Candidate {
        Candidate {
            name: name.map(str::to_owned),
            descriptor: Descriptor::new(OCI_MANIFEST.into(), Digest::sha256(content.as_bytes()), 1),
        }
    }

    #[test]
    fn names_give_their_tag_part() {
        let tag = |text: &str| Called::Tag(text.parse().unwrap());
        let digest = Digest::sha256(b"x");
        for (name, expected) in [
            ("v1", tag("v1")),
            ("docker.io/library/app:v1", tag("v1")),
            ("localhost:5000/app:v1", tag("v1")),
            ("app:v1", tag("v1")),
            ("localhost:5000/app", Called::Unmappable),
            ("library/app", Called::Unmappable),
            ("with space", Called::Unmappable),
            ("../..", Called::Unmappable),
            ("", Called::Unmappable),
            (&format!("r.example/app@{digest}"), Called::ByDigest),
            (&format!("r.example/app:v2@{digest}"), tag("v2")),
            ("r.example/app@sha256:../..", Called::Unmappable),
        ] {
            assert_eq!(called(name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_found_however_long_it_is_written() {
        let candidates = [
            candidate(Some("docker.io/team/app:v1"), "one"),
            candidate(Some("nginx:latest"), "two"),
            candidate(Some("quay.io/team/app:v3"), "three"),
        ];
        let found = |wanted| {
            let found = resolve(&candidates, Some(wanted), &Operation::of("find")).ok()?;
            found.name.clone()
        };
        for (wanted, name) in [
            ("team/app:v1", Some("docker.io/team/app:v1")),
            ("docker.io/library/nginx:latest", Some("nginx:latest")),
            ("nginx", Some("nginx:latest")),
            ("v3", Some("quay.io/team/app:v3")),
            ("team/app:v3", None),
            ("team/app", None),
        ] {
            assert_eq!(found(wanted).as_deref(), name, "{wanted}");
        }
    }

    #[test]
    fn one_bad_name_leaves_the_others_alone() {
        let candidates = [
            candidate(Some("v1"), "one"),
            candidate(Some("r.example/app:v1"), "two"),
            candidate(Some("v2"), "two"),
            candidate(Some("docker.io/app:v2"), "two"),
            candidate(Some("a/b"), "three"),
            candidate(None, "four"),
            candidate(None, "five"),
            candidate(None, "two"),
        ];
        let five = Digest::sha256(b"five");
        let listing = listing(&candidates, |digest| *digest == five, &Operation::of("list"));
        let targets: Vec<String> = listing.images.iter().map(|image| image.target.to_string()).collect();
        assert_eq!(targets, ["v2".to_owned(), Digest::sha256(b"four").to_string()]);
        let refused: Vec<(&str, &str)> = listing
            .refused
            .iter()
            .map(|one| (one.name.as_str(), one.error.code()))
            .collect();
        assert_eq!(
            refused,
            [("a/b", "LAYOUT_NAME_UNMAPPABLE"), ("v1", "LAYOUT_NAME_CONFLICT")]
        );
    }
}
