//! What belongs to an image without being named by it: referrers, and cosign's digest tags.
//!
//! They are listed at the source for every manifest of the image, and for referrers in turn (a signature of an SBOM).
//! Unless the caller listed the tags of the repository, tags are asked for one by one: listings drop tags in places
//! (distribution 3.1.0 with S3 loses prefix siblings, which digest tags are), and a lost signature is worse than three
//! HEADs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use transship_oci::referrers::cosign_tags;
use transship_oci::{
    AtSide as _, Code, Descriptor, Digest, DigestTag, Error, Manifest, Result, Side, Tag, Target, Verb,
};

use super::sides::Sides;
use crate::graph::{Beyond, Limits, Visitor, walk};
use crate::{Decision, Existing};

/// Steps from a member of the image to the attachments that are followed: a signature of an attestation is two.
pub(crate) const MAX_STEPS: usize = 4;
/// More attachments of one image than this are refused.
pub(crate) const MAX_ATTACHMENTS: usize = 10_000;
/// Requests about attachments at the same time.
pub(crate) const PARALLEL_ATTACHMENTS: usize = 16;

/// One attachment that the source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// A manifest that is listed as referring to `subject`.
    Referrer {
        /// What it says it is about.
        subject: Digest,
        /// The manifest itself.
        manifest: Descriptor,
    },
    /// A tag named after a manifest's digest.
    DigestTag {
        /// The tag.
        tag: Tag,
        /// What it names at the source.
        manifest: Descriptor,
    },
}

impl Attachment {
    /// The manifest that is attached.
    pub const fn manifest(&self) -> &Descriptor {
        match self {
            Self::Referrer { manifest, .. } | Self::DigestTag { manifest, .. } => manifest,
        }
    }
}

/// What the destination lacks of one attachment.
pub(crate) enum Lack {
    /// Nothing. Or the source has it no more, or the list was wrong.
    Nothing,
    /// Its tag names something else there, which is kept.
    Kept(Tag),
    /// The manifest of a referrer.
    Referrer(Box<Manifest>),
    /// The manifest of a referrer that is there, and may not be listed there.
    Listing(Box<Manifest>),
    /// The tag names something else there, or is not there.
    Tag {
        /// The tag.
        tag: Tag,
        /// The tag names something there.
        is_there: bool,
    },
}

/// Lists what is attached to each manifest it visits, and goes on there.
struct Lister<'a> {
    sides: &'a Sides<'a>,
    found: Count,
}

/// The number of attachments of an image, as they are found.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicUsize);

impl Count {
    /// Counts `more`. `GRAPH_TOO_LARGE` if they are too many.
    pub(crate) fn add(&self, more: usize) -> Result<()> {
        if self.0.fetch_add(more, Ordering::Relaxed) + more > MAX_ATTACHMENTS {
            return Err(Error::of(Code::GraphTooLarge, Verb::Referrers));
        }
        Ok(())
    }
}

#[async_trait]
impl Visitor for Lister<'_> {
    type Visit = Vec<Attachment>;
    type Error = Error;

    async fn visit(&self, subject: &Descriptor) -> Result<(Vec<Attachment>, Vec<Descriptor>)> {
        let attached = self.sides.attached_to(&subject.digest).await?;
        self.found.add(attached.len())?;
        let next = attached
            .iter()
            .map(|attachment| attachment.manifest().clone())
            .collect();
        Ok((attached, next))
    }
}

/// How far attachments of `members` manifests are followed.
pub(crate) const fn limits(members: usize, parallel: usize) -> Limits {
    Limits {
        levels: MAX_STEPS,
        manifests: members + MAX_ATTACHMENTS,
        parallel,
    }
}

impl Sides<'_> {
    /// Everything attached to `members`, in an order in which it can be written.
    pub(crate) async fn attachments(&self, members: Vec<Descriptor>) -> Result<Vec<Attachment>> {
        let limits = limits(members.len(), PARALLEL_ATTACHMENTS);
        let lister = Lister {
            sides: self,
            found: Count::default(),
        };
        let found = walk(members, limits, &lister).await?;
        if matches!(found.beyond, Some(Beyond::Manifests(_))) {
            return Err(Error::of(Code::GraphTooLarge, Verb::Referrers));
        }
        Ok(found.into_visited().flat_map(|(_, attached)| attached).collect())
    }

    /// What the source has attached to `subject`.
    pub(crate) async fn attached_to(&self, subject: &Digest) -> Result<Vec<Attachment>> {
        let (is_listed, tags) = match self.digest_tags {
            None => (true, cosign_tags(subject).filter_map(|tag| tag.parse().ok()).collect()),
            Some(known) => {
                let is_listed = known.has_fallback(subject) || self.asks_api(subject).await?;
                (is_listed, known.cosign(subject))
            }
        };
        let listed = async {
            if is_listed {
                self.source.referrers(subject).await.at(Side::Source)
            } else {
                Ok(Vec::new())
            }
        };
        let (listed, mut tags) = tokio::try_join!(listed, self.tags_at_source(subject, tags))?;
        // A registry that resolves such a tag to the image itself has nothing attached there.
        tags.retain(|tag| tag.manifest().digest != *subject);
        let listed = listed.into_iter().filter(|manifest| manifest.digest != *subject);
        let referrers = listed.map(|manifest| Attachment::Referrer {
            subject: subject.clone(),
            manifest,
        });
        Ok(referrers.chain(tags).collect())
    }

    async fn tags_at_source(&self, subject: &Digest, tags: Vec<Tag>) -> Result<Vec<Attachment>> {
        let found = self.source.digest_tag_heads(&tags, subject).await.at(Side::Source)?;
        let found = tags.into_iter().zip(found);
        Ok(found
            .filter_map(|(tag, manifest)| {
                Some(Attachment::DigestTag {
                    tag,
                    manifest: manifest?,
                })
            })
            .collect())
    }

    /// What the destination lacks of `attachment`. Unless it `may_be_there`, a referrer is not looked for.
    pub(crate) async fn lack_of(&self, attachment: &Attachment, may_be_there: bool) -> Result<Lack> {
        match attachment {
            Attachment::Referrer { subject, manifest } => {
                self.lack_of_referrer(subject, &manifest.digest, may_be_there).await
            }
            Attachment::DigestTag { tag, manifest } => self.lack_of_tag(tag, &manifest.digest).await,
        }
    }

    async fn lack_of_referrer(&self, subject: &Digest, referrer: &Digest, may_be_there: bool) -> Result<Lack> {
        let target = Target::Digest(referrer.clone());
        let is_there = may_be_there
            && self
                .destination
                .manifest_head(&target)
                .await
                .at(Side::Destination)?
                .is_some();
        // It may be there without being listed: the copy that wrote it may have failed before it wrote the list.
        if is_there && self.is_listed(subject, referrer).await? {
            return Ok(Lack::Nothing);
        }
        let Some(manifest) = self.proven_referrer(subject, &target).await? else {
            return Ok(Lack::Nothing);
        };
        Ok(if is_there {
            Lack::Listing(Box::new(manifest))
        } else {
            Lack::Referrer(Box::new(manifest))
        })
    }

    /// The manifest `referrer` of the source if it refers to `subject`. [`None`] if it is gone (a signature that was removed) or
    /// refers to something else: a list can contain anything, and the manifest itself states its subject.
    async fn proven_referrer(&self, subject: &Digest, referrer: &Target) -> Result<Option<Manifest>> {
        let manifest = self.source.manifest_get(referrer).await.at(Side::Source)?;
        Ok(manifest.filter(|manifest| manifest.subject().is_some_and(|said| said.digest == *subject)))
    }

    /// True if one of `attached` is proven to belong to one of `members`: a manifest whose `subject` is the member, or a
    /// cosign tag of the member that names a manifest. What is only listed proves nothing.
    pub(crate) async fn has_proven_referrer(&self, members: &[Descriptor], attached: &[Attachment]) -> Result<bool> {
        let members: HashSet<&Digest> = members.iter().map(|member| &member.digest).collect();
        for attachment in attached {
            let is_proven = match attachment {
                Attachment::Referrer { subject, manifest } if members.contains(subject) => {
                    let referrer = Target::Digest(manifest.digest.clone());
                    self.proven_referrer(subject, &referrer).await?.is_some()
                }
                Attachment::DigestTag { tag, .. }
                    if DigestTag::of(tag).is_some_and(|about| members.iter().any(|member| about.is_about(member))) =>
                {
                    let target = Target::Tag(tag.clone());
                    let named = self.source.manifest_get(&target).await.at(Side::Source)?;
                    named.is_some_and(|named| !members.contains(named.digest()))
                }
                _ => false,
            };
            if is_proven {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn lack_of_tag(&self, tag: &Tag, wanted: &Digest) -> Result<Lack> {
        let target = Target::Tag(tag.clone());
        let mut found = self.destination.manifest_head(&target).await.at(Side::Destination)?;
        if found.is_none() && self.options.existing != Existing::Overwrite {
            found = self.destination.manifest_find(&target).await.at(Side::Destination)?;
        }
        let found = found.map(|found| found.digest);
        Ok(match self.decide(&target, found.as_ref(), wanted, None).await? {
            Decision::Equal => Lack::Nothing,
            Decision::Keep(_) => Lack::Kept(tag.clone()),
            // A digest tag gets no backup: its name says what it is about, not which version it is.
            Decision::Write { backup: _ } => Lack::Tag {
                tag: tag.clone(),
                is_there: found.is_some(),
            },
        })
    }
}
