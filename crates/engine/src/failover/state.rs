//! What the ledger keeps of a group: its epoch, its writer, where each zone leads, and the operation under way.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_rules::Failover;

use crate::task::words;

words!(
    /// How far an operation on a group is. The order is that of an operation.
    Phase {
        /// Clients use the sites that the document names, or nothing is under way.
        Ready = "ready",
        /// Workers begin no write of a tag between the sites.
        Fenced = "fenced",
        /// Every write that began before has ended.
        Drained = "drained",
        /// The records of every zone of the operation lead to the new site, at every authoritative server.
        Flipped = "flipped",
        /// The new site is the writer, and the rules are those of the new writer.
        Reversed = "reversed",
        /// The other sites have what was pushed since, and no conflict is open.
        Reconciled = "reconciled",
    }
);

words!(
    /// What an operation does.
    OperationKind {
        /// Moves zones to a site.
        Flip = "flip",
        /// Moves zones to their homes, after what was pushed meanwhile is copied back.
        Failback = "failback",
    }
);

/// The state of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    /// The epoch of the last operation, also of one under way; 0 if there was none. It rises with every operation.
    pub epoch: u64,
    /// The site that the rules start at.
    pub writer: String,
    /// How far the last operation is.
    pub phase: Phase,
    /// The zones by name.
    pub zones: BTreeMap<String, ZoneState>,
    /// The operation under way, or the last one.
    pub operation: Option<Operation>,
    /// The state was read from DNS, because the ledger had none.
    #[serde(default)]
    pub is_rebuilt: bool,
    /// When the writer became the writer, by a switch or by a state that was read from DNS. What was compared before says nothing
    /// about its rules.
    #[serde(default)]
    pub writer_since: Option<Timestamp>,
}

/// Where the clients of a zone are led.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneState {
    /// The site.
    pub site: String,
    /// The epoch of the operation that moved the zone last; 0 if none did.
    pub epoch: u64,
    /// When it was moved.
    pub since: Option<Timestamp>,
}

/// An operation on a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// What it does.
    pub kind: OperationKind,
    /// The site that was asked for.
    pub to: String,
    /// The zones that it moves, by name.
    pub zones: BTreeMap<String, ZoneMove>,
    /// The change of the writer, if there is one. Only then are workers fenced.
    pub writer: Option<WriterChange>,
    /// The person or program that asked for it.
    pub by: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; [`None`]: it is under way.
    pub ended: Option<Timestamp>,
    /// It ended without an effect, because an operator took it back.
    #[serde(default)]
    pub is_aborted: bool,
    /// When each of its steps began and ended.
    pub steps: Vec<StepTime>,
    /// What the operator accepted to lose.
    pub accepted: Option<AcceptedLoss>,
    /// The process that works on it now, or did last.
    pub driver: Driver,
}

/// The move of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneMove {
    /// The site before.
    pub from: String,
    /// The site after.
    pub to: String,
    /// When every authoritative server that answers had the new record; [`None`]: not yet.
    pub done: Option<Timestamp>,
    /// The authoritative servers that did not answer then, each with the reason.
    #[serde(default)]
    pub silent: Vec<String>,
}

/// A change of the writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterChange {
    /// The writer before.
    pub from: String,
    /// The writer after.
    pub to: String,
}

/// When a step of an operation began and ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTime {
    /// The phase that the step leads to.
    pub phase: Phase,
    /// When it began for the first time.
    pub began: Timestamp,
    /// When the phase was reached.
    pub ended: Option<Timestamp>,
}

/// What an operator accepted to lose. The images are in the ledger beside the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedLoss {
    /// The number of images at risk.
    pub images: u64,
    /// The codes of the reasons that were overridden.
    pub reasons: Vec<String>,
    /// When it was accepted.
    pub at: Timestamp,
}

/// The process that works on an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Identifies the process.
    pub process: String,
    /// The person or program.
    pub by: String,
    /// Until when others leave the operation to it. It is extended while the process lives.
    pub until: Timestamp,
}

impl GroupState {
    /// The state of a group that nothing was switched in.
    pub fn new(group: &Failover) -> Self {
        let zones = group.zones.iter().map(|zone| {
            let state = ZoneState {
                site: zone.home.clone(),
                epoch: 0,
                since: None,
            };
            (zone.name.clone(), state)
        });
        Self {
            epoch: 0,
            writer: group.writer.clone(),
            phase: Phase::Ready,
            zones: zones.collect(),
            operation: None,
            is_rebuilt: false,
            writer_since: None,
        }
    }

    /// This state as it counts for `group`: while nothing was ever switched, the document says where everything is.
    #[must_use]
    pub fn of(self, group: &Failover) -> Self {
        if self.epoch == 0 { Self::new(group) } else { self }
    }

    /// The operation under way.
    pub fn under_way(&self) -> Option<&Operation> {
        self.operation.as_ref().filter(|operation| operation.ended.is_none())
    }

    /// True while workers write no tag between the sites.
    pub fn is_fenced(&self) -> bool {
        self.under_way().is_some_and(|operation| operation.writer.is_some())
            && matches!(self.phase, Phase::Fenced | Phase::Drained | Phase::Flipped)
    }

    /// The site that the clients of the zone are led to.
    pub fn site_of<'a>(&'a self, group: &'a Failover, zone: &str) -> Option<&'a str> {
        let known = self.zones.get(zone).map(|zone| zone.site.as_str());
        known.or_else(|| group.zone(zone).map(|zone| zone.home.as_str()))
    }

    /// The sites that no zone leads to although one is at home there: out of DNS, and still replicated to.
    pub fn drained_sites<'a>(&'a self, group: &'a Failover) -> Vec<&'a str> {
        let leads_to = |site: &str| {
            let mut zones = group.zones.iter();
            zones.any(|zone| self.site_of(group, &zone.name) == Some(site))
        };
        let is_home = |site: &str| group.zones.iter().any(|zone| zone.home == site);
        let sites = group.sites.iter().map(|site| site.registry.as_str());
        sites.filter(|site| is_home(site) && !leads_to(site)).collect()
    }
}
