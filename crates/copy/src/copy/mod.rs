//! Copies one image: decides, moves the graph, commits the tag, and checks the source again.
//!
//! A tag at the source may move at any moment. A copy commits what the tag named when it was read. After the commit it
//! reads the source tag again, and starts another round if the tag moved, up to three rounds. So the newest image wins
//! however events and workers overlap: the worker that writes last has also checked last.

mod attach;
mod blobs;
mod fallback;
mod push;
mod run;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Error, Result, Side, Tag, Target, Verb};

use crate::compare::Attachment;
use crate::graph::{Graph, Node, members};
use crate::platforms::{SelectedSource, selected};
use crate::ports::source_manifest;
use crate::request::{Report, Request, State};
use crate::selection::skip_reason;
use crate::{Decision, KeepReason, Options, Referrers};
use run::{CopyRun, MAX_ROUNDS};

/// If the source was read longer ago than this, it is checked again before the commit.
const READ_AGE_MAX: Duration = Duration::from_secs(10);

/// Copies one image and reports what was done. After an error the destination shows nothing incomplete.
pub async fn copy(request: Request<'_>) -> Result<Report> {
    let Options { platforms, .. } = &request.options;
    match selected(request.source, &request.from, &request.to, platforms, request.replicas) {
        None => copy_from(&request, None).await,
        Some(source) => {
            let request = Request {
                source: &source,
                from: request.from.clone(),
                to: request.to.clone(),
                options: request.options.clone(),
                progress: Arc::clone(&request.progress),
                ..request
            };
            copy_from(&request, Some(&source)).await
        }
    }
}

async fn copy_from<'a>(request: &'a Request<'a>, selected: Option<&'a SelectedSource<'a>>) -> Result<Report> {
    let rounds = run_rounds(request, selected);
    let Some(budget) = request.budget else {
        return rounds.await;
    };
    // Transfers end by themselves when the time is over, and then store what arrived, which takes a moment.
    match tokio::time::timeout(budget.left() + budget.grace(), rounds).await {
        Ok(result) => result,
        Err(_) => Err(CopyRun::new(request, selected).source_error(Code::SlotOver)),
    }
}

async fn run_rounds<'a>(request: &'a Request<'a>, selected: Option<&'a SelectedSource<'a>>) -> Result<Report> {
    let run = CopyRun::new(request, selected);
    let mut there = if request.options.begins_without_look(&request.to) {
        None
    } else {
        let found = request.destination.manifest_head(&request.to).await;
        found.at(Side::Destination)?
    };
    let mut ours = None;
    for _ in 0..MAX_ROUNDS {
        match run.round(there.as_ref(), ours.as_ref()).await? {
            Round::Done(state, digest, members) => return Ok(run.report(state, digest, members)),
            Round::Moved(Some(written)) => {
                ours = Some(written.digest.clone());
                there = Some(written);
            }
            Round::Moved(None) => {}
            Round::Replaced(found) => there = found,
        }
    }
    Err(run.source_error(Code::SourceMoving))
}

/// The result of one round.
enum Round {
    /// The copy ended, with the manifest that the destination names and all manifests of the image.
    Done(State, Digest, Vec<Digest>),
    /// The source moved. Contains what this round wrote, if anything.
    Moved(Option<Descriptor>),
    /// Another writer changed the destination tag. Contains what the tag names now.
    Replaced(Option<Descriptor>),
}

impl CopyRun<'_> {
    /// Runs one round. `wrote` is what an earlier round of this copy wrote.
    async fn round(&self, there: Option<&Descriptor>, wrote: Option<&Digest>) -> Result<Round> {
        let request = self.request;
        let Some(there) = there else {
            return self.write(None, false).await;
        };
        // Both tags are compared by HEAD before anything is read, so equal images cost two requests.
        let source = match self.source_now().await? {
            Some(source) => source,
            // A cache may answer a HEAD with an old state; a GET decides before the task ends.
            None => source_manifest(request.source, &request.from).await?.digest().clone(),
        };
        self.settled(&source, wrote.is_some())?;
        let decision = self.sides.decide(&request.to, Some(&there.digest), &source, wrote);
        match decision.await? {
            Decision::Keep(reason) => Ok(self.kept(reason, there.digest.clone())),
            Decision::Equal => self.complete(there).await,
            Decision::Write { backup } => self.write(Some(there), backup).await,
        }
    }

    /// The destination tag keeps `digest`.
    fn kept(&self, reason: KeepReason, digest: Digest) -> Round {
        self.state().kept = Some(reason);
        Round::Done(State::Kept, digest, Vec::new())
    }

    /// The image is there; copies the attachments that are missing.
    async fn complete(&self, there: &Descriptor) -> Result<Round> {
        if self.selected.is_some_and(SelectedSource::may_lack_parts) {
            self.set_may_be_partial();
            let root = source_manifest(self.request.source, &self.request.from).await?;
            let graph = Graph::load(self.request.source, root, Some(self.request.destination)).await?;
            self.push_parts(&graph).await?;
        }
        let mut members = vec![there.clone()];
        if self.request.options.referrers != Referrers::Exclude {
            self.set_may_be_partial();
            members = self.sides.members_of(there.clone()).await?;
            let attachments = self.sides.attachments(members.clone()).await?;
            self.require_referrer(&members, &attachments).await?;
            self.push_attachments(&attachments).await?;
        }
        let state = if self.state().manifests > 0 {
            State::Copied
        } else {
            State::Unchanged
        };
        Ok(Round::Done(state, there.digest.clone(), digests(&members)))
    }

    async fn write(&self, there: Option<&Descriptor>, backup: bool) -> Result<Round> {
        let (request, options) = (self.request, &self.request.options);
        let read = Instant::now();
        let root = source_manifest(request.source, &request.from).await?;
        let root_descriptor = root.descriptor();
        self.settled(&root_descriptor.digest, there.is_some())?;
        if let Some(reason) = skip_reason(request.source, &root, options).await? {
            self.state().skipped = Some(reason);
            return Ok(Round::Done(State::Skipped, root_descriptor.digest, Vec::new()));
        }
        if there.is_some_and(|there| there.digest == root_descriptor.digest) {
            drop(root);
            return self.complete(&root_descriptor).await;
        }
        if there.is_some() {
            self.set_may_be_partial();
        }
        let known = self.may_be_partial().then_some(request.destination);
        let graph = Graph::load(request.source, root, known).await?;
        let mut parts: Vec<Descriptor> = graph.descriptors().collect();
        if options.referrers == Referrers::Exclude {
            parts.extend(graph.present.iter().cloned());
            self.push_parts(&graph).await?;
        } else {
            parts.extend(members(request.source, graph.present.clone()).await?);
            let attachments = self.sides.attachments(parts.clone());
            let attachments = if options.referrers == Referrers::Require {
                // Nothing is written before it is known that there is one.
                let attachments = attachments.await?;
                self.require_referrer(&parts, &attachments).await?;
                self.push_parts(&graph).await?;
                attachments
            } else {
                tokio::try_join!(self.push_parts(&graph), attachments)?.1
            };
            self.push_attachments(&attachments).await?;
        }
        let round = match &request.to {
            Target::Tag(tag) => {
                if !self.claim(tag, &root_descriptor.digest).await? {
                    let named = there.map_or(root_descriptor.digest, |there| there.digest.clone());
                    return Ok(self.kept(KeepReason::OtherSource, named));
                }
                match self.last_look(&graph, read, there, backup).await {
                    Ok(None) => self.commit(&graph).await?,
                    Ok(Some(round)) => {
                        let found = match &round {
                            Round::Replaced(found) => found.as_ref(),
                            _ => None,
                        };
                        self.withdraw(tag, &root_descriptor.digest, found).await?;
                        round
                    }
                    Err(error) => {
                        self.withdraw(tag, &root_descriptor.digest, None).await.ok();
                        return Err(error);
                    }
                }
            }
            target @ Target::Digest(_) => {
                let commit = async {
                    match self.last_look(&graph, read, there, backup).await? {
                        None => self.commit(&graph).await,
                        Some(round) => Ok(round),
                    }
                };
                self.under_lease(target, commit.boxed()).await?
            }
        };
        Ok(match round {
            Round::Done(state, digest, _) => Round::Done(state, digest, digests(&parts)),
            again @ (Round::Moved(_) | Round::Replaced(_)) => again,
        })
    }

    /// The checks right before the target, which is claimed or leased, is written. `there` is what the destination tag named
    /// when the copy decided to write; with `backup` it gets a tag of its own. Returns how the round ends if nothing may be written.
    async fn last_look(
        &self,
        graph: &Graph,
        read: Instant,
        there: Option<&Descriptor>,
        backup: bool,
    ) -> Result<Option<Round>> {
        let Some(root) = graph.root() else {
            return Ok(Some(Round::Moved(None)));
        };
        let may_move = self.request.from.tag().is_some();
        if may_move
            && read.elapsed() > READ_AGE_MAX
            && self.source_now().await?.as_ref() != Some(&root.descriptor().digest)
        {
            return Ok(Some(Round::Moved(None)));
        }
        let (destination, to) = (self.request.destination, &self.request.to);
        if self.request.options.looks_before_write(to) {
            let found = match there {
                Some(_) => destination.manifest_head(to).await,
                None => destination.manifest_find(to).await,
            };
            let found = found.at(Side::Destination)?;
            if found.as_ref().map(|found| &found.digest) != there.map(|there| &there.digest) {
                return Ok(Some(Round::Replaced(found)));
            }
        }
        if let Some(replaced) = there.filter(|_| backup) {
            self.back_up(replaced).await?;
        }
        Ok(None)
    }

    /// Takes back the claim of `tag` for `digest`, which this copy did not write. `found` is what the last look found there, if
    /// it found something.
    async fn withdraw(&self, tag: &Tag, digest: &Digest, found: Option<&Descriptor>) -> Result<()> {
        let named = match found {
            Some(found) => Ok(Some(found.clone())),
            None => self.request.destination.manifest_find(&self.request.to).await,
        };
        // Another worker may have written `digest` for the same task, and the record is also that of its image. So the record
        // is taken back only if the tag certainly names something else: then a later `digest` is that of another client. If
        // the look fails, the record stays, as it does after a crash.
        match named {
            Ok(named) if named.as_ref().is_none_or(|named| named.digest != *digest) => {
                self.request.replicas.withdraw(tag, digest).await
            }
            _ => Ok(()),
        }
    }

    /// Writes the target, and checks the source again.
    async fn commit(&self, graph: &Graph) -> Result<Round> {
        let Some(root) = graph.root() else {
            return Ok(Round::Moved(None));
        };
        self.put_manifest(&self.request.to, root).await?;
        self.list_unlisted().await?;
        // A tag that is gone by now was there when it was read, and there is nothing newer.
        let may_move = self.request.from.tag().is_some();
        match if may_move { self.source_now().await? } else { None } {
            Some(now) if now != root.descriptor().digest => Ok(Round::Moved(Some(root.descriptor().clone()))),
            _ => Ok(Round::Done(State::Copied, root.descriptor().digest.clone(), Vec::new())),
        }
    }

    /// `REFERRERS_MISSING` if the image must have a referrer and has none that is proven.
    async fn require_referrer(&self, members: &[Descriptor], attachments: &[Attachment]) -> Result<()> {
        let is_required = self.request.options.referrers == Referrers::Require;
        if is_required && !self.sides.has_proven_referrer(members, attachments).await? {
            return Err(self.source_error(Code::ReferrersMissing));
        }
        Ok(())
    }

    /// Gives the image that will be replaced the tag `<tag>-<12 digits>`, which is the same in every attempt.
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
        self.push_manifest(&backup, &Node::alone(old)).await
    }

    /// Refuses a source that does not name what its event said. In a later round the source has moved on, which is allowed.
    fn settled(&self, source: &Digest, is_later_round: bool) -> Result<()> {
        let original = self.selected.and_then(SelectedSource::original);
        let source = original.as_ref().map_or(source, |original| &original.digest);
        match &self.request.options.expected {
            Some(expected) if expected != source && !is_later_round => Err(self.source_error(Code::SourceNotSettled)),
            _ => Ok(()),
        }
    }

    async fn source_now(&self) -> Result<Option<Digest>> {
        match &self.request.from {
            Target::Digest(digest) if self.selected.is_none() => Ok(Some(digest.clone())),
            target => {
                let source = self.request.source;
                // The tag was there a moment ago, so that one look that does not find it is not enough.
                let found = match source.manifest_head(target).await? {
                    None => source.manifest_find(target).await?,
                    found => found,
                };
                Ok(found.map(|found| found.digest))
            }
        }
    }
}

fn digests(members: &[Descriptor]) -> Vec<Digest> {
    members.iter().map(|member| member.digest.clone()).collect()
}
