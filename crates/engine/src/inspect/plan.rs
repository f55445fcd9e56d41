//! Plan: what a run of a rule would do with each image, found out without writing anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use transship_copy::{
    Arrival, BlobLocation, BlobLocations, BlobSource as _, Clock, CompareRequest, Comparison, Extent, Manifests as _,
    Presence, compare,
};
use transship_oci::{Digest, Error, Repository, Result, Tag};
use transship_registry::{Page, Registry};
use transship_rules::Rule;

use super::walk_whole;
use crate::ledger::Ledger;
use crate::send::now;
use crate::walk::{Comparer, Known, Narrow, Pair, Visitor, WalkedReplicas, options};

/// What would be done with one image.
pub struct Planned {
    /// The image at the source, by the names of the document; a repository or a registry if it could not be read.
    pub source: String,
    /// The image at the destination.
    pub destination: String,
    /// What a copy would do, or why it is not known.
    pub comparison: Result<Comparison>,
    /// Requests that were sent to the source to find out.
    pub requests_source: u64,
    /// Requests that were sent to the destination.
    pub requests_destination: u64,
}

/// Plans a run of a rule.
pub struct PlanRule<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its source.
    pub source: Registry,
    /// Its destination.
    pub destination: Registry,
    /// The ledger, which knows what may be replaced and what can be mounted.
    pub ledger: &'a Ledger,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Source and destination are sites of one failover group.
    pub is_in_group: bool,
}

/// Finds out what would be done.
struct Planner<'a> {
    of: &'a PlanRule<'a>,
    /// Blobs that an image before would send, and where: later ones would mount them.
    sent: Mutex<HashMap<Digest, Repository>>,
}

/// Gives it to a sink.
struct Plan<'a, F> {
    of: &'a PlanRule<'a>,
    sink: F,
}

impl PlanRule<'_> {
    /// Compares every image of the rule and gives each to `sink`.
    pub async fn run(&self, sink: impl FnMut(Planned) + Send + Sync) -> Result<()> {
        let planner = Planner {
            of: self,
            sent: Mutex::default(),
        };
        let mut plan = Plan { of: self, sink };
        walk_whole(self.rule, &self.source, Narrow::default(), &planner, &mut plan).await
    }
}

impl Comparer for Planner<'_> {
    type Found = Planned;
    type Listed = ();

    fn list(&self, _: &Repository, _: &Page<Tag>) {}

    async fn compare(&self, pair: Pair, known: Known<'_>) -> Result<Planned> {
        let plan = self.of;
        let (source, destination) = (
            plan.source.repository(pair.source.repository.clone()),
            plan.destination.repository(pair.destination.repository.clone()),
        );
        let replicas = WalkedReplicas {
            written: Arc::clone(&plan.ledger.replicas),
            source: &pair.source,
            destination: &pair.destination,
            is_attended: false,
            is_in_group: plan.is_in_group,
        };
        let locations = PlannedLocations {
            of: plan,
            sent: &self.sent,
            repository: pair.destination.repository.clone(),
            identity: source.identity().unwrap_or_else(|| source.name()),
        };
        let comparison = compare(&CompareRequest {
            source: &source,
            from: pair.source.target.clone(),
            destination: &destination,
            to: pair.destination.target.clone(),
            options: options(plan.rule),
            locations: &locations,
            replicas: &replicas,
            digest_tags: known.digest_tags,
            extent: Extent::Everything,
            presence: Presence::Unknown,
        })
        .await;
        Ok(Planned {
            source: pair.source.to_string(),
            destination: pair.destination.to_string(),
            comparison,
            requests_source: source.requests(),
            requests_destination: destination.requests(),
        })
    }
}

impl<F: FnMut(Planned) + Send + Sync> Visitor for Plan<'_, F> {
    type Found = Planned;
    type Listed = ();

    async fn act(&mut self, found: Vec<Planned>) -> Result<()> {
        found.into_iter().for_each(&mut self.sink);
        Ok(())
    }

    fn pass_over(&mut self, repository: Option<&Repository>, tag: Option<&Tag>, error: &Error) {
        let below = repository.map_or_else(String::new, |repository| format!("/{repository}"));
        let target = tag.map_or_else(String::new, |tag| format!(":{tag}"));
        (self.sink)(Planned {
            source: format!("{}{below}{target}", self.of.rule.source.registry),
            destination: self.of.rule.destination.registry.clone(),
            comparison: Err(error.clone()),
            requests_source: 0,
            requests_destination: 0,
        });
    }
}

/// What the ledger knows of blobs, and what images before this one would have sent.
struct PlannedLocations<'a> {
    of: &'a PlanRule<'a>,
    sent: &'a Mutex<HashMap<Digest, Repository>>,
    repository: Repository,
    identity: String,
}

#[async_trait]
impl BlobLocations for PlannedLocations<'_> {
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, BlobLocation> {
        let (host, now) = (self.of.destination.host().to_string(), now(self.of.clock.as_ref()));
        let known = self.of.ledger.locations.find(&host, digests, now).await;
        let mut known = known.unwrap_or_default();
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in digests {
            match sent.get(digest) {
                Some(repository) => {
                    let location = known.entry(digest.clone()).or_default();
                    location.repositories.push(repository.clone());
                    location.sources.push(self.identity.clone());
                }
                None => {
                    sent.insert(digest.clone(), self.repository.clone());
                }
            }
        }
        known
    }

    async fn add(&self, _: &[Arrival], _: &Repository) {}

    async fn remove(&self, _: &Digest, _: &Repository) {}
}
