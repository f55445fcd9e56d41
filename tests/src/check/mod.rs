//! The independent checker: is the destination equal to the source, and is it complete?
//!
//! It shares no code with the product: bytes come by `curl`, hashes from `sha256sum` and `sha512sum`, and only the JSON
//! of manifests is parsed here. It answers with the first thing that is wrong, in words.

mod fetch;
mod graph;
mod referrers;

use std::collections::{BTreeMap, BTreeSet};

use fetch::Registry;
use graph::Walk;

/// I1 for one tag: the manifest byte for byte, every child and blob at the destination hashed, referrers and signature
/// tags of every manifest of the image. `Err` says what differs.
pub fn equal(
    source_host: &str,
    source_repository: &str,
    tag: &str,
    destination_host: &str,
    destination_repository: &str,
    destination_tag: &str,
) -> Result<(), String> {
    let source = Registry::new(source_host, source_repository);
    let destination = Registry::new(destination_host, destination_repository);
    let manifests = same_image(&source, tag, &destination, destination_tag)?;
    referrers::equal(&source, &destination, &manifests)
}

/// [`equal`], as an assertion.
///
/// # Panics
/// With what differs.
pub fn assert_equal(
    source_host: &str,
    source_repository: &str,
    tag: &str,
    destination_host: &str,
    destination_repository: &str,
    destination_tag: &str,
) {
    let outcome = equal(
        source_host,
        source_repository,
        tag,
        destination_host,
        destination_repository,
        destination_tag,
    );
    if let Err(reason) = outcome {
        panic!(
            "{destination_host}/{destination_repository}:{destination_tag} is not \
             {source_host}/{source_repository}:{tag}: {reason}"
        );
    }
}

/// I2 for a whole registry: every tag of its catalog is whole, and every blob has the hash of its name.
pub fn consistent(host: &str) -> Result<usize, String> {
    let mut tags = 0;
    for repository in fetch::catalog(host)? {
        let registry = Registry::new(host, &repository);
        let mut walk = Walk::new(&registry);
        for tag in registry.tags()? {
            walk.tag(&tag)
                .map_err(|reason| format!("{host}/{repository}:{tag} is not whole: {reason}"))?;
            tags += 1;
        }
    }
    Ok(tags)
}

/// [`consistent`], as an assertion; returns how many tags it saw.
///
/// # Panics
/// With what is not whole.
pub fn assert_consistent(host: &str) -> usize {
    consistent(host).unwrap_or_else(|reason| panic!("{reason}"))
}

/// I2 for one tag: all it needs is there, and every blob has the hash of its name.
pub fn whole(host: &str, repository: &str, tag: &str) -> Result<(), String> {
    Walk::new(&Registry::new(host, repository)).tag(tag).map(drop)
}

/// I2 for what a repository is to hold: each reference, a tag or a digest, names that digest, and all it needs is there.
pub fn holds(host: &str, repository: &str, expected: &BTreeMap<String, String>) -> Result<(), String> {
    let registry = Registry::new(host, repository);
    let mut walk = Walk::new(&registry);
    for (reference, digest) in expected {
        let named = walk.tag(reference);
        let named = named.map_err(|reason| format!("{host}/{repository}: {reference} is not whole: {reason}"))?;
        if named != *digest {
            return Err(format!("{host}/{repository}: {reference} names {named}, not {digest}"));
        }
    }
    Ok(())
}

/// The digests a registry lists as referrers of `subject`, by the API and by the fallback tag.
pub fn referrers(host: &str, repository: &str, subject: &str) -> Result<BTreeSet<String>, String> {
    referrers::listed(&Registry::new(host, repository), subject)
}

/// The names of all repositories of a registry.
pub fn repositories(host: &str) -> Result<Vec<String>, String> {
    fetch::catalog(host)
}

/// All tags of a repository; none if there is no such repository.
pub fn tags(host: &str, repository: &str) -> Result<Vec<String>, String> {
    Registry::new(host, repository).tags()
}

/// The digest a tag names, computed from the bytes the registry serves; [`None`] if there is no such tag.
pub fn digest(host: &str, repository: &str, tag: &str) -> Result<Option<String>, String> {
    let manifest = Registry::new(host, repository).manifest(tag)?;
    manifest.map(|manifest| manifest.file.hash("sha256")).transpose()
}

/// Compares one reference byte for byte and walks the destination's graph; the digests of its manifests.
fn same_image(
    source: &Registry,
    reference: &str,
    destination: &Registry,
    destination_reference: &str,
) -> Result<BTreeSet<String>, String> {
    let wanted = source
        .manifest(reference)?
        .ok_or_else(|| format!("the source has no {reference}"))?;
    let found = destination
        .manifest(destination_reference)?
        .ok_or_else(|| format!("the destination has no {destination_reference}"))?;
    if wanted.file.bytes()? != found.file.bytes()? {
        return Err(format!(
            "the manifests of {reference} and {destination_reference} differ"
        ));
    }
    if wanted.media_type != found.media_type {
        return Err(format!(
            "{reference} is {} at the source, {} there",
            wanted.media_type, found.media_type
        ));
    }
    let mut walk = Walk::new(destination);
    walk.tag(destination_reference)?;
    Ok(walk.manifests)
}
