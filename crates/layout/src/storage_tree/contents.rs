//! The content of a repository of a tree: its tags, its revisions, and their relations.

use super::dangling;
use std::collections::{BTreeSet, HashMap, HashSet};
use transship_copy::Manifests as _;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use transship_oci::{Descriptor, Digest, Error, Manifest, Operation, Result, Tag, Target};

use super::TreeRepository;
use crate::PAGE_MAX;
use crate::images::{self, Candidate, Images, Listing, Refused};

/// Maximum number of links that are read at the same time.
pub(super) const PARALLEL_LINKS: usize = 16;
/// Maximum number of manifests that are read at the same time; each may have 4 MiB.
const PARALLEL_MANIFESTS: usize = 4;

/// The entries below `_manifests/`.
#[derive(Default)]
struct Names {
    tags: BTreeSet<Tag>,
    revisions: BTreeSet<Digest>,
    /// Keys with an invalid tag or digest.
    bad: Vec<(String, Error)>,
}

impl Names {
    fn take(&mut self, key: &str) {
        let parts: Vec<&str> = key.split('/').collect();
        match parts.as_slice() {
            ["tags", tag, "current", "link"] => match tag.parse() {
                Ok(tag) => drop(self.tags.insert(tag)),
                Err(error) => self.bad.push(((*tag).to_owned(), error)),
            },
            ["revisions", algorithm, hex, "link"] => match format!("{algorithm}:{hex}").parse() {
                Ok(digest) => drop(self.revisions.insert(digest)),
                Err(error) => self.bad.push((format!("{algorithm}:{hex}"), error)),
            },
            _ => {}
        }
    }
}

/// Facts of a revision.
struct Revision {
    descriptor: Descriptor,
    /// Whether it has a subject, in this repository or not.
    refers: bool,
    children: Vec<Digest>,
}

impl Revision {
    fn of(manifest: &Manifest) -> Self {
        Self {
            descriptor: manifest.descriptor(),
            refers: manifest.subject().is_some(),
            children: manifest.children().iter().map(|child| child.digest.clone()).collect(),
        }
    }
}

/// Result of reading a revision.
enum Read {
    SourceRef(Box<Manifest>),
    Missing,
    Bad(Error),
}

impl TreeRepository {
    async fn names(&self) -> Result<Names> {
        let prefix = self.manifests();
        let (mut names, mut after) = (Names::default(), None::<String>);
        loop {
            let page = self.store.list(&prefix, after.as_deref(), PAGE_MAX).await?;
            for object in &page.objects {
                names.take(object.key.strip_prefix(&prefix).unwrap_or_default());
            }
            after = page.objects.last().map(|last| last.key.clone());
            if page.is_last || after.is_none() {
                return Ok(names);
            }
        }
    }

    async fn read(&self, digest: &Digest) -> Result<Read> {
        match self.manifest_bytes(digest).await {
            Ok(Some(manifest)) => Ok(Read::SourceRef(Box::new(manifest))),
            Ok(None) => Ok(Read::Missing),
            Err(error) if error.persistence().is_permanent() => Ok(Read::Bad(error)),
            Err(error) => Err(error),
        }
    }

    /// All referrers among the revisions, by subject.
    pub(super) async fn all_referrers(&self) -> Result<HashMap<Digest, Vec<Descriptor>>> {
        let names = self.names().await?;
        let referrers: Vec<Option<(Digest, Descriptor)>> = stream::iter(names.revisions)
            .map(|digest| async move {
                let Read::SourceRef(manifest) = self.read(&digest).await? else {
                    return Ok(None);
                };
                let subject = manifest.subject().map(|subject| subject.digest.clone());
                Ok::<_, Error>(subject.map(|subject| (subject, manifest.referrer_descriptor())))
            })
            .buffered(PARALLEL_MANIFESTS)
            .try_collect()
            .await?;
        let mut by_subject: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
        for (subject, referrer) in referrers.into_iter().flatten() {
            by_subject.entry(subject).or_default().push(referrer);
        }
        Ok(by_subject)
    }

    /// Each tag with its digest, and the tags with invalid links.
    async fn tagged(&self, tags: BTreeSet<Tag>) -> Result<Vec<(Tag, Result<Option<Digest>>)>> {
        let linked: Vec<(Tag, Result<Option<Digest>>)> = stream::iter(tags)
            .map(|tag| async move {
                let linked = self.linked(&tag).await;
                (tag, linked)
            })
            .buffered(PARALLEL_LINKS)
            .collect()
            .await;
        for (_, linked) in &linked {
            if let Err(error) = linked
                && !error.is_permanent()
            {
                return Err(error.clone());
            }
        }
        Ok(linked)
    }
}

#[async_trait]
impl Images for TreeRepository {
    async fn images(&self) -> Result<Listing> {
        let name = self.name();
        let operation = Operation::of(&name);
        let names = self.names().await?;
        let mut refused: Vec<Refused> = Vec::new();
        let refuse = |name: String, digest: Option<Digest>, error: Error| Refused { name, digest, error };
        for (name, error) in names.bad {
            refused.push(refuse(name, None, error.during(&operation)));
        }
        let mut revisions: HashMap<Digest, Revision> = HashMap::new();
        let mut at_fault: HashMap<Digest, Option<Error>> = HashMap::new();
        {
            let mut reads = stream::iter(names.revisions.iter().cloned())
                .map(|digest| async move {
                    let read = self.read(&digest).await?;
                    Ok::<_, Error>((digest, read))
                })
                .buffered(PARALLEL_MANIFESTS);
            while let Some((digest, read)) = reads.try_next().await? {
                match read {
                    Read::SourceRef(manifest) => drop(revisions.insert(digest, Revision::of(&manifest))),
                    Read::Missing => drop(at_fault.insert(digest, None)),
                    Read::Bad(error) => drop(at_fault.insert(digest, Some(error))),
                }
            }
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut named: HashSet<Digest> = HashSet::new();
        for (tag, linked) in self.tagged(names.tags).await? {
            match linked {
                Ok(Some(digest)) => {
                    named.insert(digest.clone());
                    if let Some(revision) = revisions.get(&digest) {
                        candidates.push(Candidate::new(Some(tag.to_string()), revision.descriptor.clone()));
                    } else {
                        let why = at_fault.get(&digest).cloned().flatten();
                        let why = why.unwrap_or_else(|| dangling(&digest));
                        let error = why.during(Operation::of(format_args!("{name}:{tag}")));
                        refused.push(refuse(tag.to_string(), Some(digest), error));
                    }
                }
                // Removed since it was listed.
                Ok(None) => {}
                Err(error) => refused.push(refuse(tag.to_string(), None, error)),
            }
        }
        for (digest, why) in at_fault.into_iter().filter(|(digest, _)| !named.contains(digest)) {
            let why = why.unwrap_or_else(|| dangling(&digest));
            let error = why.during(Operation::of(format_args!("{name}@{digest}")));
            refused.push(refuse(digest.to_string(), Some(digest), error));
        }
        let children: HashSet<&Digest> = revisions.values().flat_map(|revision| &revision.children).collect();
        let mut untagged: Vec<&Revision> = revisions.values().collect();
        untagged.sort_by(|one, two| one.descriptor.digest.cmp(&two.descriptor.digest));
        let untagged = untagged.into_iter();
        candidates.extend(untagged.map(|revision| Candidate::new(None, revision.descriptor.clone())));
        let mut listing = images::listing(&candidates, |digest| children.contains(digest), &operation);
        for image in &mut listing.images {
            image.refers = match &image.target {
                Target::Digest(digest) => revisions.get(digest).is_some_and(|revision| revision.refers),
                Target::Tag(_) => false,
            };
        }
        listing.refused.extend(refused);
        Ok(listing)
    }

    async fn target_of(&self, reference: Option<&str>) -> Result<Target> {
        let listing = self.images().await?;
        let candidates: Vec<Candidate> = listing
            .images
            .into_iter()
            .map(|image| Candidate::new(image.name, image.descriptor))
            .collect();
        let refused = listing.refused.into_iter();
        let refused: Vec<(Vec<String>, Error)> = refused.map(|one| (vec![one.name], one.error)).collect();
        let found = images::resolve(&candidates, &refused, reference, &Operation::of(self.name()))?;
        Ok(Target::Digest(found.descriptor.digest.clone()))
    }
}
