//! What belongs to an image without being named by it: referrers, and cosign's digest tags.
//!
//! They are listed at the source for every manifest of the image, and for referrers in turn (a signature of an SBOM).
//! Tags are asked for one by one: listings drop tags in places (distribution 3.1.0 with S3 loses prefix siblings, which
//! digest tags are), and a lost signature is worse than three HEADs.

use std::collections::HashSet;

use transship_oci::referrers::cosign_tags;
use transship_oci::{Code, Digest, Error, Result, Tag, Target, Verb};

use crate::Existing;
use crate::graph::Graph;
use crate::parallel::side_by_side;
use crate::work::{ROUNDS, Work};

/// A signature of an attestation of an image is two; more than this is not followed.
const MAX_DEPTH: usize = 4;
/// More attachments of one image than this are refused.
const MAX_ATTACHMENTS: usize = 10_000;
const PARALLEL: usize = 16;

/// One attachment the source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// A manifest listed as referring to `subject`.
    Referrer {
        /// What it says it is about.
        subject: Digest,
        /// Itself.
        digest: Digest,
    },
    /// A tag named after a manifest's digest.
    DigestTag {
        /// The tag.
        tag: Tag,
        /// What it names at the source.
        digest: Digest,
    },
}

impl Work<'_> {
    /// Everything attached to `members`, in an order in which it can be written.
    pub(crate) async fn attachments(&self, members: &[Digest]) -> Result<Vec<Attachment>> {
        let mut found = Vec::new();
        let mut seen: HashSet<Digest> = members.iter().cloned().collect();
        let mut level: Vec<Digest> = members.to_vec();
        for _ in 0..MAX_DEPTH {
            let listings = level.iter().map(|digest| self.attached_to(digest)).collect();
            let attached: Vec<Vec<Attachment>> = side_by_side(listings, PARALLEL).await?;
            level = Vec::new();
            for attachment in attached.into_iter().flatten() {
                let (Attachment::Referrer { digest, .. } | Attachment::DigestTag { digest, .. }) = &attachment;
                if seen.insert(digest.clone()) {
                    level.push(digest.clone());
                }
                found.push(attachment);
            }
            if found.len() > MAX_ATTACHMENTS {
                return Err(Error::of(Code::GraphTooLarge, Verb::Referrers));
            }
            if level.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    pub(crate) async fn attach_all(&self, attachments: &[Attachment], is_likely: bool) -> Result<()> {
        let all = attachments.iter().map(|attachment| self.attach(attachment, is_likely));
        side_by_side(all.collect(), PARALLEL).await?;
        self.list_unlisted().await
    }

    async fn attached_to(&self, subject: &Digest) -> Result<Vec<Attachment>> {
        let source = self.request.source;
        let listed = source.referrers(subject);
        let tags = async {
            let tags: Vec<Tag> = cosign_tags(subject).filter_map(|tag| tag.parse().ok()).collect();
            let heads = tags.into_iter().map(|tag| async move {
                let head = source.manifest_head(&Target::Tag(tag.clone())).await?;
                Ok::<_, Error>(head.map(|head| Attachment::DigestTag {
                    tag,
                    digest: head.digest,
                }))
            });
            side_by_side(heads.collect(), PARALLEL).await
        };
        let (listed, tags) = tokio::try_join!(listed, tags)?;
        let referrers = listed.into_iter().map(|referrer| Attachment::Referrer {
            subject: subject.clone(),
            digest: referrer.digest,
        });
        Ok(referrers.chain(tags.into_iter().flatten()).collect())
    }

    /// Brings one attachment over. `is_likely`: the destination may have it.
    pub(crate) async fn attach(&self, attachment: &Attachment, is_likely: bool) -> Result<()> {
        match attachment {
            Attachment::Referrer { subject, digest } => self.attach_referrer(subject, digest, is_likely).await,
            Attachment::DigestTag { tag, digest } => self.attach_tag(tag, digest).await,
        }
    }

    async fn attach_referrer(&self, subject: &Digest, digest: &Digest, is_likely: bool) -> Result<()> {
        let target = Target::Digest(digest.clone());
        let has_it = is_likely && self.request.destination.manifest_head(&target).await?.is_some();
        // What is there is listed there, unless a worker died between writing and listing.
        if has_it && (!self.request.options.is_repeated || self.request.destination.has_referrers_api(subject).await?) {
            return Ok(());
        }
        let Some(manifest) = self.request.source.manifest_get(&target).await? else {
            // Listed and gone: a signature that was removed. The list is a hint, as events are.
            return Ok(());
        };
        if manifest.subject().is_none_or(|said| said.digest != *subject) {
            // A list can say anything; the manifest itself says what it is about.
            return Ok(());
        }
        if has_it {
            self.tally()
                .unlisted
                .entry(subject.clone())
                .or_default()
                .push(manifest.referrer_descriptor());
            return Ok(());
        }
        let graph = Graph::load(self.request.source, manifest, None).await?;
        self.bring_graph(&graph, &target, is_likely).await
    }

    async fn attach_tag(&self, tag: &Tag, digest: &Digest) -> Result<()> {
        let target = Target::Tag(tag.clone());
        let there = self.request.destination.manifest_head(&target).await?;
        if let Some(there) = there {
            if there.digest == *digest {
                return Ok(());
            }
            let is_ours = match self.request.options.existing {
                Existing::Keep => false,
                Existing::Overwrite | Existing::Backup => true,
                Existing::Follow => self.request.replicas.written(tag).await?.contains(&there.digest),
            };
            if !is_ours {
                self.tally().kept_tags.push(tag.to_string());
                return Ok(());
            }
        }
        for _ in 0..ROUNDS {
            let Some(manifest) = self.request.source.manifest_get(&target).await? else {
                return Ok(());
            };
            let written = manifest.digest().clone();
            let graph = Graph::load(self.request.source, manifest, None).await?;
            self.bring_graph(&graph, &target, true).await?;
            // A tag may move here as an image's does: whoever writes last has looked last.
            let now = self.request.source.manifest_head(&target).await?;
            if now.is_none_or(|now| now.digest == written) {
                return Ok(());
            }
        }
        Err(Error::of(Code::SourceMoving, Verb::Copy.on(target)))
    }
}
