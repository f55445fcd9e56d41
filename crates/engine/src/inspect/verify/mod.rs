//! Verify: whether both sides of a rule are equal, in both directions, image by image, with the reason where they are not.
//!
//! Nothing is written at registries. What was not pushed since the rule exists counts as missing. What could not be read is unknown,
//! and unknown is not equal.

mod extras;
mod slice;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_copy::{
    Action, Clock, CompareRequest, DigestTags, Extent, NoLocations, NoReplicas, Options, Presence, compare,
};
use transship_oci::{Code, Digest, Error, Existing, Referrers, Repository, Result, Tag, Target};
use transship_registry::{Page, Registry, RemoteRepository};
use transship_rules::Rule;

pub use self::slice::{SeenNames, VerifyPlace};
pub(crate) use self::slice::{Slot, Step, TWICE, VerifyPart, within};
use super::ASKED_WAIT_MAX;
use super::parts::{Depth, Parts, is_wrong};
use crate::job::Cursor;
use crate::ledger::{By, Ledger, TaskQuery, VerifySummary};
use crate::plan::hash_of;
use crate::send::now;
use crate::walk::{Comparer, Known, Pair, Patience, STEP_TAGS_MAX, Visitor};
use crate::{ImageRef, TaskRecord, TaskState};

/// Tasks of a repository that are searched for the reason of a difference.
const TASKS_READ_MAX: usize = 1000;
/// Repositories whose tasks are kept.
const REPOSITORIES_KEPT: usize = 8;

/// What was found about one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// Both sides are the same, with everything that belongs to the image.
    Equal,
    /// The destination does not have it.
    Missing,
    /// The destination has something else, or not all of it.
    Different,
    /// The source does not have it.
    Extra,
    /// It could not be found out.
    Unknown,
}

/// The row of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The image at the source.
    pub source: String,
    /// The image at the destination.
    pub destination: String,
    /// What was found.
    pub state: Finding,
    /// Why it is not equal, as a sentence.
    pub reason: Option<String>,
    /// The same as a code.
    pub code: Option<String>,
    /// When both sides were asked.
    pub checked: Timestamp,
    /// What the source names; [`None`]: it was not read.
    #[serde(skip)]
    pub source_digest: Option<Digest>,
    /// What the destination names; [`None`]: nothing, or it was not read.
    #[serde(skip)]
    pub destination_digest: Option<Digest>,
    /// The event or order whose image is not there; [`None`]: not known.
    #[serde(skip)]
    pub since: Option<Timestamp>,
}

/// What was found about the two sides of one image, before the ledger was asked why.
#[derive(Debug, Clone)]
pub struct CheckedImage {
    /// What was found; [`None`]: neither side has it, or the rule does not copy it.
    pub finding: Option<Finding>,
    /// What is wrong, where the registries say it.
    pub lack: Option<(Code, String)>,
    /// What the source names.
    pub wanted: Option<Digest>,
    /// What the destination names.
    pub found: Option<Digest>,
}

/// The two sides of one image.
pub struct ImageEnds<'a> {
    /// The repository of the source.
    pub source: &'a RemoteRepository,
    /// What is read there.
    pub from: &'a Target,
    /// The repository of the destination.
    pub destination: &'a RemoteRepository,
    /// What is read there.
    pub to: &'a Target,
}

/// Compares the two sides of one image. Two requests if both are equal and have no children and nothing attached.
pub async fn check_image(
    ends: &ImageEnds<'_>,
    options: Options,
    digest_tags: Option<&DigestTags>,
    depth: Depth,
) -> Result<CheckedImage> {
    check_to(ends, options, digest_tags, |_| depth).await
}

/// The same, to a depth that depends on what the source names.
async fn check_to(
    ends: &ImageEnds<'_>,
    options: Options,
    digest_tags: Option<&DigestTags>,
    depth_of: impl Fn(&Digest) -> Depth,
) -> Result<CheckedImage> {
    let with_attachments = options.referrers != Referrers::Exclude;
    let is_sparse = options.platforms.sparse;
    let comparison = compare(&CompareRequest {
        source: ends.source,
        from: ends.from.clone(),
        destination: ends.destination,
        to: ends.to.clone(),
        options: Options {
            // Every difference is reported.
            existing: Existing::Overwrite,
            ..options
        },
        locations: &NoLocations,
        replicas: &NoReplicas,
        digest_tags,
        extent: Extent::FirstDifference,
        presence: Presence::Unknown,
    })
    .await?;
    let wanted = comparison.wanted.as_ref().map(|wanted| wanted.digest.clone());
    let found = comparison.destination.as_ref().map(|found| found.digest.clone());
    let (finding, lack) = match (&comparison.wanted, &comparison.destination, comparison.action) {
        (None, None, _) | (Some(_), _, Action::Skip(_)) => (None, None),
        (None, Some(_), _) => (Some(Finding::Extra), None),
        (Some(_), None, _) => (Some(Finding::Missing), None),
        (Some(wanted), Some(there), _) if wanted.digest != there.digest => (Some(Finding::Different), None),
        (Some(_), Some(_), Action::Copy) => {
            let code = Code::AttachmentMissing;
            (Some(Finding::Different), Some((code, code.meaning().to_owned())))
        }
        (Some(_), Some(there), _) => {
            let parts = Parts {
                source: ends.source,
                destination: ends.destination,
                depth: depth_of(&there.digest),
                with_attachments,
                is_sparse,
            };
            match parts.lack_of(there).await {
                Ok(None) => (Some(Finding::Equal), None),
                Ok(Some(lack)) => (Some(Finding::Different), Some(lack)),
                Err(error) if is_wrong(&error) => {
                    let sentence = "the destination has other bytes than the digest of a manifest names".to_owned();
                    (Some(Finding::Different), Some((error.kind(), sentence)))
                }
                Err(error) => return Err(error),
            }
        }
    };
    Ok(CheckedImage {
        finding,
        lack,
        wanted,
        found,
    })
}

/// Verifies a rule.
pub struct VerifyRule<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its source.
    pub source: Registry,
    /// Its destination.
    pub destination: Registry,
    /// The ledger, which knows why an image is not there.
    pub ledger: &'a Ledger,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How much of each image is verified.
    pub depth: Depth,
}

/// How much of an image is verified, by its reference at the destination and its digest.
type DepthOf<'a> = dyn Fn(&ImageRef, &Digest) -> Depth + Sync + 'a;

/// Compares the images of a verification.
struct Checks<'a> {
    verify: &'a VerifyRule<'a>,
    depth_of: &'a DepthOf<'a>,
    /// The last task of each destination of lately compared repositories, newest first.
    tasks: Mutex<HashMap<Repository, Arc<Vec<TaskRecord>>>>,
}

/// The names that the source gives at the destination, whether or not the rule selects their tags.
#[derive(Default)]
pub(crate) struct Names {
    repositories: BTreeSet<Repository>,
    /// Hashes of repositories and tags.
    tags: Vec<u64>,
}

/// A verification under way.
pub(crate) struct Verification<'a, F> {
    verify: &'a VerifyRule<'a>,
    checks: Arc<Checks<'a>>,
    patience: Patience,
    sink: F,
    /// How far it got. What was reported belongs to it.
    pub(crate) place: VerifyPlace,
    /// The names of this slice, and in the parts after the first those of all slices before it.
    pub(crate) seen: SeenNames,
    /// What was found and is not reported yet, because the cursor did not move past it.
    pending: Vec<Checked>,
}

impl VerifyRule<'_> {
    /// Compares every image of the rule, gives each row to `sink`, and keeps the summary in the ledger.
    pub async fn run(&self, sink: impl FnMut(Checked) + Send + Sync) -> Result<VerifySummary> {
        let began = now(self.clock.as_ref());
        let place = VerifyPlace::new(&self.rule.name, began);
        let depth_of = |_: &ImageRef, _: &Digest| self.depth;
        let mut verification = self.begun(place, &depth_of, slice::AT_ONCE, sink);
        while verification.place.part != VerifyPart::Over {
            let mut slot = Slot {
                budget: None,
                looks_left: STEP_TAGS_MAX,
            };
            if let Step::Stopped(error) = verification.advance(&mut slot).await? {
                match verification.asked(&error) {
                    Some(asked) => tokio::time::sleep(asked.min(ASKED_WAIT_MAX)).await,
                    None => verification.go_past(&error),
                }
            }
        }
        self.keep(verification.place).await
    }

    /// The verification that goes on from `place`.
    pub(crate) fn begun<'a, F: FnMut(Checked) + Send + Sync>(
        &'a self,
        place: VerifyPlace,
        depth_of: &'a DepthOf<'a>,
        patience: Patience,
        sink: F,
    ) -> Verification<'a, F> {
        Verification {
            verify: self,
            checks: Arc::new(Checks {
                verify: self,
                depth_of,
                tasks: Mutex::default(),
            }),
            patience,
            sink,
            place,
            seen: SeenNames::default(),
            pending: Vec::new(),
        }
    }

    /// Keeps the summary of a verification that is over.
    pub(crate) async fn keep(&self, place: VerifyPlace) -> Result<VerifySummary> {
        let mut summary = place.summary;
        summary.checked = now(self.clock.as_ref());
        self.ledger.verifications.put(&summary).await?;
        Ok(summary)
    }

    fn at(&self, repository: &Repository, tag: Tag) -> ImageRef {
        ImageRef {
            registry: self.rule.destination.registry.clone(),
            repository: repository.clone(),
            target: Target::Tag(tag),
        }
    }
}

impl<F: FnMut(Checked) + Send + Sync> Verification<'_, F> {
    fn add(&mut self, row: Checked) {
        let summary = &mut self.place.summary;
        *match row.state {
            Finding::Equal => &mut summary.equal,
            Finding::Missing => &mut summary.missing,
            Finding::Different => &mut summary.different,
            Finding::Extra => &mut summary.extra,
            Finding::Unknown => &mut summary.unknown,
        } += 1;
        if row.code.as_deref() == Some(Code::AttachmentMissing.as_str()) {
            summary.attachments_missing += 1;
        }
        if let Some(time) = row.since {
            summary.oldest_unreplicated = Some(summary.oldest_unreplicated.map_or(time, |known| known.min(time)));
        }
        (self.sink)(row);
    }

    /// Reports what the cursor moved past.
    fn report(&mut self) {
        for row in std::mem::take(&mut self.pending) {
            self.add(row);
        }
    }
}

impl Checks<'_> {
    /// The last task that wrote to `destination`, or was to.
    async fn last_task(&self, destination: &ImageRef) -> Result<Option<TaskRecord>> {
        let cached = |tasks: &HashMap<Repository, Arc<Vec<TaskRecord>>>| tasks.get(&destination.repository).cloned();
        let known = cached(&self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let known = if let Some(known) = known {
            known
        } else {
            let mut query = TaskQuery::new(By::Destination {
                registry: destination.registry.clone(),
                repository: destination.repository.clone(),
            });
            query.filter.is_redriven = Some(false);
            let history = &self.verify.ledger.history;
            let page = history.tasks(&query, None, TASKS_READ_MAX).await?;
            let records = Arc::new(page.items);
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            // Repositories are walked side by side, in their order.
            if tasks.len() >= REPOSITORIES_KEPT {
                tasks.clear();
            }
            tasks.insert(destination.repository.clone(), Arc::clone(&records));
            records
        };
        let name = destination.to_string();
        Ok(known.iter().find(|task| task.destination == name).cloned())
    }

    /// Why `destination` is missing or different, as far as the ledger knows, and since when it should not be.
    async fn why(&self, destination: &ImageRef, checked: &CheckedImage) -> Result<(String, String, Option<Timestamp>)> {
        if let Some(task) = self.last_task(destination).await? {
            let code = task.code.clone();
            let message = task
                .message
                .clone()
                .map_or_else(String::new, |message| format!(": {message}"));
            match task.state {
                TaskState::Failed => {
                    let code = code.unwrap_or_else(|| Code::RunFailed.as_str().to_owned());
                    return Ok((
                        code,
                        format!("its task {} failed{message}", task.id),
                        Some(task.created),
                    ));
                }
                TaskState::Queued | TaskState::Running | TaskState::Waiting => {
                    let code = code.unwrap_or_else(|| Code::TaskOpen.as_str().to_owned());
                    let reason = format!("its task {} is {}{message}", task.id, task.state);
                    return Ok((code, reason, Some(task.created)));
                }
                TaskState::Cancelled => {
                    let code = code.unwrap_or_else(|| Code::ExecutionCancelled.as_str().to_owned());
                    return Ok((code, format!("its task {} was cancelled", task.id), Some(task.created)));
                }
                _ => {}
            }
        }
        let replica = self.verify.ledger.replicas.get(destination).await?;
        let code = match (&checked.found, replica) {
            (None, None) => Code::NeverReplicated,
            (None, Some(_)) => Code::DestinationDeleted,
            (Some(found), Some(replica)) if replica.is_ours(found) => Code::SourceMoved,
            (Some(_), Some(_)) => Code::DestinationOverwritten,
            (Some(_), None) => Code::DestinationNotOurs,
        };
        Ok((code.as_str().to_owned(), code.meaning().to_owned(), None))
    }
}

impl Comparer for Checks<'_> {
    type Found = Option<Checked>;
    type Listed = Names;

    fn list(&self, repository: &Repository, page: &Page<Tag>) -> Names {
        let mut names = Names::default();
        page.for_each(|tag| {
            if let Some((repository, tag)) = self.verify.rule.destination_name(repository, &tag) {
                names.tags.push(name_hash(&repository, &tag));
                if !names.repositories.contains(&repository) {
                    names.repositories.insert(repository);
                }
            }
        });
        names
    }

    async fn compare(&self, pair: Pair, known: Known<'_>) -> Result<Self::Found> {
        let verify = self.verify;
        let (source, destination) = (
            verify.source.repository(pair.source.repository.clone()),
            verify.destination.repository(pair.destination.repository.clone()),
        );
        let options = Options {
            referrers: verify.rule.referrers,
            kinds: verify.rule.kinds.clone(),
            labels: verify.rule.source.labels.clone(),
            platforms: verify.rule.platforms.clone(),
            ..Options::default()
        };
        let ends = ImageEnds {
            source: &source,
            from: &pair.source.target,
            destination: &destination,
            to: &pair.destination.target,
        };
        let depth_of = |digest: &Digest| (self.depth_of)(&pair.destination, digest);
        let image = check_to(&ends, options, known.digest_tags, depth_of).await?;
        let Some(state) = image.finding else { return Ok(None) };
        let (code, reason, since) = match (&image.lack, state) {
            (Some((code, reason)), _) => (Some(code.as_str().to_owned()), Some(reason.clone()), None),
            (None, Finding::Missing | Finding::Different) => {
                let (code, reason, since) = self.why(&pair.destination, &image).await?;
                (Some(code), Some(reason), since)
            }
            (None, Finding::Extra) => {
                let code = Code::ExtraTag;
                (Some(code.as_str().to_owned()), Some(code.meaning().to_owned()), None)
            }
            (None, Finding::Equal | Finding::Unknown) => (None, None, None),
        };
        let row = Checked {
            source: pair.source.to_string(),
            destination: pair.destination.to_string(),
            state,
            reason,
            code,
            checked: now(verify.clock.as_ref()),
            source_digest: image.wanted,
            destination_digest: image.found,
            since,
        };
        Ok(Some(row))
    }
}

impl<F: FnMut(Checked) + Send + Sync> Visitor for Verification<'_, F> {
    type Found = Option<Checked>;
    type Listed = Names;

    fn begin_repository(&mut self, repository: &Repository) {
        self.seen
            .repositories
            .extend(self.verify.rule.destination_repository(repository));
    }

    fn list(&mut self, names: Names) {
        self.seen.named.extend(names.tags);
        self.seen.repositories.extend(names.repositories);
    }

    async fn act(&mut self, found: Vec<Self::Found>) -> Result<()> {
        self.pending.extend(found.into_iter().flatten());
        Ok(())
    }

    async fn moved(&mut self, cursor: &Cursor) -> Result<()> {
        self.place.move_to(cursor.clone());
        self.report();
        Ok(())
    }

    fn pass_over(&mut self, repository: Option<&Repository>, tag: Option<&Tag>, error: &Error) {
        let rule = self.verify.rule;
        match (repository, tag) {
            (None, _) => self.place.is_cut = true,
            (Some(repository), None) => self.seen.unread.extend(rule.destination_repository(repository)),
            (Some(_), Some(_)) => {}
        }
        let below = repository.map_or_else(String::new, |repository| format!("/{repository}"));
        let target = tag.map_or_else(String::new, |tag| format!(":{tag}"));
        let destination = repository
            .zip(tag)
            .and_then(|(repository, tag)| rule.destination_name(repository, tag));
        let destination = destination.map_or_else(
            || rule.destination.registry.clone(),
            |(repository, tag)| self.verify.at(&repository, tag).to_string(),
        );
        let row = Checked {
            source: format!("{}{below}{target}", rule.source.registry),
            destination,
            state: Finding::Unknown,
            reason: Some(error.to_string()),
            code: Some(error.code().to_owned()),
            checked: now(self.verify.clock.as_ref()),
            source_digest: None,
            destination_digest: None,
            since: None,
        };
        self.pending.push(row);
    }
}

/// The hash of a tag's name, the same in every process, because it is kept.
fn name_hash(repository: &Repository, tag: &Tag) -> u64 {
    hash_of(&[repository.as_str(), tag.as_str()])
}
