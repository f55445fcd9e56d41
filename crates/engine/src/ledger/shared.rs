//! The ledger as a job sees it: its ports, and what is made of the hints.

use std::sync::Arc;

use super::{
    Baselines, Cancels, Comparisons, DeleteGrants, DeleteLimits, DeletedTags, Drills, Failovers, Failures, FirstSweep,
    Hints, History, Leases, Locations, Pauses, Records, Replicas, Runs, Schedules, Silences, Uploads, Verifications,
};

/// What all jobs of a process share of the ledger.
#[derive(Clone)]
pub struct Ledger {
    /// Executions and tasks.
    pub history: Arc<dyn History>,
    /// What we wrote to destinations, and who may write there.
    pub replicas: Arc<dyn Replicas>,
    /// Which repositories hold a blob.
    pub locations: Locations,
    /// Hosts that no worker sends requests to for now.
    pub pauses: Pauses,
    /// Uploads under way.
    pub uploads: Uploads,
    /// Leases of other things than destinations.
    pub leases: Leases,
    /// Tags that failed permanently.
    pub failures: Failures,
    /// Executions that an operator cancelled.
    pub cancels: Cancels,
    /// Rules whose pushes only the sweep finds.
    pub silences: Silences,
    /// Source tags that were deleted.
    pub deleted: DeletedTags,
    /// The limits of deletes.
    pub delete_limits: DeleteLimits,
    /// The first sweep of the ledger.
    pub first_sweep: FirstSweep,
    /// Runs of rules.
    pub runs: Runs,
    /// What existed before each rule.
    pub baselines: Baselines,
    /// When schedules were due.
    pub schedules: Schedules,
    /// The last verification of each rule.
    pub verifications: Verifications,
    /// Failover groups.
    pub failovers: Failovers,
    /// The last comparisons of the sites of failover groups.
    pub comparisons: Comparisons,
    /// Drills and checks of failover groups.
    pub drills: Drills,
}

impl Ledger {
    /// The ledger of an adapter that implements its ports.
    pub fn new<L: History + Replicas + Hints + Records + 'static>(adapter: &Arc<L>) -> Self {
        let hints = || Arc::clone(adapter) as Arc<dyn Hints>;
        Self {
            history: Arc::clone(adapter) as _,
            replicas: Arc::clone(adapter) as _,
            locations: Locations::new(hints()),
            pauses: Pauses::new(hints()),
            uploads: Uploads::new(hints()),
            leases: Leases::new(hints()),
            failures: Failures::new(hints()),
            cancels: Cancels::new(hints()),
            silences: Silences::new(hints()),
            deleted: DeletedTags::new(hints()),
            delete_limits: DeleteLimits::new(Arc::clone(adapter) as _, DeleteGrants::new(hints())),
            first_sweep: FirstSweep::new(Arc::clone(adapter) as _),
            runs: Runs::new(Arc::clone(adapter) as _, hints()),
            baselines: Baselines::new(Arc::clone(adapter) as _),
            schedules: Schedules::new(Arc::clone(adapter) as _),
            verifications: Verifications::new(Arc::clone(adapter) as _),
            failovers: Failovers::new(Arc::clone(adapter) as _),
            comparisons: Comparisons::new(Arc::clone(adapter) as _),
            drills: Drills::new(Arc::clone(adapter) as _),
        }
    }
}
