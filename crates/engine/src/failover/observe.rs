//! What is known of a group now: the state of the ledger, and what DNS says.
//!
//! The epoch in DNS survives the ledger. What must hold: a ledger that has no state takes it from DNS, and a ledger that is behind
//! DNS is never used for a switch.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Failover, Zone};

use super::{GroupState, Phase, ZoneState, Zones};
use crate::ledger::Failovers;
use crate::names::{Entry, Names, Stamp};

/// A group as it is known now.
#[derive(Debug)]
pub struct Observed {
    /// The state.
    pub state: GroupState,
    /// The version of the state in the ledger; [`None`]: the ledger has none, and the state was made from DNS and the document.
    pub version: Option<u64>,
    /// The zones, in the order of the document.
    pub zones: Vec<ObservedZone>,
}

/// A zone as DNS has it now.
#[derive(Debug)]
pub struct ObservedZone {
    /// Its name in the group.
    pub name: String,
    /// The records of the group's name; an error if they could not be read.
    pub entry: Result<Entry>,
    /// The epoch in its TXT record, if there is one.
    pub stamp: Option<Stamp>,
    /// The site that the records lead to; [`None`]: none, or not known.
    pub leads_to: Option<String>,
}

/// Reads the state of the ledger and the records of every zone. If the ledger has no state, it is made from the epochs of DNS;
/// then a zone that cannot be read is an error, because its epoch may be the newest.
pub async fn observe(failovers: &Failovers, group: &Failover, zones: &dyn Zones) -> Result<Observed> {
    match observe_for_report(failovers, group, zones).await? {
        (observed, None) => Ok(observed),
        (_, Some(error)) => Err(error),
    }
}

/// The same for a report, which shows what can be seen. With the error, the state is that of the document, and neither a switch nor
/// a write may depend on it.
pub async fn observe_for_report(
    failovers: &Failovers,
    group: &Failover,
    zones: &dyn Zones,
) -> Result<(Observed, Option<Error>)> {
    let known = failovers.get(&group.name).await?;
    let observed = join_all(group.zones.iter().map(|zone| observe_zone(group, zone, zones))).await;
    let (state, version, error) = match known {
        Some(known) => (known.state.of(group), Some(known.version), None),
        None => match rebuilt(group, &observed) {
            Ok(state) => (state, None, None),
            Err(error) => (GroupState::new(group), None, Some(error)),
        },
    };
    let zones = observed;
    Ok((Observed { state, version, zones }, error))
}

async fn observe_zone(group: &Failover, zone: &Zone, zones: &dyn Zones) -> ObservedZone {
    let entry = async {
        let names: Arc<dyn Names> = zones.names(&zone.dns).await?;
        names.read(&group.host).await
    };
    let entry = entry.await;
    let known = entry.as_ref().ok();
    let stamp = known.and_then(|entry| entry.texts.iter().find_map(|text| Stamp::parse(text)));
    let mut sites = group.sites.iter();
    let leads_to = known.and_then(|entry| sites.find(|site| entry.leads_to(&site.record)));
    ObservedZone {
        name: zone.name.clone(),
        stamp,
        leads_to: leads_to.map(|site| site.registry.clone()),
        entry,
    }
}

/// The state of a group whose ledger was lost, or that was never switched.
fn rebuilt(group: &Failover, observed: &[ObservedZone]) -> Result<GroupState> {
    let mut state = GroupState::new(group);
    for zone in observed {
        if let Err(error) = &zone.entry {
            let why = format!(
                "the ledger has no state of the group, and the zone {} cannot be read: {error}",
                zone.name
            );
            return Err(Error::of(Code::FailoverEpochUnknown, Verb::Names.on(&group.host)).because(why));
        }
        let Some(stamp) = &zone.stamp else { continue };
        if group.site(&stamp.site).is_none() {
            let why = format!(
                "the zone {} was switched to {}, and the group does not have that site",
                zone.name, stamp.site
            );
            return Err(Error::of(Code::UnknownSite, Verb::Names.on(&group.host)).because(why));
        }
        state.epoch = state.epoch.max(stamp.epoch);
        let known = ZoneState {
            site: stamp.site.clone(),
            epoch: stamp.epoch,
            since: None,
        };
        state.zones.insert(zone.name.clone(), known);
    }
    state.is_rebuilt = state.epoch > 0;
    state.writer = settled_writer(group, &state.zones).to_owned();
    if state.writer != group.writer {
        state.phase = Phase::Reversed;
    }
    Ok(state)
}

/// The writer of a group whose zones lead where `zones` says: the writer of the document while a zone leads to it, otherwise the
/// site of the zone that was moved last.
///
/// It depends on nothing but the zones, so that it can be found again without the ledger.
pub fn settled_writer<'a>(group: &'a Failover, zones: &'a BTreeMap<String, ZoneState>) -> &'a str {
    let states = || group.zones.iter().filter_map(|zone| zones.get(&zone.name));
    if states().any(|zone| zone.site == group.writer) {
        return &group.writer;
    }
    let moved_last = states().max_by_key(|zone| zone.epoch);
    moved_last.map_or(&group.writer, |zone| &zone.site)
}

impl Observed {
    /// The zone named `name`.
    pub fn zone(&self, name: &str) -> Option<&ObservedZone> {
        self.zones.iter().find(|zone| zone.name == name)
    }

    /// Writes the state that was made from DNS, if the ledger has none. Of two processes the first one counts. Not for a state with
    /// an error.
    pub async fn settle(&mut self, failovers: &Failovers, group: &Failover) -> Result<()> {
        if self.version.is_some() {
            return Ok(());
        }
        self.version = failovers.put(&group.name, None, &self.state).await?;
        if self.version.is_none()
            && let Some(known) = failovers.get(&group.name).await?
        {
            self.version = Some(known.version);
            self.state = known.state.of(group);
        }
        Ok(())
    }

    /// `DNS_EPOCH_OLD` if DNS has an epoch that the ledger does not know: another ledger, or a newer one, switched the name.
    pub fn expect_current(&self, group: &Failover) -> Result<()> {
        let newer = self.zones.iter().find_map(|zone| {
            let stamp = zone.stamp.as_ref().filter(|stamp| stamp.epoch > self.state.epoch)?;
            Some((zone, stamp))
        });
        let Some((zone, stamp)) = newer else { return Ok(()) };
        let why = format!(
            "the zone {} has {stamp}, and the ledger knows epoch {}: another ledger switched the name; `transship dr status {} --rebuild` takes the state over from DNS",
            zone.name, self.state.epoch, group.name
        );
        Err(Error::of(Code::DnsEpochOld, Verb::Names.on(&group.host)).because(why))
    }

    /// Writes a state that was made from DNS in place of the one of the ledger.
    pub async fn rebuild(&mut self, failovers: &Failovers, group: &Failover, now: Timestamp) -> Result<()> {
        let mut state = rebuilt(group, &self.zones)?;
        for zone in state.zones.values_mut().filter(|zone| zone.epoch > 0) {
            zone.since = Some(now);
        }
        state.is_rebuilt = true;
        state.writer_since = Some(now);
        let written = failovers.put(&group.name, self.version, &state).await?;
        let version = written.ok_or_else(|| {
            let error = Error::of(Code::FailoverBusy, Verb::Ledger.on("failovers_put"));
            error.because("another process changed the state of the group")
        })?;
        self.version = Some(version);
        self.state = state;
        Ok(())
    }
}
