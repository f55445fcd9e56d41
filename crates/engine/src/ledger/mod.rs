//! The ledger: what the workers remember together. Four small ports, each with its own conformance suite:
//!
//! - [`History`]: executions and tasks, for people and for the sweep;
//! - [`Replicas`]: what we wrote to each destination tag, and which worker may write it now;
//! - [`Hints`]: values that expire and may be lost;
//! - [`Records`]: versioned values that do not expire.
//!
//! On [`Hints`] stand [`Locations`], [`Pauses`], [`Uploads`], [`Leases`], [`Failures`], [`Cancels`], [`Silences`],
//! [`DeletedTags`], [`DeleteGrants`] and [`PendingBlobs`], which are written once, here; on [`Records`] [`FirstSweep`],
//! [`Baselines`], [`Schedules`], [`Verifications`], [`Failovers`], [`Comparisons`], [`Drills`] and [`DeleteLimits`], and on both [`Runs`].
//!
//! The correctness of a copy does not depend on the ledger. A ledger that lost everything costs work, never an image.

mod baselines;
mod cancels;
mod comparisons;
mod delete_limits;
mod deleted_tags;
mod drills;
mod failovers;
mod failures;
mod first_sweep;
mod hints;
mod history;
mod leases;
mod locations;
mod page;
mod pauses;
mod pending;
mod records;
mod replicas;
mod runs;
mod schedules;
mod shared;
mod silences;
mod unfinished;
mod uploads;
mod verifications;

pub use crate::ImageRef;
pub use baselines::{Baselines, LEFT_OUT_MAX, Mark, Marks, Progress, RuleState, Versioned};
pub use cancels::{Cancels, Obstacles};
pub use comparisons::{Comparison, Comparisons, DIFFERENCES_MAX, Difference, Failed, Leg, Sample, Verified, Whole};
pub use delete_limits::{DeleteGrants, DeleteLimits};
pub use deleted_tags::DeletedTags;
pub use drills::{DRILLS_KEPT, Drills, LastCheck, LastDrills};
pub use failovers::{Failovers, Slot, SlotVersion, StateVersion};
pub use failures::{Failure, Failures};
pub use first_sweep::FirstSweep;
pub use hints::{Freshness, Hint, Hints, NoHints, Put};
pub use history::{By, ExecutionQuery, Filter, History, TaskEntry, TaskQuery};
pub use leases::Leases;
pub use locations::Locations;
pub use page::{Cursor, Key, PAGE_ITEMS_READ_MAX, Page};
pub use pauses::Pauses;
pub use pending::{PendingBlobs, PendingScan};
pub use records::{Record, Records, first_version};
pub use replicas::{Claim, EARLIER_MAX, Replica, Replicas, earlier_of, lease_end_latest, lease_in_force};
pub use runs::{LastRun, RunBeginning, RunProgress, RunWalk, Runs, UNREAD_NAMED_MAX, Unread};
pub use schedules::{LastDue, Schedules};
pub use shared::Ledger;
pub use silences::{Silence, Silences, last_delivery};
pub use unfinished::{ABANDONED_AFTER, Found, Tally, Unfinished};
pub use uploads::Uploads;
pub use verifications::{Verifications, VerifySummary};
