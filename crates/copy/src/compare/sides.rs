//! The two sides of a copy, as far as they are read. Nothing here writes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use transship_oci::{AtSide as _, Descriptor, Digest, Error, Manifest, Result, Side, Tag, Target};

use super::DigestTags;
use crate::decide::{decide, needs_record};
use crate::graph::members;
use crate::{Decision, Destination, Options, Owner, Replicas, Source};

/// What is compared, and by which rules.
pub(crate) struct Sides<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) destination: &'a dyn Destination,
    pub(crate) options: &'a Options,
    pub(crate) replicas: &'a dyn Replicas,
    /// Every digest tag of the source, if they were listed; [`None`]: each is asked for.
    pub(crate) digest_tags: Option<&'a DigestTags>,
    /// The source's referrers API is not asked.
    passes_api: AtomicBool,
    /// What the destination lists under its fallback tags, by subject. Each is read once.
    lists: Mutex<HashMap<Digest, Arc<OnceCell<HashSet<Digest>>>>>,
}

impl<'a> Sides<'a> {
    pub(crate) fn new(
        source: &'a dyn Source,
        destination: &'a dyn Destination,
        options: &'a Options,
        replicas: &'a dyn Replicas,
        digest_tags: Option<&'a DigestTags>,
    ) -> Self {
        Self {
            source,
            destination,
            options,
            replicas,
            digest_tags,
            passes_api: AtomicBool::new(false),
            lists: Mutex::default(),
        }
    }

    /// From now on the source's referrers API is not asked.
    pub(crate) fn pass_api(&self) {
        self.passes_api.store(true, Ordering::Relaxed);
    }

    /// True if the source's referrers API is to be asked about `subject`.
    pub(crate) async fn asks_api(&self, subject: &Digest) -> Result<bool> {
        if self.passes_api.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.source.has_referrers_api(subject).await.at(Side::Source)
    }

    /// True if the destination lists `referrer` as a referrer of `subject`: by its API, or under the fallback tag.
    pub(crate) async fn is_listed(&self, subject: &Digest, referrer: &Digest) -> Result<bool> {
        let destination = self.destination;
        if destination.has_referrers_api(subject).await.at(Side::Destination)? {
            return Ok(true);
        }
        let cell = Arc::clone(
            self.lists
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(subject.clone())
                .or_default(),
        );
        let listed = cell.get_or_try_init(async || {
            let tag: Tag = subject.fallback_tag().parse()?;
            let list = destination
                .manifest_get(&Target::Tag(tag))
                .await
                .at(Side::Destination)?;
            let entries = list
                .iter()
                .flat_map(Manifest::children)
                .map(|entry| entry.digest.clone());
            Ok::<_, Error>(entries.collect())
        });
        Ok(listed.await?.contains(referrer))
    }

    /// What to do with the destination tag `to`, which names `found` and should name `wanted`. `wrote`: what this copy wrote
    /// there itself. The record is asked only where the answer depends on it.
    pub(crate) async fn decide(
        &self,
        to: &Target,
        found: Option<&Digest>,
        wanted: &Digest,
        wrote: Option<&Digest>,
    ) -> Result<Decision> {
        let existing = self.options.existing;
        let is_asked = wrote.is_some() || needs_record(existing, self.replicas.knows_sources());
        let owner = match (found, wrote, to) {
            (Some(found), Some(wrote), _) if found == wrote => Owner::ThisCopy,
            (Some(found), _, Target::Tag(tag)) if found != wanted && is_asked => {
                match self.replicas.owner(tag, found).await? {
                    // Another worker replaced what this copy wrote.
                    Owner::Ours if wrote.is_some() => Owner::ThisCopy,
                    owner => owner,
                }
            }
            _ => Owner::Unknown,
        };
        Ok(decide(existing, wanted, found, owner))
    }

    /// The manifests of an image whose `root` both sides have: those that something may be attached to.
    pub(crate) async fn members_of(&self, root: Descriptor) -> Result<Vec<Descriptor>> {
        if root.media_type.is_index() {
            members(self.source, vec![root]).await
        } else {
            Ok(vec![root])
        }
    }
}
