//! What the history knows and no comparison has seen: events since then that have not arrived.
//!
//! It is read from the ledger alone, so it is known whether or not any registry answers.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use transship_oci::{Repository, Result, Tag, Target};

use super::collected::image_of;
use crate::failover::ImageAtRisk;
use crate::ledger::{By, History, Leg, Replicas, TaskQuery};
use crate::{Action, ImageRef, TaskRecord};

/// Tasks that are read of one list. What is beyond is not listed by name, but the lag is that of the tasks that were read.
const TASKS_READ_MAX: usize = 50_000;
/// Tasks of one page.
const PAGE: usize = 1000;

/// The tasks of a leg whose image has not arrived.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The oldest of their events.
    pub(super) oldest: Option<Timestamp>,
    /// Their images.
    pub(super) images: Vec<ImageAtRisk>,
    /// There are more of them than were read.
    pub(super) is_cut: bool,
}

/// What waits on `leg`: open tasks, and those that failed. What was accepted before `compared` is the comparison's to say;
/// `differing` are the images that it found missing or different.
pub(super) async fn waiting(
    history: &dyn History,
    replicas: &dyn Replicas,
    leg: &Leg,
    compared: Option<Timestamp>,
    differing: &BTreeSet<(Repository, Tag)>,
) -> Result<Waiting> {
    let mut waiting = Waiting::default();
    let is_news = |task: &TaskRecord| {
        compared.is_none_or(|compared| task.created >= compared)
            || image_of(&task.destination).is_some_and(|image| differing.contains(&image))
    };
    let mut open = Vec::new();
    waiting.is_cut |= read(history, By::Open, leg, |_| true, &mut open).await?;
    open.retain(is_news);
    let mut failed = Vec::new();
    let is_recent = |task: &TaskRecord| compared.is_none_or(|compared| task.finished.is_none_or(|end| end >= compared));
    waiting.is_cut |= read(history, By::Failed, leg, is_recent, &mut failed).await?;
    failed.retain(is_news);
    open.extend(unresolved(replicas, failed).await?);
    for task in open {
        waiting.oldest = Some(waiting.oldest.map_or(task.created, |oldest| oldest.min(task.created)));
        if let Some((repository, tag)) = image_of(&task.destination) {
            waiting.images.push(ImageAtRisk {
                repository,
                tag,
                source_digest: task.digest,
                destination_digest: None,
                since: Some(task.created),
            });
        }
    }
    Ok(waiting)
}

/// Reads the copies of `leg` from a list until `goes_on` is false for one; true if there are more than were read.
async fn read(
    history: &dyn History,
    by: By,
    leg: &Leg,
    goes_on: impl Fn(&TaskRecord) -> bool + Send,
    into: &mut Vec<TaskRecord>,
) -> Result<bool> {
    let mut query = TaskQuery::new(by);
    query.filter.rule = Some(leg.rule.clone());
    query.filter.origin = Some(leg.from.clone());
    query.filter.destination_registry = Some(leg.to.clone());
    query.filter.is_redriven = Some(false);
    let mut after = None;
    loop {
        let page = history.tasks(&query, after.as_ref(), PAGE).await?;
        for task in page.items {
            if !goes_on(&task) {
                return Ok(false);
            }
            if task.action == Action::Copy {
                into.push(task);
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(false);
        }
        if into.len() >= TASKS_READ_MAX {
            return Ok(true);
        }
    }
}

/// The failed tasks whose destination was not written by a later task.
async fn unresolved(replicas: &dyn Replicas, failed: Vec<TaskRecord>) -> Result<Vec<TaskRecord>> {
    let destinations: HashSet<ImageRef> = failed.iter().filter_map(destination_of).collect();
    let destinations: Vec<ImageRef> = destinations.into_iter().collect();
    let mut written = HashMap::new();
    for chunk in destinations.chunks(100) {
        written.extend(replicas.find(chunk).await?);
    }
    let is_resolved = |task: &TaskRecord| {
        let replica = destination_of(task).and_then(|image| written.get(&image));
        replica.is_some_and(|replica| task.finished.is_none_or(|end| replica.written > end))
    };
    Ok(failed.into_iter().filter(|task| !is_resolved(task)).collect())
}

fn destination_of(task: &TaskRecord) -> Option<ImageRef> {
    let (registry, _) = task.destination.split_once('/')?;
    let (repository, tag) = image_of(&task.destination)?;
    Some(ImageRef {
        registry: registry.to_owned(),
        repository,
        target: Target::Tag(tag),
    })
}
