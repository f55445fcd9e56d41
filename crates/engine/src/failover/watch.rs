//! What a worker reports of the groups of its document between two checks: metrics, and log lines of what speaks against a switch.

use jiff::Timestamp;
use metrics::gauge;
use transship_oci::{Code, Result};
use transship_rules::Failover;

use super::facts::{SiteFacts, Standby, age, facts_of, rules_between, writer_of};
use super::overdue;
use crate::Snapshot;
use crate::ledger::Ledger;

/// Reports what the ledger knows of every standby of `group`: no registry is asked.
pub(crate) async fn report(snapshot: &Snapshot, ledger: &Ledger, group: &Failover, now: Timestamp) -> Result<()> {
    let writer = writer_of(ledger, group).await?;
    let rules = rules_between(snapshot.written(), group, &writer.site);
    let mut all = Vec::new();
    for site in group.sites.iter().filter(|site| site.registry != writer.site) {
        let standby = Standby {
            writer: &writer.site,
            since: writer.since,
            site: &site.registry,
            rpo: group.rpo,
        };
        let facts = facts_of(ledger, &rules, standby, now).await?;
        for reason in &facts.reasons {
            let (group, site) = (&group.name, &site.registry);
            tracing::warn!(
                code = reason.code,
                group,
                site,
                "the site is not ready: {}",
                reason.text
            );
        }
        all.push(facts);
    }
    measure_sites(group, &all, now);
    let drills = ledger.drills.last(&group.name).await?;
    let check = ledger.drills.last_check(&group.name).await?;
    measure(group, "FailoverDrillAge", drills.last_good, now);
    measure(group, "FailoverCheckAge", check.map(|check| check.checked), now);
    let overdue = overdue(&group.name, &drills, now);
    let is_overdue = if overdue.is_some() { 1.0 } else { 0.0 };
    gauge!("FailoverDrillOverdue", "Group" => group.name.clone()).set(is_overdue);
    if let Some(reason) = overdue {
        tracing::warn!(
            code = Code::DrillOverdue.as_str(),
            group = group.name,
            "{}",
            reason.text
        );
    }
    Ok(())
}

/// The worst site of the group counts.
fn measure_sites(group: &Failover, sites: &[SiteFacts], now: Timestamp) {
    let set = |name: &'static str, value: f64| gauge!(name, "Group" => group.name.clone()).set(value);
    let most = |of: fn(&SiteFacts) -> u64| sites.iter().map(of).max().unwrap_or_default() as f64;
    set("FailoverMissing", most(|site| site.missing + site.different));
    set("FailoverConflicts", most(|site| site.conflicts));
    set("FailoverAtRisk", most(|site| site.at_risk.len() as u64));
    set("FailoverNotReady", most(|site| site.reasons.len() as u64));
    // A lag that is not known has no value: `FailoverNotReady` and the age of the comparison say so.
    if let Some(lag) = sites.iter().filter_map(|site| site.lag).max() {
        set("FailoverLag", lag.as_secs_f64() * 1000.0);
    }
    let compared = sites.iter().map(|site| site.compared).min().flatten();
    measure(group, "FailoverComparisonAge", compared, now);
}

/// The age in milliseconds; nothing if there was none yet.
fn measure(group: &Failover, name: &'static str, since: Option<Timestamp>, now: Timestamp) {
    if let Some(since) = since {
        gauge!(name, "Group" => group.name.clone()).set(age(since, now).as_secs_f64() * 1000.0);
    }
}
