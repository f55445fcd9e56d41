//! Failover groups: what the ledger knows of a group, and the operations that move clients from one site to another.
//!
//! A group has one writer. The rules of the document start there, and their reverse is derived while another site is the writer.
//! What must hold: a worker writes no tag of a group that it has not read the state of just before, and none after the group is
//! drained; every step can be repeated after a crash; of two operators at once, one wins.

mod check;
mod drill;
mod facts;
mod observe;
mod order;
mod probe;
mod readiness;
mod replicated;
mod state;
mod switchover;
pub(crate) mod watch;
mod writes;

use std::sync::Arc;

use async_trait::async_trait;
use transship_oci::Result;
use transship_rules::ZoneService;

use crate::names::Names;

pub use check::{CheckGroup, CheckReport, Role, ServerAnswer, SiteCheck, ZoneCheck};
pub use drill::{DRILL_AGE_MAX, DrillGroup, DrillReport, StepDone, ZoneDrill, drill_name, overdue};
pub use facts::{
    CompareLeg, Compared, Comparing, Due, FACTS_AGE_MAX, Refresh, SiteFacts, Slice, Standby, VERIFIED_AGE_MAX, Writer,
    compare_interval, facts_of, is_due, leg_of, legs_to, rules_between, writer_of,
};
pub use observe::{Observed, ObservedZone, observe, observe_for_report, settled_writer};
pub use order::Order;
pub use probe::{Seen, SiteProbe, probe};
pub(crate) use replicated::is_replicated;
pub use switchover::{Switched, Switchover};
pub use writes::{Writes, WritesOf};

pub use readiness::{Assess, ImageAtRisk, Readiness, Reason};
pub use state::{
    AcceptedLoss, Driver, GroupState, Operation, OperationKind, Phase, StepTime, WriterChange, ZoneMove, ZoneState,
};

/// Makes the DNS services of zones.
#[async_trait]
pub trait Zones: Send + Sync {
    /// The service of a zone. `DNS_COMMAND_UNKNOWN` and `ROUTE53_NOT_BUILT` if this process cannot change it. Sends nothing.
    async fn names(&self, service: &ZoneService) -> Result<Arc<dyn Names>>;
}
