//! A survey adds up what the destination lacks: manifests, attachments and blobs.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Error, Result, Side, Target, Verb};

use super::attached::{Count, Lack, PARALLEL_ATTACHMENTS, limits};
use super::sides::Sides;
use super::{Action, Attachment, Comparison};
use crate::approach::Route;
use crate::graph::{Beyond, Graph, Node, Visitor, blobs, named_blobs, walk};
use crate::parallel::side_by_side;
use crate::{BlobEnd, BlobLocation, BlobLocations, Counts, Referrers};

/// Manifests whose attachments are looked for at the same time when the first difference is enough: several tags are
/// compared side by side then.
const PARALLEL_FIRST_BLOBS: usize = 4;

/// What is looked for, and what was found so far.
pub(crate) struct Survey<'a> {
    sides: &'a Sides<'a>,
    /// Where blobs are known to be; [`None`]: the survey ends at the first difference.
    locations: Option<&'a dyn BlobLocations>,
    /// The destination may hold parts of the image that no memory names.
    may_be_partial: bool,
    /// Attachments that were listed.
    count: Count,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    attachments: Vec<Attachment>,
    /// Every manifest of the image, and everything that the source lists as attached: kept if a referrer is required.
    members: Vec<Descriptor>,
    listed: Vec<Attachment>,
    kept_tags: Vec<String>,
    blobs: Counts,
    bytes: Counts,
    foreign_layers: u64,
    manifests: u64,
    /// Blobs and manifests that were counted: what several manifests share is sent once.
    counted: HashSet<Digest>,
}

impl<'a> Survey<'a> {
    /// Ends at the first difference.
    pub(crate) fn first(sides: &'a Sides<'a>) -> Self {
        Self {
            sides,
            locations: None,
            may_be_partial: true,
            count: Count::default(),
            found: Mutex::default(),
        }
    }

    /// Finds everything.
    pub(crate) fn whole(sides: &'a Sides<'a>, locations: &'a dyn BlobLocations, may_be_partial: bool) -> Self {
        Self {
            sides,
            locations: Some(locations),
            may_be_partial,
            count: Count::default(),
            found: Mutex::default(),
        }
    }

    pub(crate) const fn may_be_partial(&self) -> bool {
        self.may_be_partial
    }

    /// True if an attachment is missing or different.
    pub(crate) fn has_found(&self) -> bool {
        !self.found().attachments.is_empty()
    }

    fn is_over(&self) -> bool {
        self.locations.is_none() && self.has_found()
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_required(&self) -> bool {
        self.sides.options.referrers == Referrers::Require
    }

    /// Compares what is attached to `members`, and to that in turn.
    pub(crate) async fn attachments(&self, members: Vec<Descriptor>) -> Result<()> {
        let parallel = if self.locations.is_some() {
            PARALLEL_ATTACHMENTS
        } else {
            PARALLEL_FIRST_BLOBS
        };
        let walked = walk(members.clone(), limits(members.len(), parallel), self).await?;
        if matches!(walked.beyond, Some(Beyond::Manifests(_))) {
            return Err(Error::of(Code::GraphTooLarge, Verb::Referrers));
        }
        if self.is_required() {
            self.found().members = members;
        }
        Ok(())
    }

    /// `REFERRERS_MISSING` if the image `from` must have a referrer and has none that is proven.
    pub(crate) async fn require(&self, from: &Target) -> Result<()> {
        let (members, listed) = {
            let mut found = self.found();
            (std::mem::take(&mut found.members), std::mem::take(&mut found.listed))
        };
        if self.is_required() && !self.sides.has_proven_referrer(&members, &listed).await? {
            let operation = Verb::Copy.on_target(self.sides.source.name(), from);
            return Err(Error::of(Code::ReferrersMissing, operation));
        }
        Ok(())
    }

    async fn attachment(&self, attachment: &Attachment) -> Result<()> {
        if self.is_over() {
            return Ok(());
        }
        let source = self.sides.source;
        let manifest = match self.sides.lack_of(attachment, self.may_be_partial).await? {
            Lack::Nothing => return Ok(()),
            Lack::Kept(tag) => {
                self.found().kept_tags.push(tag.to_string());
                return Ok(());
            }
            Lack::Listing(_) => None,
            Lack::Referrer(manifest) => Some(*manifest),
            Lack::Tag { .. } if self.locations.is_none() => None,
            Lack::Tag { tag, .. } => {
                let Some(manifest) = source.manifest_get(&Target::Tag(tag)).await.at(Side::Source)? else {
                    return Ok(());
                };
                Some(manifest)
            }
        };
        self.found().attachments.push(attachment.clone());
        match manifest.filter(|_| self.locations.is_some()) {
            Some(manifest) => self.graph(&Graph::load(source, manifest, None).await?).await,
            None => Ok(()),
        }
    }

    /// Adds the manifests of `graph` and the blobs they name.
    pub(crate) async fn graph(&self, graph: &Graph) -> Result<()> {
        for group in graph.groups() {
            self.group(&group).await?;
        }
        Ok(())
    }

    async fn group(&self, nodes: &[&Node]) -> Result<()> {
        let named = named_blobs(nodes, self.sides.source).await?;
        let (blobs, foreign) = blobs(named.iter().map(AsRef::as_ref));
        let blobs: Vec<Descriptor> = {
            let mut found = self.found();
            found.foreign_layers += foreign;
            for node in nodes {
                found.manifests += u64::from(found.counted.insert(node.descriptor().digest.clone()));
            }
            let is_new = |blob: &Descriptor| found.counted.insert(blob.digest.clone());
            blobs.into_iter().filter(is_new).collect()
        };
        let Some(locations) = self.locations else { return Ok(()) };
        let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        let known = locations.find(&digests).await;
        let route = Route::new(self.sides.source, self.sides.destination, self.may_be_partial);
        let ends = blobs.iter().map(|blob| async {
            let unknown = BlobLocation::default();
            let known = known.get(&blob.digest).unwrap_or(&unknown);
            let approach = route.approach(blob, known);
            if approach.ask && self.sides.destination.blob_head(blob).await.at(Side::Destination)? {
                return Ok(BlobEnd::Skipped);
            }
            let mount_from = approach.proven(self.sides.source, blob).await;
            Ok::<_, Error>(if mount_from.is_empty() {
                BlobEnd::Copied
            } else {
                BlobEnd::Mounted
            })
        });
        let ends = side_by_side(ends.collect(), PARALLEL_ATTACHMENTS).await?;
        let mut found = self.found();
        let found = &mut *found;
        for (blob, end) in blobs.iter().zip(ends) {
            found.blobs.add(end, 1);
            found.bytes.add(end, blob.size);
        }
        Ok(())
    }

    /// What was found, of an image that the source names `source` and the destination `destination`. A copy that would leave
    /// the image as it is and has something attached to write is a copy.
    pub(crate) fn comparison(&self, action: Action, source: Descriptor, destination: Option<Descriptor>) -> Comparison {
        let found = std::mem::take(&mut *self.found());
        let is_copy = action == Action::Unchanged && !found.attachments.is_empty();
        Comparison {
            action: if is_copy { Action::Copy } else { action },
            source: Some(source.clone()),
            wanted: Some(source),
            destination,
            attachments: found.attachments,
            kept_tags: found.kept_tags,
            blobs: found.blobs,
            bytes: found.bytes,
            foreign_layers: found.foreign_layers,
            manifests_to_write: found.manifests,
            ..Comparison::of(action)
        }
    }
}

#[async_trait]
impl Visitor for Survey<'_> {
    type Visit = ();
    type Error = Error;

    async fn visit(&self, subject: &Descriptor) -> Result<((), Vec<Descriptor>)> {
        if self.is_over() {
            return Ok(((), Vec::new()));
        }
        let attached = self.sides.attached_to(&subject.digest).await?;
        self.count.add(attached.len())?;
        if self.is_required() {
            self.found().listed.extend(attached.iter().cloned());
        }
        let looks = attached.iter().map(|attachment| self.attachment(attachment));
        side_by_side(looks.collect(), PARALLEL_ATTACHMENTS).await?;
        let next = attached
            .iter()
            .map(|attachment| attachment.manifest().clone())
            .collect();
        Ok(((), next))
    }
}
