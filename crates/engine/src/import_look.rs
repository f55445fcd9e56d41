//! Look: a source, or one image of a storage tree, becomes tasks as soon as all of it is there.
//!
//! Objects arrive in any order. What is not complete waits for the blobs it misses, by their digests; the last of them to
//! arrive sends the look again. What must hold: a blob that arrives while the look decides is not missed, so what was found
//! missing is looked for once more after it was written down; whatever finds the same version of a source makes the same
//! tasks; and one bad image is recorded with its code and leaves the others alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use transship_copy::Slot;
use transship_layout::{Found, Image, Images, Listing, Looked as Seen, Missing, Refused, look, names_version, present};
use transship_oci::{Code, Digest, Error, Result, Target, Verb};

use crate::dispatch::dispatch;
use crate::import::Looked;
use crate::plan::id;
use crate::replicate::Ended;
use crate::{Begin, Disposition, Execution, HOPS_MAX, Look, Outgoing, Replicator, Task, TaskState, Waiting};

/// Tasks that are sent at once.
const BATCH: usize = 100;
/// A source that was not completed for so long is forgotten; its index, uploaded again, is looked at again.
const FORGOTTEN: Duration = Duration::from_hours(30 * 24);
/// A source that could not be read in so many slots will not be in another.
const SLOTS_MAX: u32 = 5;

/// How a look ended.
enum LookEnd {
    /// Its images are tasks, if it has any.
    Tasks,
    /// What is missing of it is waited for.
    Waits,
    /// It had no time to make all tasks: the look that goes on.
    Unfinished(Box<Task>),
}

impl Replicator {
    /// Looks at a source. Nothing of it is recorded unless it fails.
    #[tracing::instrument(skip_all, fields(execution = task.execution, rule = task.rule))]
    pub(crate) async fn look(&self, task: &Task, orders: &Look, slot: Option<Slot>) -> Result<Disposition> {
        if let Some(early) = self.early(task) {
            return Ok(Disposition::Again(early));
        }
        let looking = Box::pin(self.look_within(task, orders, slot));
        let looked = match slot {
            Some(slot) => timeout(slot.left(), looking).await.unwrap_or_else(|_| {
                let operation = Verb::LookAt.on(&task.source.registry);
                Err(Error::of(Code::SlotOver, operation))
            }),
            None => looking.await,
        };
        let error = match looked {
            Ok(end) => return self.look_ended(task, orders, end).await,
            Err(error) => error,
        };
        let looks = task.hops.saturating_add(1);
        let is_too_large = error.is(Code::SlotOver) && looks >= SLOTS_MAX;
        match self.judge(task, looks, &error) {
            Ended::Later { code, message, after }
                if !is_too_large && task.hops < HOPS_MAX && !self.is_out_of_patience(task, looks) =>
            {
                let delay = self.patience.delay(looks, &task.id, after);
                tracing::warn!(code, why = message, ?delay, source = %task.source, "a source is looked at again later");
                Ok(Disposition::Again(delay))
            }
            Ended::Later { code, .. } if is_too_large => {
                let message = format!(
                    "it could not be read in {SLOTS_MAX} slots: raise WorkerTimeout, or upload a plain tar or a layout in the place of a compressed archive, and redrive"
                );
                self.fail(&recorded(task), &code, message).await
            }
            Ended::Later { code, message, .. } => self.fail(&recorded(task), &code, message).await,
            Ended::Outcome(outcome, _) => {
                let code = outcome.code.unwrap_or_default();
                self.fail(&recorded(task), &code, outcome.message.unwrap_or_default())
                    .await
            }
        }
    }

    async fn look_ended(&self, task: &Task, orders: &Look, end: LookEnd) -> Result<Disposition> {
        let outcome = match end {
            LookEnd::Unfinished(next) => {
                self.queue.send(&[Outgoing::now(*next)]).await?;
                return Ok(Disposition::Done);
            }
            LookEnd::Tasks => self.outcome(TaskState::Succeeded, None, None, None),
            LookEnd::Waits => {
                let sentence = "it waits for what is missing of it".to_owned();
                self.outcome(TaskState::Skipped, None, Some("SOURCE_INCOMPLETE"), Some(sentence))
            }
        };
        if orders.is_recorded && matches!(self.ledger.begin(task, self.now()).await?, Begin::Attempt(_)) {
            self.end(task, &outcome, &[]).await?;
        }
        Ok(Disposition::Done)
    }

    async fn look_within(&self, task: &Task, orders: &Look, slot: Option<Slot>) -> Result<LookEnd> {
        let Some(found) = task.found.as_deref() else {
            return Ok(LookEnd::Tasks);
        };
        let store = self.imports.store(&task.source.registry)?;
        let single = orders.is_single.then_some(&task.source.target);
        orders.import.repository(found)?;
        let waiting = Task {
            id: orders.import.look_id(&task.source.registry, found, &task.source.target),
            look: Some(Box::new(Look {
                is_recorded: false,
                ..orders.clone()
            })),
            hops: 0,
            not_before: None,
            ..task.clone()
        };
        let place = format!("{}/{}", task.source.registry, found.place());
        let names = names_version(Arc::clone(&store), found, single).await?;
        let end = match look(Arc::clone(&store), found, single).await? {
            Seen::Nothing => LookEnd::Tasks,
            Seen::Incomplete { missing } => {
                self.wait_for(&waiting, found, &place, &missing).await?;
                if names_version(store, found, single).await? != names {
                    // What was written down belongs to what is not there any more, and a newer look may have been before.
                    self.queue.send(&[Outgoing::now(waiting)]).await?;
                }
                return Ok(LookEnd::Waits);
            }
            Seen::Complete { images, version } => {
                let listing = listing(images.as_ref(), single).await?;
                self.send_images(task, orders, found, listing, &version, slot).await?
            }
        };
        if matches!(end, LookEnd::Tasks) {
            self.imports.awaited().settle(&waiting.id, &place).await?;
        }
        Ok(end)
    }

    async fn wait_for(&self, look: &Task, found: &Found, place: &str, missing: &[Missing]) -> Result<()> {
        let blobs: Vec<Digest> = missing.iter().filter_map(Missing::digest).cloned().collect();
        if blobs.is_empty() {
            // A file that names images is told of by its own upload.
            return self.imports.awaited().settle(&look.id, place).await;
        }
        let now = self.now();
        let store = self.imports.store(&look.source.registry)?;
        let waiting = Waiting {
            look: look.clone(),
            since: look.created,
            blobs: blobs.len(),
        };
        let expires = now.checked_add(FORGOTTEN).unwrap_or(Timestamp::MAX);
        self.imports
            .awaited()
            .wait_for(&waiting, place, &blobs, expires)
            .await?;
        tracing::info!(code = "SOURCE_INCOMPLETE", source = found.key, missing = blobs.len(), first = %blobs[0], "a source waits for what is missing");
        let mut looks: HashMap<String, Task> = HashMap::new();
        for blob in present(store, found, missing).await? {
            let arrived = self.imports.awaited().arrived(place, &blob, now).await?;
            looks.extend(arrived.into_iter().map(|look| (look.id.clone(), look)));
        }
        let looks: Vec<Outgoing> = looks.into_values().map(Outgoing::now).collect();
        if !looks.is_empty() {
            self.queue.send(&looks).await?;
        }
        Ok(())
    }

    async fn send_images(
        &self,
        task: &Task,
        orders: &Look,
        found: &Found,
        listing: Listing,
        version: &str,
        slot: Option<Slot>,
    ) -> Result<LookEnd> {
        let store = &task.source.registry;
        let import = &orders.import;
        let execution = if orders.is_upload {
            let occurrence = format!("{store} {} {} {version}", found.key, task.source.target);
            import.execution(&occurrence, task.created)
        } else {
            Execution {
                id: task.execution.clone(),
                rule: task.rule.clone(),
                trigger: task.trigger,
                created: task.created,
            }
        };
        if orders.done == 0 {
            let looked = Looked {
                store,
                found,
                single: None,
                is_upload: orders.is_upload,
            };
            for refused in &listing.refused {
                self.record_refused(import.refused(&looked, refused, &execution)?, refused)
                    .await?;
            }
        }
        let tasks = import.plan(store, found, &listing.images, &execution)?;
        let mut done = orders.done;
        for batch in tasks.get(done..).unwrap_or_default().chunks(BATCH) {
            if done > orders.done && slot.is_some_and(|slot| slot.left() < slot.grace()) {
                let orders = Look { done, ..orders.clone() };
                return Ok(LookEnd::Unfinished(Box::new(Task {
                    look: Some(Box::new(orders)),
                    hops: 0,
                    ..task.clone()
                })));
            }
            dispatch(self.queue.as_ref(), self.ledger.as_ref(), &execution, batch).await?;
            done += batch.len();
        }
        tracing::info!(
            source = found.key,
            images = tasks.len(),
            refused = listing.refused.len(),
            execution = execution.id,
            "a source became tasks"
        );
        Ok(LookEnd::Tasks)
    }

    async fn record_refused(&self, task: Task, refused: &Refused) -> Result<()> {
        let error = &refused.error;
        self.fail(&task, error.code(), error.to_string()).await.map(drop)
    }

    /// Records what never became an image's task as a task that failed.
    pub(crate) async fn fail(&self, task: &Task, code: &str, message: String) -> Result<Disposition> {
        match self.ledger.begin(task, self.now()).await? {
            Begin::Finished(_) => Ok(Disposition::Done),
            Begin::Attempt(_) => self.end(task, &self.failed(code, message), &[]).await,
        }
    }
}

/// A look as it is recorded when it failed: once for each occasion.
pub(crate) fn recorded(task: &Task) -> Task {
    match &task.look {
        Some(orders) if !orders.is_recorded => Task {
            id: id("t", &[&task.execution, &task.id]),
            look: Some(Box::new(Look {
                is_recorded: true,
                ..orders.as_ref().clone()
            })),
            ..task.clone()
        },
        _ => task.clone(),
    }
}

/// The images of a source, or the one that is meant.
async fn listing(images: &dyn Images, single: Option<&Target>) -> Result<Listing> {
    let Some(target) = single else {
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
