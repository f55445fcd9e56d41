//! Maintains the referrers fallback tag at a destination without the API.
//!
//! Source: distribution-spec, Pushing Manifests with Subject. If the destination has no such tag yet and the source
//! has one with the same entries, the bytes of the source are written, so that both sides have the same digest.

use std::collections::HashSet;

use futures_util::FutureExt;
use transship_oci::referrers::fallback_index;
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Error, Manifest, Result, Side, Tag, Target, Verb};

use super::run::CopyRun;

impl CopyRun<'_> {
    /// Lists the referrers that the destination stored without listing them.
    pub(super) async fn list_unlisted(&self) -> Result<()> {
        let unlisted = std::mem::take(&mut self.state().unlisted);
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

    /// Adds `referrers` to the list under the fallback tag `target`.
    async fn list_at_destination(&self, target: &Target, referrers: &[Descriptor]) -> Result<()> {
        let there = self
            .request
            .destination
            .manifest_get(target)
            .await
            .at(Side::Destination)?;
        if there.as_ref().is_some_and(|there| !there.is_index()) {
            let message = format!(
                "the tag {target} of the destination should list referrers but is not an index: remove or rename it"
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
        self.push_manifest(target, &index).await
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
