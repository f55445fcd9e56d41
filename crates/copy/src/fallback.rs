//! The referrers fallback tag at a destination without the API: what was written must also be listed.
//!
//! Source: distribution-spec, Pushing Manifests with Subject. Where the destination has no such tag yet and the source
//! has one that lists just the same, its very bytes are written: both sides then agree to the byte.

use std::collections::HashSet;

use futures_util::FutureExt;
use transship_oci::referrers::fallback_index;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result, Tag, Target, Verb};

use crate::work::Work;

impl Work<'_> {
    /// Lists what the destination took without listing it itself.
    pub(crate) async fn list_unlisted(&self) -> Result<()> {
        let unlisted = std::mem::take(&mut self.tally().unlisted);
        for (subject, referrers) in unlisted {
            let tag: Tag = subject
                .fallback_tag()
                .parse()
                .map_err(|error: Error| error.during(Verb::FallbackTag))?;
            let target = Target::Tag(tag);
            self.under_lease(&target, self.list_at_destination(&target, &referrers).boxed())
                .await?;
        }
        Ok(())
    }

    /// Lists `referrers` under the fallback tag `target`, beside what is listed there.
    async fn list_at_destination(&self, target: &Target, referrers: &[Descriptor]) -> Result<()> {
        let there = self.request.destination.manifest_get(target).await?;
        if there.as_ref().is_some_and(|there| !there.is_index()) {
            let message = format!(
                "the tag {target} of the destination should list referrers and is no index: remove or rename it"
            );
            return Err(Error::new(
                Code::ReferrersTagConflict,
                Verb::ManifestPut.on(target),
                message,
            ));
        }
        let mut listed: Vec<Descriptor> = there.as_ref().map_or_else(Vec::new, |there| there.children().to_vec());
        let known: HashSet<Digest> = listed.iter().map(|entry| entry.digest.clone()).collect();
        let missing: Vec<Descriptor> = referrers
            .iter()
            .filter(|referrer| !known.contains(&referrer.digest))
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        listed.extend(missing);
        let index = match there {
            None => self.same_list_at_source(target, &listed).await,
            Some(_) => None,
        };
        let index = match index {
            Some(index) => index,
            None => Manifest::parse(fallback_index(&listed), None)
                .map_err(|error: Error| error.during(Verb::ManifestPut.on(target)))?,
        };
        self.put(target, &index).await
    }

    async fn same_list_at_source(&self, target: &Target, listed: &[Descriptor]) -> Option<Manifest> {
        let index = self
            .request
            .source
            .manifest_get(target)
            .await
            .ok()
            .flatten()
            .filter(Manifest::is_index)?;
        let ours: HashSet<&Digest> = listed.iter().map(|entry| &entry.digest).collect();
        let theirs: HashSet<&Digest> = index.children().iter().map(|entry| &entry.digest).collect();
        (ours == theirs).then_some(index)
    }
}
