//! Maintains the referrers fallback tag at a destination without the API.
//!
//! Source: distribution-spec, Pushing Manifests with Subject. Other clients write to the same list, and registries cannot
//! compare and swap. So a list is written, read again, and written again with what is there if an entry was lost. If the
//! destination has no such tag yet and the source has one with the same entries, the bytes of the source are written, so
//! that both sides have the same digest.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt;
use transship_oci::referrers::ReferrerList;
use transship_oci::{AtSide as _, Backoff, Code, Descriptor, Digest, Error, Manifest, Result, Side, Tag, Target, Verb};

use super::run::CopyRun;
use crate::graph::Node;

/// Times that a list is written before the task is tried again.
const LIST_WRITES_MAX: u32 = 5;
/// Waits before a list is read again, after more than one write.
const LIST_BACKOFF: Backoff = Backoff::doubling(Duration::from_millis(20), Duration::from_millis(200));

/// What a fallback tag of the destination names.
enum Named {
    /// Nothing.
    Nothing,
    /// The subject itself, to which GitLab resolves the tag until a client writes it: neither a list nor a conflict.
    Subject,
    /// A list.
    List(ReferrerList),
}

impl CopyRun<'_> {
    /// Lists the referrers that the destination stored without listing them.
    pub(super) async fn list_unlisted(&self) -> Result<()> {
        let unlisted = self.state().take_unlisted();
        let mut result = Ok(());
        for (subject, referrers) in unlisted {
            let tag: Tag = subject
                .fallback_tag()
                .parse()
                .map_err(|error: Error| error.during(Verb::FallbackTag))?;
            let target = Target::Tag(tag);
            let list = self.list_at_destination(&subject, &target, &referrers).boxed();
            result = result.and(self.under_lease(&target, list).await);
        }
        result
    }

    /// Adds `referrers` to the list under the fallback tag `target`, until the destination has all of them there.
    async fn list_at_destination(&self, subject: &Digest, target: &Target, referrers: &[Descriptor]) -> Result<()> {
        let mut list = ReferrerList::default();
        for writes in 0..=LIST_WRITES_MAX {
            if writes > 1 {
                tokio::time::sleep(LIST_BACKOFF.wait(writes - 2)).await;
            }
            let there = self.named_by(subject, target).await?;
            let is_list = matches!(there, Named::List(_));
            match there {
                Named::List(there) => {
                    if referrers.iter().all(|referrer| there.contains(&referrer.digest)) {
                        return Ok(());
                    }
                    // What was seen before and is lost by now was lost by a client that wrote at the same time.
                    let seen = std::mem::replace(&mut list, there);
                    list.merge(seen);
                }
                Named::Subject if writes > 0 => {
                    let code = Code::ReferrersTagConflict.as_str();
                    tracing::warn!(code, %subject, "the destination stored the list of referrers, but resolves its tag to the image");
                    return Ok(());
                }
                Named::Subject | Named::Nothing => {}
            }
            if writes == LIST_WRITES_MAX {
                break;
            }
            for referrer in referrers {
                list.add(referrer);
            }
            let index = if is_list {
                None
            } else {
                self.same_list_at_source(target, &list).await
            };
            let index = match index {
                Some(index) => index,
                None => Manifest::parse(list.to_bytes(), None)
                    .map_err(|error: Error| error.during(Verb::ManifestPut.on(target)))?,
            };
            self.push_manifest(target, &Node::alone(index)).await?;
        }
        Err(Error::of(Code::CommitBusy, Verb::FallbackTag.on(target)))
    }

    async fn named_by(&self, subject: &Digest, target: &Target) -> Result<Named> {
        let destination = self.request.destination;
        let Some(there) = destination.manifest_get(target).await.at(Side::Destination)? else {
            return Ok(Named::Nothing);
        };
        if there.is(subject) {
            return Ok(Named::Subject);
        }
        if there.is_index() {
            let list = ReferrerList::of(&there);
            let operation = Verb::ManifestGet.on(target);
            return list
                .map(Named::List)
                .map_err(|error| error.during(operation).at(Side::Destination));
        }
        let message = format!(
            "the tag {target} of the destination should list referrers but is not an index: remove or rename it"
        );
        let operation = Verb::ManifestPut.on(target);
        Err(Error::new(Code::ReferrersTagConflict, operation, message).at(Side::Destination))
    }

    async fn same_list_at_source(&self, target: &Target, list: &ReferrerList) -> Option<Manifest> {
        let read = self.request.source.manifest_get(target).await;
        let index = read.ok().flatten().filter(Manifest::is_index)?;
        let theirs: HashSet<&Digest> = index.children().iter().map(|entry| &entry.digest).collect();
        (theirs.len() == list.len() && theirs.into_iter().all(|entry| list.contains(entry))).then_some(index)
    }
}
