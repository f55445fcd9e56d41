//! What a sweep makes of one tag: nothing if source and destination are equal, what is attached to the image as well, or if
//! the rule would keep what is there.
//!
//! What must hold: a task is made only for what a rule would change, so that a house in order makes none.

use futures_util::future::try_join;
use transship_copy::Manifests;
use transship_oci::{Digest, Existing, Repository, Result, Tag, Target};
use transship_registry::RemoteRepository;
use transship_rules::Destination;

use super::attachments::{DigestTags, Sides};
use super::rule::Walk;
use crate::job::CopyTask;
use crate::plan::{destination_of, task_of};
use crate::{ImageRef, Replica};

impl Walk<'_> {
    /// The task that brings `tag`, or what is attached to its image, if that was missed. `digest_tags`: those of `repository`.
    pub(crate) async fn compare(
        &self,
        repository: &Repository,
        tag: &Tag,
        destination: Destination,
        digest_tags: &DigestTags,
    ) -> Result<Option<CopyTask>> {
        let target = Target::Tag(tag.clone());
        let destination = destination_of(destination, &target);
        let source = ImageRef {
            registry: self.rule.source.registry.clone(),
            repository: repository.clone(),
            target,
        };
        if self.is_under_way(&source, &destination) {
            return Ok(None);
        }
        let sides = Sides {
            from: self.source.repository(repository.clone()),
            to: self.destination.repository(destination.repository.clone()),
        };
        let (wanted, found) = try_join(
            sides.from.manifest_head(&source.target),
            sides.to.manifest_head(&destination.target),
        )
        .await?;
        let (Some(image), found) = (wanted, found.map(|found| found.digest)) else {
            return Ok(None);
        };
        let is_missed = if found.as_ref() == Some(&image.digest) {
            self.lacks_attachment(&sides, &image, digest_tags).await?
        } else {
            self.would_change(&source, &destination, found.as_ref()).await?
        };
        let wanted = image.digest;
        if !is_missed || !self.is_of_a_kind(&sides.from, &wanted).await? {
            return Ok(None);
        }
        let occurrence = format!("sweep {} {wanted}", self.execution.created);
        let mut task = task_of(self.rule, source, destination, &self.execution, &occurrence);
        task.expected = Some(wanted);
        Ok(Some(task))
    }

    /// True if a task would replace what the destination names, which is not what the source names.
    async fn would_change(&self, source: &ImageRef, destination: &ImageRef, found: Option<&Digest>) -> Result<bool> {
        let replica = match (found, &destination.target) {
            (Some(_), Target::Tag(tag)) => {
                let ledger = &self.jobs.ledger;
                ledger
                    .replica(&destination.registry, &destination.repository, tag)
                    .await?
            }
            _ => None,
        };
        Ok(would_change(self.rule.existing, source, found, replica.as_ref()))
    }

    /// True if the rule lets the kind of this manifest pass, or if that cannot be told: then its task will tell.
    async fn is_of_a_kind(&self, source: &RemoteRepository, digest: &Digest) -> Result<bool> {
        let kinds = &self.rule.kinds;
        if kinds.is_empty() {
            return Ok(true);
        }
        match source.manifest_get(&Target::Digest(digest.clone())).await {
            Ok(manifest) => Ok(manifest.is_none_or(|manifest| kinds.contains(&manifest.kind()))),
            Err(error) if error.persistence().is_permanent() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// True if `found` is at the destination of `replica` by our hand.
pub(crate) fn is_ours(replica: &Replica, found: &Digest) -> bool {
    replica.digest == *found || replica.earlier.contains(found)
}

/// True if a task would replace what the destination tag names, which is not what the source tag names.
fn would_change(existing: Existing, source: &ImageRef, found: Option<&Digest>, replica: Option<&Replica>) -> bool {
    let Some(found) = found else { return true };
    let own = replica.filter(|replica| is_ours(replica, found));
    // Names can send several images to one tag. There the last push decides; a sweep does not know which that was.
    if own.is_some_and(|own| own.source.as_ref() != Some(source)) {
        return false;
    }
    match existing {
        Existing::Keep => false,
        Existing::Follow => own.is_some(),
        Existing::Overwrite | Existing::Backup => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> ImageRef {
        ImageRef {
            registry: "a".into(),
            repository: text.parse().unwrap(),
            target: Target::Tag("v1".parse().unwrap()),
        }
    }

    fn replica(digest: &Digest, earlier: &[&Digest]) -> Replica {
        Replica {
            destination: place("copy/app"),
            source: Some(place("core/app")),
            digest: digest.clone(),
            earlier: earlier.iter().copied().cloned().collect(),
            manifests: Vec::new(),
            rule: "core".into(),
            written: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_what_the_policy_would_change_is_missed() {
        let [ours, before, foreign] = [b"1", b"2", b"3"].map(|bytes| Digest::sha256(bytes));
        let record = replica(&ours, &[&before]);
        let ask = |existing, found: Option<&Digest>| would_change(existing, &place("core/app"), found, Some(&record));
        for existing in [Existing::Follow, Existing::Keep, Existing::Overwrite, Existing::Backup] {
            assert!(ask(existing, None), "{existing:?}: it is not there");
            let replaces = matches!(existing, Existing::Overwrite | Existing::Backup);
            assert_eq!(ask(existing, Some(&foreign)), replaces, "{existing:?}");
            let follows = existing != Existing::Keep;
            assert_eq!(ask(existing, Some(&ours)), follows, "{existing:?}");
            assert_eq!(ask(existing, Some(&before)), follows, "{existing:?}");
        }
        assert!(!would_change(Existing::Follow, &place("core/app"), Some(&ours), None));
    }

    #[test]
    fn two_images_of_one_name_do_not_take_turns() {
        let ours = Digest::sha256(b"1");
        let record = replica(&ours, &[]);
        for existing in [Existing::Follow, Existing::Overwrite, Existing::Backup] {
            assert!(!would_change(
                existing,
                &place("core/other"),
                Some(&ours),
                Some(&record)
            ));
        }
    }
}
