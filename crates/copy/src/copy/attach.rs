//! Writes what is attached to an image: referrers, and cosign's digest tags.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use transship_oci::{AtSide as _, Code, Error, Result, Side, Tag, Target, Verb};

use super::run::{CopyRun, MAX_ROUNDS};
use crate::compare::{Attachment, Lack, PARALLEL_ATTACHMENTS};
use crate::graph::Graph;
use crate::parallel::side_by_side;

impl CopyRun<'_> {
    /// Writes those of `attachments` that the destination lacks. One that fails permanently does not stop the others, and
    /// what was written is listed in any case: nothing would list it later where the destination has no referrers API.
    pub(super) async fn push_attachments(&self, attachments: &[Attachment]) -> Result<()> {
        let is_stopped = AtomicBool::new(false);
        let all = attachments.iter().map(|attachment| async {
            if is_stopped.load(Ordering::Relaxed) {
                return Ok::<_, Infallible>(Ok(()));
            }
            let pushed = self.push_attachment(attachment).await;
            if pushed.as_ref().is_err_and(|error| !error.is_permanent()) {
                is_stopped.store(true, Ordering::Relaxed);
            }
            Ok(pushed)
        });
        let Ok(pushed) = side_by_side(all.collect(), PARALLEL_ATTACHMENTS).await;
        let listed = self.list_unlisted().await;
        pushed.into_iter().collect::<Result<()>>().and(listed)
    }

    /// Attachments that are indexes are written one after another, because each may be as large as an image.
    async fn push_attachment(&self, attachment: &Attachment) -> Result<()> {
        let is_index = attachment.manifest().media_type.is_index();
        let mut turn = if is_index {
            Some(self.index_turn.lock().await)
        } else {
            None
        };
        loop {
            match self.sides.lack_of(attachment, self.may_be_partial()).await? {
                Lack::Nothing => return Ok(()),
                Lack::Kept(tag) => {
                    self.state().kept_tags.push(tag.to_string());
                    return Ok(());
                }
                // It was listed as another type. It is read again, because no manifest is held while others are waited for.
                Lack::Referrer(manifest) if manifest.is_index() && turn.is_none() => {
                    drop(manifest);
                    turn = Some(self.index_turn.lock().await);
                }
                Lack::Referrer(manifest) => {
                    let target = Target::Digest(manifest.digest().clone());
                    let graph = Graph::load(self.request.source, *manifest, None).await?;
                    return self.push_graph(&graph, &target).await;
                }
                Lack::Listing(manifest) => {
                    self.state().add_unlisted(&manifest);
                    return Ok(());
                }
                Lack::Tag { tag, is_there } => {
                    if is_there {
                        self.set_may_be_partial();
                    }
                    return self.push_tag(tag).await;
                }
            }
        }
    }

    /// Writes a digest tag, and looks at the source again: it may move as an image's tag does.
    async fn push_tag(&self, tag: Tag) -> Result<()> {
        let target = Target::Tag(tag);
        for _ in 0..MAX_ROUNDS {
            let Some(manifest) = self.request.source.manifest_get(&target).await.at(Side::Source)? else {
                return Ok(());
            };
            let written = manifest.digest().clone();
            let graph = Graph::load(self.request.source, manifest, None).await?;
            self.push_graph(&graph, &target).await?;
            let now = self.request.source.manifest_head(&target).await.at(Side::Source)?;
            if now.is_none_or(|now| now.digest == written) {
                return Ok(());
            }
        }
        Err(Error::of(Code::SourceMoving, Verb::Copy.on(target)))
    }
}
