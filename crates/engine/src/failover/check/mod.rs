//! Whether a group can be switched now, and what would be lost. It works with the writer up or down, always has the same form, and
//! changes neither registries nor DNS.

mod site;
mod zone;

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use transship_copy::Clock;
use transship_oci::{Code, Result};
use transship_rules::{Failover, Rule};

pub use self::site::{Role, SiteCheck};
pub use self::zone::{ServerAnswer, ZoneCheck};
use super::drill::overdue;
use super::facts::{Standby, Writer, facts_of, reason, writer_of};
use super::observe::observe_for_report;
use super::{Assess, Observed, Phase, Readiness, Reason, Zones, rules_between};
use crate::Snapshot;
use crate::ledger::{LastCheck, LastDrills, Ledger};
use crate::send::now;

/// Checks a group.
pub struct CheckGroup {
    /// The document with its clients.
    pub snapshot: Arc<Snapshot>,
    /// The ledger.
    pub ledger: Ledger,
    /// The services of the zones.
    pub zones: Arc<dyn Zones>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where the check runs, for the report.
    pub from: String,
}

/// What a check found.
#[derive(Debug, Serialize)]
pub struct CheckReport {
    /// The group.
    pub group: String,
    /// True if every standby can take over, and every zone can be switched.
    pub ready: bool,
    /// When the check began.
    pub checked: Timestamp,
    /// Where it ran. Clients elsewhere may see something else.
    pub from: String,
    /// The address that clients pull from.
    pub endpoint: String,
    /// The site that clients push to.
    pub writer: String,
    /// The epoch that the ledger knows.
    pub epoch: u64,
    /// How far the last operation is.
    pub phase: Phase,
    /// The sites, in the order of the document.
    pub sites: Vec<SiteCheck>,
    /// The zones, in the order of the document.
    pub zones: Vec<ZoneCheck>,
    /// When the last drills were.
    pub last_drills: LastDrills,
    /// What the check before this one found.
    pub last_check: Option<LastCheck>,
    /// What speaks against a switch and concerns the whole group.
    pub reasons: Vec<Reason>,
    /// What an operator should know.
    pub warnings: Vec<Reason>,
}

impl CheckGroup {
    /// Checks `group`.
    pub async fn run(&self, group: &Failover) -> Result<CheckReport> {
        let checked = self.now();
        let zones = self.zones.as_ref();
        let (mut observed, unknown) = observe_for_report(&self.ledger.failovers, group, zones).await?;
        if unknown.is_none() {
            observed.settle(&self.ledger.failovers, group).await?;
        }
        let state = &observed.state;
        let sites = group
            .sites
            .iter()
            .map(|site| self.site(group, &observed, &site.registry));
        let zones = group
            .zones
            .iter()
            .map(|zone| zone::check(group, zone, &observed, zones));
        let (sites, zones) = tokio::join!(join_all(sites), join_all(zones));
        let sites: Vec<SiteCheck> = sites.into_iter().collect::<Result<_>>()?;
        let last_drills = self.ledger.drills.last(&group.name).await?;
        let last_check = self.ledger.drills.last_check(&group.name).await?;
        let mut reasons: Vec<Reason> = unknown
            .iter()
            .map(|error| reason(error.kind(), error.to_string()))
            .collect();
        if let Some(operation) = state.under_way() {
            let why = format!(
                "a {} to {} is under way: phase {}",
                operation.kind, operation.to, state.phase
            );
            reasons.push(reason(Code::FailoverUnderWay, why));
        }
        let warnings = overdue(&group.name, &last_drills, checked).into_iter().collect();
        let standby = sites.iter().filter(|site| site.role != Role::Writer);
        let ready = reasons.is_empty() && standby.clone().all(|site| site.ready) && zones.iter().all(|zone| zone.ready);
        Ok(CheckReport {
            group: group.name.clone(),
            ready,
            checked,
            from: self.from.clone(),
            endpoint: group.endpoint.to_string(),
            writer: state.writer.clone(),
            epoch: state.epoch,
            phase: state.phase,
            sites,
            zones,
            last_drills,
            last_check,
            reasons,
            warnings,
        })
    }

    async fn site(&self, group: &Failover, observed: &Observed, site: &str) -> Result<SiteCheck> {
        let state = &observed.state;
        let role = match site {
            site if site == state.writer => Role::Writer,
            site if state.drained_sites(group).contains(&site) => Role::Drained,
            _ => Role::Standby,
        };
        let writer = Writer {
            site: state.writer.clone(),
            since: state.writer_since,
        };
        self.assess(group, &writer, site, role).await
    }

    async fn assess(&self, group: &Failover, writer: &Writer, site: &str, role: Role) -> Result<SiteCheck> {
        let Writer { site: writer, since } = writer;
        let rules: Vec<Rule> = rules_between(self.snapshot.written(), group, writer);
        let now = self.now();
        let facts = match role {
            Role::Writer => None,
            Role::Standby | Role::Drained => {
                let standby = Standby {
                    writer,
                    since: *since,
                    site,
                    rpo: group.rpo,
                };
                Some(facts_of(&self.ledger, &rules, standby, now).await?)
            }
        };
        let sample = match &facts {
            Some(facts) => facts.sample.clone(),
            None => site::sample_of_writer(&self.ledger, &rules, writer).await?,
        };
        Ok(site::check(&self.snapshot, group, (site, role), facts, sample, now).await)
    }

    fn now(&self) -> Timestamp {
        now(self.clock.as_ref())
    }
}

#[async_trait::async_trait]
impl Assess for CheckGroup {
    async fn readiness(&self, group: &Failover, writer: &str, site: &str) -> Result<Readiness> {
        let role = if site == writer { Role::Writer } else { Role::Standby };
        let known = writer_of(&self.ledger, group).await?;
        let writer = Writer {
            site: writer.to_owned(),
            since: known.since.filter(|_| known.site == writer),
        };
        let found = self.assess(group, &writer, site, role).await?;
        Ok(found.readiness(group))
    }
}
