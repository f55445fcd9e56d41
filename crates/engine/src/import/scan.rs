//! Scan: a source, or one image of a storage tree, becomes tasks as soon as all of it is there.
//!
//! Objects arrive in any order. An incomplete source waits for the blobs it misses, by their digests; the last of them to
//! arrive sends the scan again. What must hold: a blob that arrives while the scan decides is not missed, so the scan looks
//! for missing blobs once more after it recorded them; every scan of the same version of a source makes the same tasks; one bad
//! image is recorded with its code and leaves the others alone; and a source that is incomplete is a task that waits, so that its
//! execution stays open until everything has arrived or the wait expired.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use transship_layout::{
    Image, Images, Inspection, Listing, Missing, OpenSource, Refused, SourceRef, arrived_since, index_version, inspect,
};
use transship_oci::{Code, Digest, Error, Result, Target, Verb};

use crate::job::{CopyTask, Envelope, Job, Run, Scan};
use crate::jobs::Jobs;
use crate::retry_policy::Wait;
use crate::send::send_then_record;
use crate::{Begin, Execution, Next, Outcome, Outgoing, PendingScan, TaskEntry, TaskState};

/// Tasks that are sent at once.
const BATCH_TASKS_MAX: usize = 100;
/// A source that was not completed for this long fails. Its index, uploaded again, is scanned again.
const WAIT_FOR_CONTENT: Duration = Duration::from_hours(30 * 24);
/// The entries of what a source waits for expire later, because a sweep must find the source to end it.
const PENDING_TTL: Duration = Duration::from_hours(45 * 24);
/// When a source that waits is scanned again, at the latest. Sweeps do it before.
const RESCAN_INTERVAL: Duration = Duration::from_hours(24);
/// A source that could not be read in this many slots will not be read in another.
const TIME_SLOTS_MAX: u32 = 5;

/// One delivery of a [`Scan`].
pub(crate) struct ScanSource<'a> {
    jobs: &'a Jobs,
    scan: &'a Scan,
    run: Run,
}

/// How a scan ended.
enum ScanEnd {
    /// The images are tasks, at least one.
    Tasks,
    /// There is nothing that could become an image.
    Nothing,
    /// The file that names the images of an upload is missing.
    Unnamed,
    /// The source is incomplete: the task that waits, and for what.
    Waits(Box<Scan>, String),
    /// There was no time to make all tasks: the scan of the rest.
    Unfinished(Box<Scan>),
}

impl<'a> ScanSource<'a> {
    pub(crate) const fn new(jobs: &'a Jobs, scan: &'a Scan, run: Run) -> Self {
        Self { jobs, scan, run }
    }

    /// Scans the source. Nothing of the scan itself is recorded unless it fails.
    #[tracing::instrument(skip_all, fields(execution = self.scan.execution.id, rule = self.scan.execution.rule))]
    pub(crate) async fn run(self) -> Result<Next> {
        let entry = self.scan.entry();
        if let Some(next) = self.scan.import.stopped(self.jobs, &entry, self.run.tries).await? {
            return Ok(next);
        }
        if self.is_recorded() {
            let history = &self.jobs.ledger.history;
            if let Begin::Finished(state) = history.begin(&entry, self.jobs.now()).await? {
                tracing::debug!(%state, "received a message whose scan has already ended");
                return Ok(Next::Done);
            }
        }
        let scanning = Box::pin(self.scan());
        let scanned = match self.run.budget {
            Some(budget) => timeout(budget.left(), scanning).await.unwrap_or_else(|_| {
                let operation = Verb::LookAt.on(&self.scan.store);
                Err(Error::of(Code::SlotOver, operation))
            }),
            None => scanning.await,
        };
        match scanned {
            Ok(end) => self.conclude(end).await,
            Err(error) => self.retry_or_fail(&error).await,
        }
    }

    async fn conclude(&self, end: ScanEnd) -> Result<Next> {
        let jobs = self.jobs;
        let outcome = match end {
            ScanEnd::Unfinished(rest) => return Ok(Next::Send(vec![Outgoing::now(*rest)])),
            ScanEnd::Tasks => jobs.outcome(TaskState::Succeeded, None, None, None),
            ScanEnd::Nothing if self.scan.is_by_digest() => {
                let message = "an untagged manifest without a subject is copied with its image".to_owned();
                jobs.outcome(TaskState::Skipped, None, Some("NOT_A_REFERRER"), Some(message))
            }
            ScanEnd::Nothing => {
                let message = format!("{}: nothing that can be imported was found", self.scan.entry().source);
                jobs.failed(Code::SourceEmpty.as_str(), message)
            }
            ScanEnd::Unnamed => {
                let message = "the file that names its images is missing".to_owned();
                let code = Some(Code::SourceIncomplete.as_str());
                jobs.outcome(TaskState::Skipped, None, code, Some(message))
            }
            ScanEnd::Waits(waiting, message) => {
                if self.may_still_come(&waiting) {
                    return Ok(Next::Done);
                }
                jobs.sources.pending().settle(&waiting.pending_id(), jobs.now()).await?;
                let days = WAIT_FOR_CONTENT.as_secs() / 86_400;
                let message = format!("{message}; nothing more is expected after {days} days");
                let outcome = jobs.failed(Code::SourceIncomplete.as_str(), message);
                jobs.end_if_recorded(&waiting.entry(), &outcome).await?;
                return Ok(Next::Done);
            }
        };
        jobs.end_if_recorded(&self.scan.entry(), &outcome).await?;
        Ok(Next::Done)
    }

    /// True if the ledger has the scan from its beginning: the operator who ordered it waits for its end.
    const fn is_recorded(&self) -> bool {
        !self.scan.is_upload
    }

    /// Ends the scan, which is recorded now if it is not yet.
    async fn end(&self, outcome: &Outcome) -> Result<Next> {
        let entry = self.scan.entry();
        if self.is_recorded() {
            self.jobs.end(&entry, outcome, &[], "").await?;
        } else {
            self.jobs.end_unrecorded(&entry, outcome).await?;
        }
        Ok(Next::Done)
    }

    async fn retry_or_fail(&self, error: &Error) -> Result<Next> {
        let Self { jobs, scan, run } = self;
        let tries = run.tries.saturating_add(1);
        let entry = scan.entry();
        let (code, message) = (error.code(), error.to_string());
        if error.is(Code::ArchiveWithoutImages) {
            return self
                .end(&jobs.outcome(TaskState::Skipped, None, Some(code), Some(message)))
                .await;
        }
        if error.persistence().is_permanent() {
            return self.end(&jobs.failed(code, message)).await;
        }
        if error.is(Code::SlotOver) && tries >= TIME_SLOTS_MAX {
            let message = format!(
                "the source could not be read in {TIME_SLOTS_MAX} time slots: raise WorkerTimeout, or upload a plain tar or a layout instead of a compressed archive, then redrive"
            );
            return self.end(&jobs.failed(code, message)).await;
        }
        if jobs.retry_policy.is_exhausted(&scan.execution, jobs.now(), tries) {
            return self.end(&jobs.failed(code, message)).await;
        }
        let delay = jobs.retry_policy.delay(tries, &scan.id, Wait::of(error));
        tracing::warn!(
            code,
            why = %message,
            ?delay,
            source = entry.source,
            "a source will be scanned again"
        );
        if self.is_recorded() {
            let next = jobs.now().checked_add(delay).unwrap_or(Timestamp::MAX);
            jobs.ledger.history.wait(&entry, code, &message, next).await?;
        }
        Ok(Next::Again(delay))
    }

    async fn scan(&self) -> Result<ScanEnd> {
        let Self { jobs, scan, .. } = self;
        let (found, only) = (&scan.source, scan.only.as_ref());
        let store = jobs.sources.store(&scan.store)?;
        scan.import.repository(found)?;
        let place = self.place();
        let names = index_version(Arc::clone(&store), found, only).await?;
        let end = match inspect(Arc::clone(&store), found, only).await? {
            Inspection::Nothing => ScanEnd::Nothing,
            Inspection::Incomplete { missing }
                if scan.is_upload && missing.iter().all(|one| one.digest().is_none()) =>
            {
                // The upload of the file that names images sends a scan of its own.
                ScanEnd::Unnamed
            }
            Inspection::Incomplete { missing } => {
                let waiting = self.waiting(&names);
                if self.may_still_come(&waiting) && !waiting.is_by_digest() {
                    self.record_wait(&waiting, &missing).await?;
                }
                self.wait_for(&waiting, &place, &missing).await?;
                if index_version(store, found, only).await? != names {
                    // What was recorded belongs to an index that was replaced, and a scan of the new one may already be over.
                    jobs.queue.send(&[Outgoing::now((*scan).clone())]).await?;
                }
                return Ok(ScanEnd::Waits(Box::new(waiting), message_of(&missing)));
            }
            Inspection::Complete { source, version } => {
                let listings = self.listings(&source).await?;
                self.send_images(&listings, &version).await?
            }
        };
        if !matches!(end, ScanEnd::Unfinished(_)) {
            self.settle().await?;
        }
        Ok(end)
    }

    /// Where the content of the source is, among all stores.
    fn place(&self) -> String {
        format!("{}/{}", self.scan.store, self.scan.source.place())
    }

    /// The scan as the task that waits. Every scan of an upload that finds the version `names` is the same task, in the execution
    /// that its images will belong to.
    fn waiting(&self, names: &str) -> Scan {
        let scan = self.scan;
        if scan.is_upload {
            scan.of_execution(self.execution_of(names))
        } else {
            scan.clone()
        }
    }

    fn may_still_come(&self, waiting: &Scan) -> bool {
        waiting.execution.age(self.jobs.now()) < WAIT_FOR_CONTENT
    }

    /// Records the task that waits. This comes before [`Self::wait_for`]: from then on the last blob may arrive at any moment,
    /// and the scan that it sends ends the task only if it is recorded.
    async fn record_wait(&self, waiting: &Scan, missing: &[Missing]) -> Result<()> {
        let (history, entry) = (&self.jobs.ledger.history, waiting.entry());
        let next = self.jobs.now().checked_add(RESCAN_INTERVAL).unwrap_or(Timestamp::MAX);
        history.record(std::slice::from_ref(&entry)).await?;
        let code = Code::SourceIncomplete.as_str();
        history.wait(&entry, code, &message_of(missing), next).await
    }

    /// The source waits for nothing more. A scan of an earlier version of it that waited is sent again, because its task must
    /// end.
    async fn settle(&self) -> Result<()> {
        let Self { jobs, scan, .. } = self;
        let (pending, id) = (jobs.sources.pending(), scan.pending_id());
        let Some(waited) = pending.find(&id, jobs.now()).await? else {
            return Ok(());
        };
        let of_others: Vec<Outgoing> = pending_scans(vec![waited])
            .map(|(_, message)| message)
            .filter(|message| message.envelope.job.task().is_some_and(|task| task.id != scan.id))
            .collect();
        if !of_others.is_empty() {
            jobs.queue.send(&of_others).await?;
        }
        pending.settle(&id, jobs.now()).await
    }

    async fn wait_for(&self, scan: &Scan, place: &str, missing: &[Missing]) -> Result<()> {
        let jobs = self.jobs;
        let waiting = jobs.sources.pending();
        let blobs: Vec<Digest> = missing.iter().filter_map(Missing::digest).cloned().collect();
        let now = jobs.now();
        let id = scan.pending_id();
        if scan.is_upload
            && let Some(before) = waiting.find(&id, now).await?
        {
            self.replace(scan, &before).await?;
        }
        let pending = PendingScan {
            id,
            job: scan.entry().job,
            since: scan.execution.created,
            blobs: blobs.len(),
        };
        let expires = now.checked_add(PENDING_TTL).unwrap_or(Timestamp::MAX);
        waiting.wait_for(&pending, place, &blobs, expires).await?;
        tracing::info!(
            code = Code::SourceIncomplete.as_str(),
            execution = scan.execution.id,
            source = scan.source.key,
            missing = missing.len(),
            why = message_of(missing),
            "a source waits for missing content"
        );
        let store = jobs.sources.store(&scan.store)?;
        let mut complete: HashMap<String, Outgoing> = HashMap::new();
        for blob in arrived_since(store, &scan.source, missing).await? {
            complete.extend(pending_scans(waiting.arrived(place, &blob, now).await?));
        }
        let complete: Vec<Outgoing> = complete.into_values().collect();
        if !complete.is_empty() {
            jobs.queue.send(&complete).await?;
        }
        Ok(())
    }

    /// Ends the task of an earlier version of the source, which `scan` takes the place of.
    async fn replace(&self, scan: &Scan, before: &PendingScan) -> Result<()> {
        let Ok(Envelope {
            job: Job::Scan(old), ..
        }) = Envelope::parse(&before.job)
        else {
            return Ok(());
        };
        if old.id == scan.id {
            return Ok(());
        }
        let message = "a newer version of the source was uploaded before this one was complete".to_owned();
        let code = Some(Code::SourceReplaced.as_str());
        let outcome = self.jobs.outcome(TaskState::Skipped, None, code, Some(message));
        self.jobs.end_if_recorded(&old.entry(), &outcome).await
    }

    /// The images of each part of `source`. A part that cannot be read is its own refused image.
    async fn listings(&self, source: &OpenSource) -> Result<Vec<(SourceRef, Listing)>> {
        let mut listings = Vec::new();
        for part in source.parts() {
            let listing = match self.listing(source, &part).await {
                Ok(listing) => listing,
                Err(error) if part.tree_repository.is_some() && error.is_permanent() => Listing {
                    images: Vec::new(),
                    refused: vec![Refused {
                        name: part.to_string(),
                        digest: None,
                        error,
                    }],
                },
                Err(error) => return Err(error),
            };
            listings.push((part, listing));
        }
        Ok(listings)
    }

    async fn listing(&self, source: &OpenSource, part: &SourceRef) -> Result<Listing> {
        self.scan.import.repository(part)?;
        listing(source.images(part)?.as_ref(), self.scan.only.as_ref()).await
    }

    async fn send_images(&self, listings: &[(SourceRef, Listing)], version: &str) -> Result<ScanEnd> {
        let Self { jobs, scan, run } = self;
        let execution = self.execution_of(version);
        let (mut tasks, mut refused_images, mut images) = (Vec::new(), 0, 0);
        for (part, listing) in listings {
            refused_images += listing.refused.len();
            images += listing.images.len();
            for refused in listing.refused.iter().filter(|_| scan.done == 0) {
                let entry = scan.import.refused(scan, part, refused, &execution)?;
                let error = &refused.error;
                jobs.fail(&entry, error.code(), error.to_string()).await?;
            }
            if !listing.images.is_empty() {
                let planned = scan.import.plan(&scan.store, part, &listing.images, &execution)?;
                tasks.extend(planned);
            }
        }
        let mut done = scan.done;
        for batch in tasks.get(done..).unwrap_or_default().chunks(BATCH_TASKS_MAX) {
            if done > scan.done && run.budget.is_some_and(|budget| budget.left() < budget.grace()) {
                return Ok(ScanEnd::Unfinished(Box::new(Scan {
                    done,
                    ..(*scan).clone()
                })));
            }
            if self.is_recorded() {
                // The execution of an order must not end while a task is only a message, so an error is not passed over.
                let entries: Vec<TaskEntry> = batch.iter().map(CopyTask::entry).collect();
                jobs.queue
                    .send(&batch.iter().cloned().map(Outgoing::now).collect::<Vec<_>>())
                    .await?;
                jobs.ledger.history.record(&entries).await?;
            } else {
                send_then_record(jobs.queue.as_ref(), jobs.ledger.history.as_ref(), batch, None).await?;
            }
            done += batch.len();
        }
        tracing::info!(
            source = scan.source.key,
            images = tasks.len(),
            refused = refused_images,
            execution = execution.id,
            "a source became tasks"
        );
        // A manifest of a storage tree without a tag and a subject belongs to another one.
        if images + refused_images == 0 && scan.only.is_none() {
            return Ok(ScanEnd::Nothing);
        }
        Ok(ScanEnd::Tasks)
    }

    /// The execution of the images of this version of the source.
    fn execution_of(&self, version: &str) -> Execution {
        let scan = self.scan;
        if !scan.is_upload {
            return scan.execution.clone();
        }
        // `_` as in the previous release: during a deployment both find the same version.
        let only = scan.only.as_ref().map_or_else(|| "_".to_owned(), ToString::to_string);
        let occurrence = format!("{} {} {only} {version}", scan.store, scan.source.key);
        scan.import.execution(&occurrence, scan.execution.created)
    }
}

/// What a source misses, as the list of tasks shows it.
fn message_of(missing: &[Missing]) -> String {
    let first = match missing.first() {
        Some(Missing::Blob { digest, .. }) => digest.to_string(),
        Some(Missing::File(name)) => name.clone(),
        None => String::new(),
    };
    let count = match missing.len() {
        1 => "1 object is".to_owned(),
        many => format!("{many} objects are"),
    };
    format!("{count} missing, first {first}: upload what is missing")
}

/// The messages of scans that waited, by their ids among those that wait. One that cannot be read is logged and left out.
pub(super) fn pending_scans(scans: Vec<PendingScan>) -> impl Iterator<Item = (String, Outgoing)> {
    scans.into_iter().filter_map(|PendingScan { job, .. }| {
        let read = Envelope::parse(&job);
        let read = read.inspect_err(
            |error| tracing::error!(code = error.code(), %error, "a waiting scan could not be parsed and is skipped"),
        );
        let envelope = read.ok()?;
        let key = match &envelope.job {
            Job::Scan(scan) => scan.pending_id(),
            _ => job,
        };
        let delay = Duration::ZERO;
        Some((key, Outgoing { envelope, delay }))
    })
}

/// The images of a source, or only one of them.
async fn listing(images: &dyn Images, only: Option<&Target>) -> Result<Listing> {
    let Some(target) = only else {
        return images.images().await;
    };
    let descriptor = images.manifest_head(target).await?;
    let image = descriptor.map(|descriptor| Image {
        name: None,
        target: target.clone(),
        descriptor,
        refers: matches!(target, Target::Digest(_)),
    });
    Ok(Listing {
        images: image.into_iter().collect(),
        refused: Vec::new(),
    })
}
