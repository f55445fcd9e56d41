//! Attachments are copied where their image was copied: referrers pushed by digest, fallback tags, cosign tags.
//!
//! The replica of the subject says where that is. A subject that is still being copied is waited for, because its own copy may
//! have listed its referrers before this one was pushed.

use transship_copy::Manifests;
use transship_oci::{Code, Digest, DigestTag, Error, Result, Target, Verb};
use transship_registry::RemoteRepository;

use super::CopyImage;
use crate::ImageRef;

/// What an attachment belongs to.
#[derive(Clone)]
pub(super) enum Subject {
    /// We copied the image it belongs to.
    Replicated(Digest),
    /// The image may be being copied.
    Pending,
    /// There is no image to follow: code and message.
    None(Code, &'static str),
}

impl CopyImage<'_> {
    /// What the untagged manifest of this task belongs to, before the task is begun. Most belong to nothing, because they are
    /// children of an index, and leave no task. What was found is kept for the attempt. [`None`] if the registry is paused or
    /// does not answer: the attempt says why.
    pub(super) async fn look_at_subject(&mut self) -> Option<Subject> {
        let snapshot = self.jobs.configuration.current();
        let image = self.task.source.registry()?;
        let registry = snapshot.registry(&image.registry).ok()?;
        if self.jobs.pause_of(&[&registry]).await.is_some() {
            return None;
        }
        let source = registry.repository(image.repository.clone());
        let subject = self.subject(image, &source).await.ok()?;
        self.known_subject = Some(subject.clone());
        Some(subject)
    }

    /// The subject of `image`, which is a referrer or a digest tag, and whether we copied it to the destination.
    pub(super) async fn subject(&self, image: &ImageRef, source: &RemoteRepository) -> Result<Subject> {
        let subject = match &image.target {
            target @ Target::Tag(tag) => {
                self.check_settled(source, target).await?;
                match DigestTag::of(tag) {
                    Some(about) => subject_of(&about, source, target).await?,
                    None => None,
                }
            }
            target @ Target::Digest(_) => match source.manifest_get(target).await? {
                Some(manifest) => manifest.subject().map(|subject| subject.digest.clone()),
                None => {
                    return Ok(Subject::None(
                        Code::SourceGone,
                        "the manifest is no longer at the source",
                    ));
                }
            },
        };
        let Some(subject) = subject else {
            return Ok(Subject::None(
                Code::NotAReferrer,
                "an untagged manifest without a subject is copied with its image",
            ));
        };
        if self.is_replicated(image, &subject).await? {
            return Ok(Subject::Replicated(subject));
        }
        self.wake_unsigned(&subject).await;
        let history = &self.jobs.ledger.history;
        let is_busy = history.is_busy(&image.registry, &image.repository).await?;
        let lag = history.lag();
        let is_early = || self.task.execution.is_early(self.jobs.now(), self.tries(), lag);
        if is_busy || !lag.is_zero() && is_early() {
            return Ok(Subject::Pending);
        }
        // Its task may have ended between the two questions, with a replica and without this referrer.
        if self.is_replicated(image, &subject).await? {
            return Ok(Subject::Replicated(subject));
        }
        Ok(Subject::None(
            Code::SubjectNotReplicated,
            "the image that it belongs to is not replicated; it will be copied together with the image",
        ))
    }

    /// Refuses a digest tag that does not name yet what its event said: what it will name would be missed.
    async fn check_settled(&self, source: &RemoteRepository, target: &Target) -> Result<()> {
        let Some(expected) = self.task.expected.as_ref().filter(|_| self.is_settling()) else {
            return Ok(());
        };
        let now = source.manifest_head(target).await?;
        if now.is_some_and(|now| now.digest == *expected) {
            return Ok(());
        }
        let operation = Verb::ManifestHead.on(&self.task.source);
        Err(Error::of(Code::SourceNotSettled, operation))
    }

    /// True if `subject` is part of what we copied from the repository of `image` to the destination repository.
    async fn is_replicated(&self, image: &ImageRef, subject: &Digest) -> Result<bool> {
        let destination = &self.task.destination;
        let (to, from) = (
            (destination.registry.as_str(), &destination.repository),
            (image.registry.as_str(), &image.repository),
        );
        self.jobs.ledger.replicas.holds(to, from, subject).await
    }
}

/// The manifest that the digest tag `target` belongs to. A sha512 tag holds half of its digest; a referrer that the fallback
/// index lists holds all of it.
async fn subject_of(about: &DigestTag, source: &RemoteRepository, target: &Target) -> Result<Option<Digest>> {
    if let Some(subject) = about.subject() {
        return Ok(Some(subject));
    }
    let Some(index) = source.manifest_get(target).await? else {
        return Ok(None);
    };
    // A registry may resolve the tag to the subject itself.
    let own = Digest::of(about.algorithm(), index.bytes());
    if about.is_about(&own) {
        return Ok(Some(own));
    }
    let listed: Vec<Target> = index
        .children()
        .iter()
        .map(|entry| Target::Digest(entry.digest.clone()))
        .collect();
    // It may be large, and so may each of them.
    drop(index);
    for referrer in listed {
        let Some(referrer) = source.manifest_get(&referrer).await? else {
            continue;
        };
        if let Some(subject) = referrer.subject()
            && about.is_about(&subject.digest)
        {
            return Ok(Some(subject.digest.clone()));
        }
    }
    Ok(None)
}
