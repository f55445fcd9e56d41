//! What an operator orders, and which zones and which writer it means.
//!
//! The decisions here do no I/O.

use std::collections::BTreeMap;

use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Failover, Zone};

use super::switchover::writer_change;
use super::{GroupState, Operation, OperationKind, Phase, WriterChange, ZoneMove, ZoneState, settled_writer};

/// An order of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Flip or failback.
    pub kind: OperationKind,
    /// The site that zones are moved to; [`None`] for a failback, which moves each zone to its home.
    pub to: Option<String>,
    /// Only this zone; [`None`]: all.
    pub zone: Option<String>,
    /// What is lost is accepted.
    pub accepts_data_loss: bool,
}

/// What an order means in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// The site that the operation is named after.
    pub(super) to: String,
    /// The zones that are moved, by name; empty: nothing is to be done.
    pub(super) zones: BTreeMap<String, ZoneMove>,
    /// The change of the writer, if there is one.
    pub(super) writer: Option<WriterChange>,
}

/// The zones that the order moves from where they are. `UNKNOWN_SITE` for a site or zone that the group does not have.
pub(super) fn plan(group: &Failover, state: &GroupState, order: &Order) -> Result<Planned> {
    let to = order.to.as_deref().unwrap_or(&group.writer);
    if group.site(to).is_none() {
        let known: Vec<&str> = group.sites.iter().map(|site| site.registry.as_str()).collect();
        return Err(unknown(group, "site", to, &known));
    }
    if let Some(zone) = order.zone.as_deref().filter(|zone| group.zone(zone).is_none()) {
        let known: Vec<&str> = group.zones.iter().map(|zone| zone.name.as_str()).collect();
        return Err(unknown(group, "zone", zone, &known));
    }
    let mut zones = BTreeMap::new();
    let mut after: BTreeMap<String, ZoneState> = BTreeMap::new();
    for zone in &group.zones {
        let from = state.site_of(group, &zone.name).unwrap_or(&zone.home).to_owned();
        let target = target(order, zone);
        let epoch = state.zones.get(&zone.name).map_or(0, |zone| zone.epoch);
        let is_moved = target.is_some_and(|target| target != from);
        let (site, epoch) = match target {
            Some(target) if is_moved => (target.to_owned(), state.epoch + 1),
            _ => (from.clone(), epoch),
        };
        if is_moved {
            let moved = ZoneMove {
                from,
                to: site.clone(),
                done: None,
                silent: Vec::new(),
            };
            zones.insert(zone.name.clone(), moved);
        }
        let since = None;
        after.insert(zone.name.clone(), ZoneState { site, epoch, since });
    }
    let writer = writer_change(&state.writer, settled_writer(group, &after));
    let writer = writer.filter(|_| !zones.is_empty());
    Ok(Planned {
        to: to.to_owned(),
        zones,
        writer,
    })
}

/// The site that the order moves the zone to; [`None`]: it does not move it.
fn target<'a>(order: &'a Order, zone: &'a Zone) -> Option<&'a str> {
    if order.zone.as_ref().is_some_and(|only| *only != zone.name) {
        return None;
    }
    Some(order.to.as_deref().unwrap_or(&zone.home))
}

fn unknown(group: &Failover, what: &str, name: &str, known: &[&str]) -> Error {
    Error::of(Code::UnknownSite, Verb::Configuration).because(format!(
        "the group {} has no {what} {name:?}; it has {}",
        group.name,
        known.join(", ")
    ))
}

impl Order {
    /// True if `operation` is what this order began.
    pub(super) fn is_of(&self, group: &Failover, operation: &Operation) -> bool {
        let names_zones = |zone: &String| operation.zones.len() == 1 && operation.zones.contains_key(zone);
        let to = self.to.as_deref().unwrap_or(&group.writer);
        self.kind == operation.kind && operation.to == to && self.zone.as_ref().is_none_or(names_zones)
    }

    /// True if this order takes `operation` back: a flip to the site that all its zones come from, before any of them was moved.
    /// Whether DNS has its epoch is not asked.
    pub(super) fn takes_back(&self, operation: &Operation, phase: Phase) -> bool {
        let is_unmoved = operation.zones.values().all(|zone| zone.done.is_none());
        let comes_from = |zone: &ZoneMove| self.to.as_ref() == Some(&zone.from);
        self.kind == OperationKind::Flip
            && matches!(phase, Phase::Fenced | Phase::Drained)
            && is_unmoved
            && operation.zones.values().all(comes_from)
    }
}
