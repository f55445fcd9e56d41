//! The copy itself: decide, move the graph, commit the tag, look again.
//!
//! A tag at the source may move at any moment. What is committed is what the tag named when it was read; after the commit
//! the source is asked once more, and if the tag moved the copy goes round again, three times at most. So the newest
//! image wins however events and workers overlap: whoever writes last has looked last.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use transship_oci::{Code, Descriptor, Digest, Error, Result, Target, Verb};

use crate::graph::Graph;
use crate::ports::source_manifest;
use crate::request::{Report, Request, State};
use crate::work::{ROUNDS, Work};
use crate::{Existing, Referrers};

/// What was read of the source longer ago than this is looked at again before it is committed.
const STALE: Duration = Duration::from_secs(10);

/// Copies one image. See [`Report`] for what comes of it; an error leaves nothing half visible.
pub async fn copy(request: Request<'_>) -> Result<Report> {
    let Some(slot) = request.slot else {
        return go_round(&request).await;
    };
    // Transfers end by themselves when the slot does, and then remember what arrived: that takes a moment.
    match tokio::time::timeout(slot.left() + slot.grace(), go_round(&request)).await {
        Ok(result) => result,
        Err(_) => Err(Work::new(&request).source_error(Code::SlotOver)),
    }
}

async fn go_round(request: &Request<'_>) -> Result<Report> {
    let work = Work::new(request);
    let mut there = request.destination.manifest_head(&request.to).await?;
    let mut ours = None;
    for _ in 0..ROUNDS {
        match work.round(there.as_ref(), ours.as_ref()).await? {
            Round::Done(state, digest, members) => return Ok(work.report(state, digest, members)),
            Round::Moved(Some(written)) => {
                ours = Some(written.digest.clone());
                there = Some(written);
            }
            Round::Moved(None) => {}
            Round::Replaced(found) => there = found,
        }
    }
    Err(work.source_error(Code::SourceMoving))
}

/// What one round came to.
enum Round {
    /// The end, with what the destination names and what it consists of.
    Done(State, Digest, Vec<Digest>),
    /// The source moved; what this round had written, if anything.
    Moved(Option<Descriptor>),
    /// Somebody else changed the destination tag meanwhile; what it names now.
    Replaced(Option<Descriptor>),
}

/// What to do about what the destination names.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Equal,
    Keep,
    Write { backup: bool },
}

/// `there`: what the destination names. `source`: what the source names. `ours`: what we may have written there.
fn decide(existing: Existing, there: Option<&Digest>, source: Option<&Digest>, ours: &[Digest]) -> Decision {
    match (there, existing) {
        (Some(_), _) if source == there => Decision::Equal,
        (Some(there), _) if ours.contains(there) => Decision::Write { backup: false },
        (None, _) | (Some(_), Existing::Overwrite) => Decision::Write { backup: false },
        (Some(_), Existing::Backup) => Decision::Write { backup: true },
        (Some(_), Existing::Keep | Existing::Follow) => Decision::Keep,
    }
}

impl Work<'_> {
    /// `wrote`: what an earlier round of this copy wrote.
    async fn round(&self, there: Option<&Descriptor>, wrote: Option<&Digest>) -> Result<Round> {
        let request = self.request;
        let Some(there) = there else {
            return self.write(None, false).await;
        };
        // What stands at the destination is compared by HEAD before anything is read: equal images cost two requests.
        let source = match self.source_now().await? {
            Some(source) => source,
            // A HEAD may be answered from a cache that is behind; the end of a task takes a GET.
            None => source_manifest(request.source, &request.from).await?.digest().clone(),
        };
        self.settled(&source, wrote.is_some())?;
        let ours = match (wrote, &request.to) {
            (Some(wrote), _) => vec![wrote.clone()],
            (None, Target::Tag(tag)) if request.options.existing == Existing::Follow && source != there.digest => {
                request.replicas.written(tag).await?
            }
            (None, _) => Vec::new(),
        };
        match decide(
            request.options.existing,
            Some(&there.digest),
            Some(&source),
            ours.as_ref(),
        ) {
            Decision::Keep => Ok(Round::Done(State::Kept, there.digest.clone(), Vec::new())),
            Decision::Equal => self.complete(there).await,
            Decision::Write { backup } => self.write(Some(there), backup).await,
        }
    }

    /// The image is there; what is attached to it may not be.
    async fn complete(&self, there: &Descriptor) -> Result<Round> {
        let mut members = vec![there.digest.clone()];
        if self.request.options.referrers != Referrers::Exclude {
            if there.media_type.is_index() {
                members.extend(self.index_members(&there.digest).await?);
            }
            let attachments = self.attachments(&members).await?;
            self.attach_all(&attachments, true).await?;
        }
        let state = if self.tally().manifests > 0 {
            State::Copied
        } else {
            State::Unchanged
        };
        Ok(Round::Done(state, there.digest.clone(), members))
    }

    /// The manifests below an index, read from the indexes alone.
    async fn index_members(&self, index: &Digest) -> Result<Vec<Digest>> {
        let mut members = Vec::new();
        let mut seen = HashSet::from([index.clone()]);
        let mut open = vec![index.clone()];
        while let Some(index) = open.pop() {
            let manifest = source_manifest(self.request.source, &Target::Digest(index)).await?;
            for child in manifest
                .children()
                .iter()
                .filter(|child| child.media_type.is_manifest())
            {
                if seen.insert(child.digest.clone()) {
                    members.push(child.digest.clone());
                    if child.media_type.is_index() {
                        open.push(child.digest.clone());
                    }
                }
            }
        }
        Ok(members)
    }

    async fn write(&self, there: Option<&Descriptor>, backup: bool) -> Result<Round> {
        let (request, options) = (self.request, &self.request.options);
        let read = Instant::now();
        let root = source_manifest(request.source, &request.from).await?;
        let root_descriptor = root.descriptor();
        self.settled(&root_descriptor.digest, there.is_some())?;
        if !options.kinds.is_empty() && !options.kinds.contains(&root.kind()) {
            return Ok(Round::Done(State::Skipped, root_descriptor.digest, Vec::new()));
        }
        if there.is_some_and(|there| there.digest == root_descriptor.digest) {
            return self.complete(&root_descriptor).await;
        }
        let is_likely = there.is_some() || options.is_repeated;
        let graph = Graph::load(request.source, root, is_likely.then_some(request.destination)).await?;
        let mut members = graph.members();
        if options.referrers != Referrers::Exclude {
            for index in graph.present.iter().filter(|child| child.media_type.is_index()) {
                members.extend(self.index_members(&index.digest).await?);
            }
        }
        if options.referrers == Referrers::Exclude {
            self.bring_parts(&graph, is_likely).await?;
        } else {
            let ((), attachments) = tokio::try_join!(self.bring_parts(&graph, is_likely), self.attachments(&members))?;
            if attachments.is_empty() && options.referrers == Referrers::Require {
                return Err(self.source_error(Code::ReferrersMissing));
            }
            self.attach_all(&attachments, is_likely).await?;
        }
        self.under_lease(&request.to, self.commit(&graph, read, there, backup).boxed())
            .await
            .map(|round| match round {
                Round::Done(state, digest, _) => Round::Done(state, digest, members),
                again @ (Round::Moved(_) | Round::Replaced(_)) => again,
            })
    }

    /// Writes the tag, and looks at the source again. `there`: what the destination tag named when that was decided; with `backup` it gets a tag of its own first.
    async fn commit(&self, graph: &Graph, read: Instant, there: Option<&Descriptor>, backup: bool) -> Result<Round> {
        let Some(root) = graph.root() else {
            return Ok(Round::Moved(None));
        };
        let may_move = self.request.from.tag().is_some();
        if may_move && read.elapsed() > STALE && self.source_now().await?.as_ref() != Some(root.digest()) {
            return Ok(Round::Moved(None));
        }
        // Registries cannot compare and swap. Whoever may not replace anything looks once more, right before the write.
        if self.request.options.existing != Existing::Overwrite && self.request.to.tag().is_some() {
            let found = self.request.destination.manifest_head(&self.request.to).await?;
            if found.as_ref().map(|found| &found.digest) != there.map(|there| &there.digest) {
                return Ok(Round::Replaced(found));
            }
        }
        if let Some(replaced) = there.filter(|_| backup) {
            self.back_up(replaced).await?;
        }
        self.put(&self.request.to, root).await?;
        self.list_unlisted().await?;
        // Gone by now: it was there when it was read, and nothing newer is.
        match if may_move { self.source_now().await? } else { None } {
            Some(now) if now != *root.digest() => Ok(Round::Moved(Some(root.descriptor()))),
            _ => Ok(Round::Done(State::Copied, root.digest().clone(), Vec::new())),
        }
    }

    /// Gives what is about to be replaced the tag `<tag>-<12 digits>`: the same for the same image, however often tried.
    async fn back_up(&self, replaced: &Descriptor) -> Result<()> {
        let Target::Tag(tag) = &self.request.to else {
            return Ok(());
        };
        let short: String = tag.as_str().chars().take(115).collect();
        let name = format!("{short}-{}", &replaced.digest.hex()[..12]);
        let backup = Target::Tag(name.parse().map_err(|error: Error| error.during(Verb::BackupTag))?);
        let Some(old) = self
            .request
            .destination
            .manifest_get(&Target::Digest(replaced.digest.clone()))
            .await?
        else {
            return Ok(());
        };
        self.put(&backup, &old).await
    }

    /// Refuses a source that is not what it was said to be. In a later round of a copy it has moved on, which is no reason to stop.
    fn settled(&self, source: &Digest, is_later_round: bool) -> Result<()> {
        match &self.request.options.expected {
            Some(expected) if expected != source && !is_later_round => Err(self.source_error(Code::SourceNotSettled)),
            _ => Ok(()),
        }
    }

    async fn source_now(&self) -> Result<Option<Digest>> {
        match &self.request.from {
            Target::Digest(digest) => Ok(Some(digest.clone())),
            target @ Target::Tag(_) => Ok(self
                .request
                .source
                .manifest_head(target)
                .await?
                .map(|found| found.digest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_wrote_or_may_replace_is_replaced() {
        let (a, b, c) = (Digest::sha256(b"a"), Digest::sha256(b"b"), Digest::sha256(b"c"));
        let write = Decision::Write { backup: false };
        for existing in [Existing::Follow, Existing::Keep, Existing::Overwrite, Existing::Backup] {
            assert_eq!(
                decide(existing, None, Some(&a), &[]),
                write,
                "what is absent is written"
            );
            assert_eq!(decide(existing, Some(&a), Some(&a), &[]), Decision::Equal);
            assert_eq!(
                decide(existing, Some(&a), Some(&b), &[c.clone(), a.clone()]),
                write,
                "what we wrote is ours to replace"
            );
        }
        assert_eq!(decide(Existing::Follow, Some(&a), Some(&b), &[]), Decision::Keep);
        assert_eq!(
            decide(Existing::Follow, Some(&a), Some(&b), &[c]),
            Decision::Keep,
            "somebody replaced ours"
        );
        assert_eq!(decide(Existing::Keep, Some(&a), Some(&b), &[]), Decision::Keep);
        assert_eq!(decide(Existing::Overwrite, Some(&a), Some(&b), &[]), write);
        assert_eq!(
            decide(Existing::Backup, Some(&a), Some(&b), &[]),
            Decision::Write { backup: true }
        );
    }
}
