//! The images of a layout: those that can be read by name or digest, and those that belong to another image.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use transship_copy::graph::{Limits, MAX_DEPTH, Visitor, manifests_below, walk};
use transship_oci::{Descriptor, Digest, DigestTag, Error, Result, Target};

use super::{Layout, PARALLEL_MANIFESTS};
use crate::images::{self, Candidate, Images, Listing, Refused};

/// Maximum number of manifests for which the relations are read.
const MAX_MEMBERS: usize = 200_000;

#[async_trait]
impl Images for Layout {
    async fn images(&self) -> Result<Listing> {
        let members = self.members().await?;
        let (unreadable, attached) = self.unnamed(&members).await?;
        let is_refused = |digest: &Digest| unreadable.iter().any(|refused| refused.digest.as_ref() == Some(digest));
        let candidates: Vec<Candidate> = self
            .contents
            .candidates
            .iter()
            .filter(|candidate| !belongs_to_another(candidate, &members))
            .cloned()
            .collect();
        let comes_along =
            |digest: &Digest| members.children.contains(digest) || attached.contains(digest) || is_refused(digest);
        let operation = self.operation();
        let mut listing = images::listing(&candidates, comes_along, &operation);
        let broken = self.contents.broken.iter().map(|broken| Refused {
            name: broken.name.clone(),
            digest: None,
            error: broken.error(&operation),
        });
        listing.refused.extend(broken);
        listing.refused.extend(unreadable);
        Ok(listing)
    }

    async fn target_of(&self, reference: Option<&str>) -> Result<Target> {
        Ok(Target::Digest(self.resolve(reference)?.descriptor.digest))
    }
}

/// Every manifest of the layout that belongs to an image.
#[derive(Default)]
struct Members {
    /// Named by `index.json`.
    roots: HashSet<Digest>,
    /// Named by an index.
    children: HashSet<Digest>,
}

impl Members {
    fn has(&self, digest: &Digest) -> bool {
        self.roots.contains(digest) || self.children.contains(digest)
    }

    /// True if the manifest that `tag` belongs to is one of them.
    fn has_subject(&self, tag: &DigestTag) -> bool {
        match tag.subject() {
            Some(subject) => self.has(&subject),
            None => self
                .roots
                .iter()
                .chain(&self.children)
                .any(|digest| tag.is_about(digest)),
        }
    }
}

/// True for cosign's tags and the fallback tag of a manifest of this layout, which are copied with it.
fn belongs_to_another(candidate: &Candidate, members: &Members) -> bool {
    let about = candidate.tag().and_then(|tag| DigestTag::of(&tag));
    about.is_some_and(|about| members.has_subject(&about))
}

/// Reads indexes and nothing else: the manifests that they name are known without being read.
struct IndexReader<'a>(&'a Layout);

#[async_trait]
impl Visitor for IndexReader<'_> {
    /// The manifests that an index names. A root may be among them, which a walk visits only once.
    type Visit = Vec<Digest>;
    type Error = Error;

    async fn visit(&self, manifest: &Descriptor) -> Result<(Vec<Digest>, Vec<Descriptor>)> {
        if !manifest.media_type.is_index() {
            return Ok((Vec::new(), Vec::new()));
        }
        let index = self.0.manifest_if_good(&manifest.digest).await?;
        let below: Vec<Descriptor> = index.iter().flat_map(manifests_below).collect();
        Ok((below.iter().map(|child| child.digest.clone()).collect(), below))
    }
}

impl Layout {
    async fn members(&self) -> Result<Members> {
        let roots = self.listed().iter().filter(|entry| !is_fallback(entry));
        let roots = roots.map(|entry| entry.descriptor.clone()).collect();
        let limits = Limits {
            levels: MAX_DEPTH + 1,
            manifests: MAX_MEMBERS,
            parallel: PARALLEL_MANIFESTS,
        };
        let found = walk(roots, limits, &IndexReader(self)).await?;
        Ok(Members {
            roots: self
                .listed()
                .iter()
                .map(|entry| entry.descriptor.digest.clone())
                .collect(),
            children: found.into_visited().flat_map(|(_, children)| children).collect(),
        })
    }

    /// Entries without a tag: invalid ones, and referrers of a manifest of this layout.
    async fn unnamed(&self, members: &Members) -> Result<(Vec<Refused>, HashSet<Digest>)> {
        let unnamed: Vec<Digest> = self
            .listed()
            .iter()
            .filter(|entry| entry.tag().is_none())
            .map(|entry| entry.descriptor.digest.clone())
            .collect();
        let read: Vec<(Digest, Result<Option<Digest>>)> = stream::iter(unnamed)
            .map(|digest| async move {
                let target = Target::Digest(digest.clone());
                let manifest = transship_copy::source_manifest(self, &target).await;
                let subject = manifest.map(|manifest| manifest.subject().map(|subject| subject.digest.clone()));
                (digest, subject)
            })
            .buffered(PARALLEL_MANIFESTS)
            .collect()
            .await;
        let (mut refused, mut attached) = (Vec::new(), HashSet::new());
        for (digest, subject) in read {
            match subject {
                Ok(Some(subject)) if subject != digest && members.has(&subject) => {
                    attached.insert(digest);
                }
                Ok(_) => {}
                Err(error) if error.persistence().is_permanent() => refused.push(Refused {
                    name: digest.to_string(),
                    error,
                    digest: Some(digest),
                }),
                Err(error) => return Err(error),
            }
        }
        Ok((refused, attached))
    }
}

/// A fallback tag lists referrers, which are not its children.
fn is_fallback(entry: &Candidate) -> bool {
    let about = entry.tag().and_then(|tag| DigestTag::of(&tag));
    about.is_some_and(|about| about.is_fallback())
}
