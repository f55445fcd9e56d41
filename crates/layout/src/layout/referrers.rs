//! Referrers of a layout: unnamed manifests with a subject, and the manifests in a fallback tag.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use transship_oci::{Descriptor, Digest, Error, Manifest, Result, Tag};

use super::{Layout, PARALLEL_MANIFESTS};

impl Layout {
    pub(super) async fn referrers_of(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let by_subject = self.referrers.get_or_try_init(|| self.all_referrers()).await?;
        let mut found = by_subject.get(subject).cloned().unwrap_or_default();
        // A layout from a registry without the referrers API has the fallback tag instead.
        if let Ok(tag) = subject.fallback_tag().parse::<Tag>()
            && let Ok(Some(index)) = self.descriptor_of(&transship_oci::Target::Tag(tag))
            && let Some(index) = self.manifest_if_good(&index.digest).await?
        {
            let listed: Vec<Descriptor> = index.children().to_vec();
            for child in listed {
                if !found.iter().any(|known| known.digest == child.digest) {
                    found.push(child);
                }
            }
        }
        Ok(found)
    }

    /// Referrers among the entries without a tag. An entry with a tag is copied with its tag.
    async fn all_referrers(&self) -> Result<HashMap<Digest, Vec<Descriptor>>> {
        let mut by_subject: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
        for manifest in self.untagged().await? {
            if let Some(subject) = manifest.subject() {
                let referrers = by_subject.entry(subject.digest.clone()).or_default();
                referrers.push(manifest.referrer_descriptor());
            }
        }
        Ok(by_subject)
    }

    /// The manifests with a subject among the entries without a tag, and below unnamed indexes.
    async fn untagged(&self) -> Result<Vec<Manifest>> {
        let untagged: Vec<Digest> = self
            .listed()
            .iter()
            .filter(|entry| entry.tag().is_none())
            .map(|entry| entry.descriptor.digest.clone())
            .collect();
        let found: Vec<Option<Manifest>> = stream::iter(untagged)
            .map(|digest| async move {
                let manifest = self.manifest_if_good(&digest).await?;
                Ok::<_, Error>(manifest.filter(|manifest| manifest.subject().is_some()))
            })
            .buffered(PARALLEL_MANIFESTS)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }
}
