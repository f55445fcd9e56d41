//! A drill: a flip and a failback on a name of their own, which no client uses.
//!
//! It uses the same switch, the same confirmation and the same pull as a flip. What must hold: the records of the group's name, its
//! epoch, its state and its rules stay as they are, and what a drill made is removed, also after a failure. A drill that was
//! interrupted leaves a record with its own stamp, which the next one takes over.

mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use transship_copy::Clock;
use transship_oci::{Code, Error, Result, Verb};
use transship_registry::SiteTarget;
use transship_rules::{Failover, Hostname, RecordKind, Site, SiteRecord, Zone};

pub use report::{DRILL_AGE_MAX, DrillReport, StepDone, ZoneDrill, overdue};

use super::facts::reason;
use super::probe::pull_at;
use super::{Assess, GroupState, Zones};
use crate::Snapshot;
use crate::ledger::{Ledger, Sample};
use crate::names::{Entry, Names, Patience, RecordSet, Stamp, Switch, Switched, confirm, fits, switch_patiently};
use crate::send::now;

/// Images that a report names.
const AT_RISK_NAMED: usize = 100;

/// Rehearses a flip of a group.
pub struct DrillGroup<'a> {
    /// The document with its clients.
    pub snapshot: Arc<Snapshot>,
    /// The ledger, which keeps the report.
    pub ledger: &'a Ledger,
    /// The services of the zones.
    pub zones: &'a dyn Zones,
    /// Assesses the site as for a flip.
    pub assess: &'a dyn Assess,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The person or program.
    pub by: &'a str,
    /// How long servers are asked.
    pub patience: Patience,
}

/// The name that drills of `host` use: `drill-` in front of its first label, so it is in the same zones.
pub fn drill_name(host: &Hostname) -> Result<Hostname> {
    format!("drill-{host}").parse().map_err(|_| {
        let why = format!("drill-{host} is not a valid name, because it is too long");
        Error::of(Code::DnsZoneInvalid, Verb::Names.on(host)).because(why)
    })
}

/// The two ends of a drill in one zone.
struct Ends<'a> {
    name: &'a Hostname,
    from: &'a Site,
    to: &'a Site,
    sample: Option<&'a Sample>,
}

impl DrillGroup<'_> {
    /// Rehearses leading the clients of `group` from the site that they use to `to`, and back, and keeps the report.
    pub async fn run(
        &self,
        group: &Failover,
        state: &GroupState,
        to: &Site,
        sample: Option<&Sample>,
    ) -> Result<DrillReport> {
        let started = self.now();
        let name = drill_name(&group.host)?;
        let readiness = self.assess.readiness(group, &state.writer, &to.registry).await?;
        let mut reasons = readiness.reasons.clone();
        let mut zones = Vec::new();
        let mut rto_ms = Some(0);
        for zone in &group.zones {
            let used = state.site_of(group, &zone.name).and_then(|site| group.site(site));
            let other = group.sites.iter().find(|site| site.registry != to.registry);
            let from = used.filter(|site| site.registry != to.registry).or(other);
            let Some(from) = from else { continue };
            let ends = Ends {
                name: &name,
                from,
                to,
                sample,
            };
            let mut drill = ZoneDrill {
                zone: zone.name.clone(),
                ..ZoneDrill::default()
            };
            if let Err(error) = self.zone(group, zone, &ends, &mut drill).await {
                reasons.push(reason(error.kind(), format!("zone {}: {error}", zone.name)));
            }
            rto_ms = rto_ms
                .zip(drill.switched_ms)
                .map(|(slowest, ms): (u64, u64)| slowest.max(ms));
            zones.push(drill);
        }
        let report = DrillReport {
            group: group.name.clone(),
            name: name.to_string(),
            started,
            ended: self.now(),
            by: self.by.to_owned(),
            from: state.writer.clone(),
            to: to.registry.clone(),
            ok: reasons.is_empty() && zones.iter().all(ZoneDrill::is_good),
            zones,
            rto_ms,
            rpo_seconds: readiness.lag.map(|lag| lag.as_secs()),
            at_risk_count: readiness.at_risk.len() as u64,
            at_risk: readiness.at_risk.into_iter().take(AT_RISK_NAMED).collect(),
            reasons,
        };
        self.ledger.drills.add(&report).await?;
        Ok(report)
    }

    /// Switches the name in one zone, and back, and removes it in any case.
    async fn zone(&self, group: &Failover, zone: &Zone, ends: &Ends<'_>, drill: &mut ZoneDrill) -> Result<()> {
        let names = self.zones.names(&zone.dns).await?;
        fits(&names.zone().await?, ends.name, &ends.from.record)?;
        fits(&names.zone().await?, ends.name, &ends.to.record)?;
        let epoch = self.begin(group, names.as_ref(), ends, drill).await?;
        let switched = self.there_and_back(group, names.as_ref(), ends, epoch, drill).await;
        let removed = drill.step("remove", remove(names.as_ref(), ends.name)).await;
        drill.removed = removed.is_ok();
        switched.and(removed)
    }

    /// Makes the record of the site that clients use. Returns its epoch.
    async fn begin(&self, group: &Failover, names: &dyn Names, ends: &Ends<'_>, drill: &mut ZoneDrill) -> Result<u64> {
        let before = names.read(ends.name).await?;
        let left = left_by_drill(&before, ends.name)?;
        let epoch = left + 1;
        let after = Entry {
            records: vec![RecordSet::of(&ends.from.record, group.ttl_seconds)],
            texts: vec![Stamp::new(epoch, &ends.from.registry, self.by).to_string()],
            owner: None,
        };
        drill.step("create", names.swap(ends.name, &before, &after)).await?;
        Ok(epoch)
    }

    async fn there_and_back(
        &self,
        group: &Failover,
        names: &dyn Names,
        ends: &Ends<'_>,
        epoch: u64,
        drill: &mut ZoneDrill,
    ) -> Result<()> {
        let there = (ends.from, ends.to, epoch + 1);
        drill.switched_ms = Some(
            self.lead(group, names, ends, there, ["switch", "confirm", "pull"], drill)
                .await?,
        );
        let back = (ends.to, ends.from, epoch + 2);
        let steps = ["switch back", "confirm back", "pull back"];
        drill.returned_ms = Some(self.lead(group, names, ends, back, steps, drill).await?);
        Ok(())
    }

    /// Leads the name from one site to the other, and pulls there. Returns how long it took, in milliseconds.
    async fn lead(
        &self,
        group: &Failover,
        names: &dyn Names,
        ends: &Ends<'_>,
        (from, to, epoch): (&Site, &Site, u64),
        [switching, confirming, pulling]: [&str; 3],
        drill: &mut ZoneDrill,
    ) -> Result<u64> {
        let began = Instant::now();
        let wanted = Switch {
            name: ends.name.clone(),
            from: from.record.clone(),
            to: to.record.clone(),
            ttl_seconds: group.ttl_seconds,
            stamp: Stamp::new(epoch, &to.registry, self.by),
        };
        let switched: Switched = drill
            .step(switching, switch_patiently(names, &wanted, self.patience))
            .await?;
        let confirmed = async {
            let confirmation = confirm(names, ends.name, &switched, self.patience).await?;
            confirmation.check(ends.name)?;
            Ok(confirmation.silent())
        };
        drill.silent = drill.step(confirming, confirmed).await?;
        // The address is that of the name, as its servers answer now.
        let pulled = async {
            let target = led_to(&names.read(ends.name).await?, ends.name)?;
            pull_at(&self.snapshot, group, &to.registry, target, ends.sample).await
        };
        drill.step(pulling, pulled).await?;
        Ok(milliseconds(began.elapsed()))
    }

    fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }
}

impl ZoneDrill {
    /// True if every step succeeded and nothing is left behind.
    pub fn is_good(&self) -> bool {
        self.removed && self.returned_ms.is_some() && self.steps.iter().all(|step| step.code.is_none())
    }

    async fn step<T>(&mut self, step: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let done = work.await;
        let error = done.as_ref().err();
        self.steps.push(StepDone {
            step: step.to_owned(),
            ms: milliseconds(began.elapsed()),
            code: error.map(|error| error.code().to_owned()),
            text: error.map(ToString::to_string),
        });
        done
    }
}

/// Where the records of a name lead.
fn led_to(entry: &Entry, name: &Hostname) -> Result<SiteTarget> {
    let changed = || Error::of(Code::DnsRecordChanged, Verb::Names.on(name)).because(format_args!("found {entry}"));
    let [set] = entry.records.as_slice() else {
        return Err(changed());
    };
    let record = SiteRecord {
        kind: set.kind,
        values: set.values.clone(),
    };
    match (record.kind, record.values.first()) {
        (RecordKind::Cname, Some(alias)) => Ok(SiteTarget::Alias(alias.clone())),
        (RecordKind::A | RecordKind::Aaaa, Some(_)) => Ok(SiteTarget::Addresses(record.addresses().collect())),
        (_, None) => Err(changed()),
    }
}

/// The epoch that a drill which was interrupted left behind; 0 if there is nothing. Records that no drill made are left alone.
fn left_by_drill(entry: &Entry, name: &Hostname) -> Result<u64> {
    if let Some(owner) = &entry.owner {
        let why = format!("it is managed by {owner}");
        return Err(Error::of(Code::DnsRecordOwned, Verb::Names.on(name)).because(why));
    }
    if entry.records.is_empty() && entry.texts.is_empty() {
        return Ok(0);
    }
    let stamps: Vec<Stamp> = entry.texts.iter().filter_map(|text| Stamp::parse(text)).collect();
    if let [stamp] = stamps.as_slice() {
        return Ok(stamp.epoch);
    }
    let why = format!("no drill made the record: {entry}");
    Err(Error::of(Code::DnsRecordChanged, Verb::Names.on(name)).because(why))
}

/// Removes the records of the name and its text.
async fn remove(names: &dyn Names, name: &Hostname) -> Result<()> {
    let before = names.read(name).await?;
    left_by_drill(&before, name)?;
    names.swap(name, &before, &Entry::default()).await?;
    let after = names.read(name).await?;
    if after.records.is_empty() && after.texts.is_empty() {
        return Ok(());
    }
    Err(Error::of(Code::DnsNotChanged, Verb::Names.on(name)).because(format_args!("the record is {after}")))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
