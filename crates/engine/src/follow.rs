//! What belongs to an image goes where that image went: referrers pushed by digest, fallback tags, cosign tags.
//!
//! The subject's replica says where. A subject that is still on its way is waited for, because its own copy may have
//! listed its referrers before this one was pushed.

use transship_copy::Manifests;
use transship_oci::{Code, Digest, DigestTag, Error, Result, Target, Verb};
use transship_registry::RemoteRepository;

use crate::{Replicator, Task};

/// What a task that follows came upon.
pub(crate) enum Subject {
    /// The image it belongs to, at the destination by our hand.
    Replicated(Digest),
    /// The image may be on its way.
    Pending,
    /// There is nothing to follow: code and sentence.
    None(&'static str, &'static str),
}

impl Replicator {
    /// What a referrer or a digest tag belongs to, and whether that is at the destination by our hand.
    pub(crate) async fn subject(&self, task: &Task, tries: u32, source: &RemoteRepository) -> Result<Subject> {
        let subject = match &task.source.target {
            target @ Target::Tag(tag) => {
                self.settled(task, tries, source, target).await?;
                match DigestTag::of(tag) {
                    Some(about) => subject_of(&about, source, target).await?,
                    None => None,
                }
            }
            target @ Target::Digest(_) => match source.manifest_get(target).await? {
                Some(manifest) => manifest.subject().map(|subject| subject.digest.clone()),
                None => {
                    return Ok(Subject::None(
                        "SOURCE_GONE",
                        "the manifest is not at the source any more",
                    ));
                }
            },
        };
        let Some(subject) = subject else {
            return Ok(Subject::None(
                "NOT_A_REFERRER",
                "an untagged manifest that refers to nothing comes with its image",
            ));
        };
        if self.is_replicated(task, &subject).await? {
            return Ok(Subject::Replicated(subject));
        }
        let place = &task.source;
        let is_busy = self.ledger.is_busy(&place.registry, &place.repository).await?;
        let lag = self.ledger.lag();
        if is_busy || !lag.is_zero() && self.is_early(task, tries, lag) {
            return Ok(Subject::Pending);
        }
        // Its task may have ended between the two questions, with a replica and without this referrer.
        if self.is_replicated(task, &subject).await? {
            return Ok(Subject::Replicated(subject));
        }
        Ok(Subject::None(
            "SUBJECT_NOT_REPLICATED",
            "the image it belongs to is not replicated; it will come with it if that changes",
        ))
    }

    /// Refuses a digest tag that does not name yet what its event said: what it will name would be missed.
    async fn settled(&self, task: &Task, tries: u32, source: &RemoteRepository, target: &Target) -> Result<()> {
        let Some(expected) = task.hint.as_ref().filter(|_| self.is_settling(task, tries)) else {
            return Ok(());
        };
        let now = source.manifest_head(target).await?;
        if now.is_some_and(|now| now.digest == *expected) {
            return Ok(());
        }
        Err(Error::of(Code::SourceNotSettled, Verb::ManifestHead.on(&task.source)))
    }

    /// True if `subject` is part of what we brought to the destination repository of `task`.
    async fn is_replicated(&self, task: &Task, subject: &Digest) -> Result<bool> {
        self.ledger.is_replicated(task, subject).await
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
    for referrer in index.children() {
        let referrer = Target::Digest(referrer.digest.clone());
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
