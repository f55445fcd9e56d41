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

/// An item of a source with its names.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// All names, the one that decides about the tag first. Each of them selects the item.
    pub(crate) names: Vec<String>,
    pub(crate) descriptor: Descriptor,
}

impl Candidate {
    pub(crate) fn new(name: Option<String>, descriptor: Descriptor) -> Self {
        Self {
            names: name.into_iter().collect(),
            descriptor,
        }
    }

    /// The tag of the first name that has one; otherwise what the first name is. [`None`] without a name.
    pub(crate) fn called(&self) -> Option<Called> {
        let mut called = self.names.iter().map(|name| called(name));
        let first = called.next();
        match first {
            Some(Called::Tag(_)) | None => first,
            Some(_) => called.find(|called| matches!(called, Called::Tag(_))).or(first),
        }
    }

    /// Its tag, if it has one.
    pub(crate) fn tag(&self) -> Option<Tag> {
        match self.called() {
            Some(Called::Tag(tag)) => Some(tag),
            _ => None,
        }
    }

    /// True if `name` is one of its names. If it has only a tag, the tag of `name` decides.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        if self.names.iter().any(|own| is_whole(own)) {
            let meant = meaning(name);
            let mut whole = self.names.iter().filter(|own| is_whole(own));
            whole.any(|own| own == name || (meant.is_some() && meaning(own) == meant))
        } else {
            let tag = tag_part(name);
            tag.is_some() && self.names.iter().any(|own| tag_part(own) == tag)
        }
    }

    /// All names for messages: `v1 (docker.io/team/app:v1)`.
    pub(crate) fn shown(&self) -> String {
        match self.names.as_slice() {
            [] => self.descriptor.digest.to_string(),
            [one] => one.clone(),
            [first, others @ ..] => format!("{first} ({})", others.join(", ")),
        }
    }
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
        match candidate.called() {
            Some(Called::Tag(tag)) => by_tag.entry(tag).or_default().push(candidate),
            Some(Called::ByDigest) | None => by_digest.push(candidate),
            Some(Called::Unmappable) => {
                let name = candidate.names.first().cloned().unwrap_or_default();
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
                    name: one.names.first().cloned(),
                    target: Target::Tag(tag.clone()),
                    descriptor: one.descriptor.clone(),
                    refers: false,
                });
            }
            several => listing.refused.push(Refused {
                name: tag.to_string(),
                digest: None,
                error: conflict(tag.as_str(), several.iter().copied(), operation),
            }),
        }
    }
    for candidate in by_digest {
        let digest = &candidate.descriptor.digest;
        if !comes_along(digest) && named.insert(digest) {
            listing.images.push(Image {
                name: candidate.names.first().cloned(),
                target: Target::Digest(digest.clone()),
                descriptor: candidate.descriptor.clone(),
                refers: false,
            });
        }
    }
    listing
}

/// Maximum number of manifests or names that a message lists.
const SHOWN_MAX: usize = 20;

/// `LAYOUT_NAME_CONFLICT`: `name` is a name of several `candidates`.
pub(crate) fn conflict<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a Candidate>,
    operation: &Operation,
) -> Error {
    let shown = |one: &Candidate| match one.names.iter().find(|own| *own != name) {
        Some(other) => format!("{other}@{}", one.descriptor.digest),
        None => one.descriptor.digest.to_string(),
    };
    let manifests: Vec<String> = candidates.take(SHOWN_MAX).map(shown).collect();
    name_conflict(name, &manifests.join(", "), operation)
}

/// `LAYOUT_NAME_CONFLICT`: `name` is the name of several `manifests`, which are joined by commas.
pub fn name_conflict(name: &str, manifests: &str, operation: impl Into<Operation>) -> Error {
    let message = format!("{name:?} names several manifests, {manifests}: keep one of them");
    Error::new(Code::LayoutNameConflict, operation, message)
}

/// [`Images::target_of`] for `candidates`. `refused` has the names and errors of images that cannot be read: the error of the
/// wanted one is returned.
pub(crate) fn resolve<'a>(
    candidates: &'a [Candidate],
    refused: &[(Vec<String>, Error)],
    reference: Option<&str>,
    operation: &Operation,
) -> Result<&'a Candidate> {
    let named: Vec<&Candidate> = candidates.iter().filter(|one| !one.names.is_empty()).collect();
    let has = || match named.as_slice() {
        [] => "no names".to_owned(),
        named => {
            let names: Vec<String> = named.iter().take(SHOWN_MAX).map(|one| one.shown()).collect();
            names.join(", ")
        }
    };
    let found = match (reference, candidates, named.as_slice(), refused) {
        (None, [], _, [(_, why)]) => return Err(why.clone()),
        (None, [only, others @ ..], _, []) if others.iter().all(|one| is_same(one, only)) => Some(only),
        (None, _, [only], []) => Some(*only),
        _ => find(candidates, reference.unwrap_or("latest"), operation)?,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    let Some(reference) = reference else {
        let several = candidates.len() + refused.len() > 1;
        let message = if several {
            format!("the source has several images: name one of {}", has())
        } else {
            "the source has no image".to_owned()
        };
        let code = if several {
            Code::LayoutReferenceAmbiguous
        } else {
            Code::LayoutReferenceNotFound
        };
        return Err(Error::new(code, operation, message));
    };
    let is_refused = |names: &[String]| names.iter().any(|name| is_called(name, reference));
    if let Some((_, why)) = refused.iter().find(|(names, _)| is_refused(names)) {
        return Err(why.clone());
    }
    let message = format!("the source has no image {reference:?}; it has {}", has());
    Err(Error::new(Code::LayoutReferenceNotFound, operation, message))
}

fn is_same(one: &Candidate, other: &Candidate) -> bool {
    one.descriptor.digest == other.descriptor.digest
}

/// True if `name` is `wanted`, has it as its tag part, or means the same.
fn is_called(name: &str, wanted: &str) -> bool {
    let meant = meaning(wanted);
    name == wanted || tag_part(name).is_some_and(|tag| tag == wanted) || (meant.is_some() && meaning(name) == meant)
}

/// True for a name with a repository, and not only a tag.
fn is_whole(name: &str) -> bool {
    name.contains(['/', ':'])
}

fn tag_part(name: &str) -> Option<String> {
    match called(name) {
        Called::Tag(tag) => Some(tag.to_string()),
        _ => None,
    }
}

/// Compares the whole name, however long it is written, then the tag part, then the expanded name (`app` is
/// `docker.io/library/app:latest`), then the digest. Every name of an item is compared.
fn find<'a>(candidates: &'a [Candidate], wanted: &str, operation: &Operation) -> Result<Option<&'a Candidate>> {
    let meant = meaning(wanted);
    let is_meant = |name: &str| meant.is_some() && meaning(name) == meant;
    let is_name = |name: &str| name == wanted || (is_whole(wanted) && is_meant(name));
    let is_tag = |name: &str| tag_part(name).is_some_and(|tag| tag == wanted);
    for is_it in [&is_name as &dyn Fn(&str) -> bool, &is_tag, &is_meant] {
        let matches = candidates.iter().filter(|one| one.names.iter().any(|name| is_it(name)));
        let found: Vec<&Candidate> = matches.collect();
        match found.as_slice() {
            [] => {}
            [one, others @ ..] if others.iter().all(|other| is_same(other, one)) => return Ok(Some(one)),
            several => return Err(conflict(wanted, several.iter().copied(), operation)),
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
        let digest = Digest::sha256(content.as_bytes());
        Candidate::new(name.map(str::to_owned), Descriptor::new(OCI_MANIFEST.into(), digest, 1))
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
            let found = resolve(&candidates, &[], Some(wanted), &Operation::of("find")).ok()?;
            found.names.first().cloned()
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
    fn every_name_of_an_image_selects_it_and_is_shown() {
        let both = |tag: &str, whole: &str, content: &str| Candidate {
            names: vec![tag.to_owned(), whole.to_owned()],
            ..candidate(None, content)
        };
        let candidates = [
            both("v1", "docker.io/team/app:v1", "one"),
            both("v1", "docker.io/team/other:v1", "two"),
        ];
        let operation = Operation::of("find");
        let found = |wanted| resolve(&candidates, &[], Some(wanted), &operation);
        assert_eq!(
            found("docker.io/team/app:v1").unwrap().descriptor,
            candidates[0].descriptor
        );
        assert_eq!(found("team/other:v1").unwrap().descriptor, candidates[1].descriptor);
        let conflict = found("v1").unwrap_err();
        assert_eq!(conflict.code(), "LAYOUT_NAME_CONFLICT");
        let missing = found("team/none:v1").unwrap_err();
        assert_eq!(missing.code(), "LAYOUT_REFERENCE_NOT_FOUND");
        for (error, names) in [(conflict, 2), (missing, 2)] {
            let shown = ["docker.io/team/app:v1", "docker.io/team/other:v1"];
            let count = shown.iter().filter(|name| error.to_string().contains(*name)).count();
            assert_eq!(count, names, "{error}");
        }
        let unmappable = Candidate {
            names: vec!["with space".into(), "team/app:v2".into()],
            ..candidate(None, "x")
        };
        assert_eq!(unmappable.tag().map(|tag| tag.to_string()), Some("v2".into()));
    }

    #[test]
    fn the_error_of_an_image_that_cannot_be_read_is_told_when_it_is_wanted() {
        let why = Error::of(Code::ArchivePlatformsMissing, Operation::of("open"));
        let refused = [(vec!["v1".to_owned(), "docker.io/team/app:v1".to_owned()], why)];
        let operation = Operation::of("find");
        let other = [candidate(Some("v2"), "two")];
        for (candidates, wanted, code) in [
            (&[][..], None, "ARCHIVE_PLATFORMS_MISSING"),
            (&other, Some("team/app:v1"), "ARCHIVE_PLATFORMS_MISSING"),
            (&other, Some("v1"), "ARCHIVE_PLATFORMS_MISSING"),
            (&other, None, "LAYOUT_REFERENCE_AMBIGUOUS"),
            (&other, Some("v3"), "LAYOUT_REFERENCE_NOT_FOUND"),
        ] {
            assert_eq!(
                resolve(candidates, &refused, wanted, &operation).unwrap_err().code(),
                code,
                "{wanted:?}"
            );
        }
        assert!(resolve(&other, &refused, Some("v2"), &operation).is_ok());
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
