//! What a sweep looks for beside an image that is equal on both sides: its referrers and cosign tags, whose events get lost as
//! any other's do.
//!
//! What must hold: an image with nothing attached costs one request where the source lists referrers itself, and none where
//! its tags tell that there are none. Only what a task would bring is missing. What only the API lists below a child of an
//! index is not looked for: that would be one request for each platform of each tag.

use std::collections::HashMap;

use futures_util::future::try_join;
use transship_copy::{Destination, Manifests, Source, source_manifest};
use transship_oci::{Descriptor, Digest, Existing, Manifest, Referrers, Result, Tag, Target};
use transship_registry::RemoteRepository;

use super::compare::is_ours;
use super::rule::Walk;

/// The digest tags of a repository by the fallback tag of the manifest they are attached to, as
/// [`transship_oci::DigestTag::subject_tag`] has it.
pub(crate) type DigestTags = HashMap<String, Vec<Tag>>;

/// A repository on both sides.
pub(crate) struct Sides {
    pub(crate) from: RemoteRepository,
    pub(crate) to: RemoteRepository,
}

impl Walk<'_> {
    /// True if the source has something attached to `image` that the destination lacks. `digest_tags`: those of the source.
    pub(crate) async fn lacks_attachment(
        &self,
        sides: &Sides,
        image: &Descriptor,
        digest_tags: &DigestTags,
    ) -> Result<bool> {
        if self.rule.referrers == Referrers::Exclude {
            return Ok(false);
        }
        if sides.from.has_referrers_api(&image.digest).await? && lacks_referrer(sides, &image.digest).await? {
            return Ok(true);
        }
        for member in members(sides, image, digest_tags).await? {
            let fallback = member.fallback_tag();
            for tag in digest_tags.get(&fallback).into_iter().flatten() {
                let lacks = if tag.as_str() == fallback {
                    lacks_referrer(sides, &member).await?
                } else {
                    self.lacks_cosign_tag(sides, tag).await?
                };
                if lacks {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn lacks_cosign_tag(&self, sides: &Sides, tag: &Tag) -> Result<bool> {
        let target = Target::Tag(tag.clone());
        let (wanted, found) = try_join(sides.from.manifest_head(&target), sides.to.manifest_head(&target)).await?;
        let (wanted, found) = (wanted.map(|found| found.digest), found.map(|found| found.digest));
        Ok(wanted.is_some() && wanted != found && self.may_write(sides, tag, found.as_ref()).await?)
    }

    /// True if the rule lets a task replace `found` under the digest tag `tag`.
    async fn may_write(&self, sides: &Sides, tag: &Tag, found: Option<&Digest>) -> Result<bool> {
        let Some(found) = found else { return Ok(true) };
        match self.rule.existing {
            Existing::Keep => Ok(false),
            Existing::Overwrite | Existing::Backup => Ok(true),
            Existing::Follow => {
                let registry = &self.rule.destination.registry;
                let replica = self.jobs.ledger.replica(registry, sides.to.repository(), tag).await?;
                Ok(replica.is_some_and(|replica| is_ours(&replica, found)))
            }
        }
    }
}

/// The image, and the children of an index if something may be attached to them.
async fn members(sides: &Sides, image: &Descriptor, digest_tags: &DigestTags) -> Result<Vec<Digest>> {
    let mut members = vec![image.digest.clone()];
    let own = image.digest.fallback_tag();
    if image.media_type.is_index() && digest_tags.keys().any(|subject| *subject != own) {
        let index = source_manifest(&sides.from, &Target::Digest(image.digest.clone())).await?;
        members.extend(index.children().iter().map(|child| child.digest.clone()));
    }
    Ok(members)
}

/// Referrers of referrers come with them and are not looked at one by one.
async fn lacks_referrer(sides: &Sides, subject: &Digest) -> Result<bool> {
    for referrer in sides.from.referrers(subject).await? {
        let target = Target::Digest(referrer.digest);
        if sides.to.manifest_head(&target).await?.is_none() && refers(&sides.from, &target, subject).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if what was listed is there and says itself what it is about: a list can say anything.
async fn refers(source: &RemoteRepository, referrer: &Target, about: &Digest) -> Result<bool> {
    let manifest = source.manifest_get(referrer).await?;
    let subject = manifest.as_ref().and_then(Manifest::subject);
    Ok(subject.is_some_and(|subject| subject.digest == *about))
}
