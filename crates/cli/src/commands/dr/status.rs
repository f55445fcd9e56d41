//! `transship dr status`: where the clients of a group are led, and the operation under way.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use transship_engine::failover::{
    GroupState, Observed, Operation, Phase, SiteFacts, Standby, facts_of, observe_for_report, rules_between,
};
use transship_engine::ledger::{Difference, LastCheck, LastDrills};
use transship_oci::Result;
use transship_rules::Failover;

use super::check_text::time_of;
use super::group::Group;
use crate::commands::ledger::shown_time;
use crate::failure::Failure;
use crate::output::Form;

/// Arguments of `transship dr status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship dr status main --config transship.yaml --data /var/lib/transship\n  transship dr status main --config transship.yaml --table TABLE --queue URL --json"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    group: Group,
    /// Replace the state of the ledger by what DNS says, after the ledger was restored or another ledger switched the name
    #[arg(long)]
    rebuild: bool,
}

/// Conflicts that the page for people names.
const CONFLICTS_SHOWN: usize = 20;

/// The state of a group, for people and scripts.
#[derive(Debug, Serialize)]
struct Status {
    group: String,
    epoch: u64,
    writer: String,
    phase: Phase,
    /// The state was made from the records of DNS.
    rebuilt: bool,
    /// Why the state is not known; that of the document is shown then.
    unknown: Option<String>,
    zones: Vec<ZoneStatus>,
    sites: Vec<SiteStatus>,
    /// The operation under way, or the last one.
    operation: Option<Operation>,
    /// The standbys, by what the ledger knows.
    facts: BTreeMap<String, SiteFacts>,
    /// Images that were pushed to a standby itself. `dr failback` decides about them.
    conflicts: Vec<Conflict>,
    last_check: Option<LastCheck>,
    last_drills: LastDrills,
}

/// An image of a standby that no rule replaces.
#[derive(Debug, Serialize)]
struct Conflict {
    /// The standby.
    site: String,
    /// `REPOSITORY:TAG`.
    image: String,
    /// What the writer has; null: nothing.
    writer_digest: Option<String>,
    /// What the standby has; null: it was not read.
    site_digest: Option<String>,
    /// The event or order, or the comparison that found it first.
    since: Timestamp,
}

impl Conflict {
    fn at(site: &str, one: Difference) -> Self {
        Self {
            site: site.to_owned(),
            image: format!("{}:{}", one.repository, one.tag),
            writer_digest: one.source_digest.map(|digest| digest.to_string()),
            site_digest: one.destination_digest.map(|digest| digest.to_string()),
            since: one.since,
        }
    }
}

#[derive(Debug, Serialize)]
struct ZoneStatus {
    name: String,
    home: String,
    /// The site that the ledger knows.
    site: String,
    epoch: u64,
    since: Option<Timestamp>,
    /// The site that the records lead to; null: none of the sites, or not known.
    leads_to: Option<String>,
    /// The records, or why they could not be read.
    records: String,
}

#[derive(Debug, Serialize)]
struct SiteStatus {
    name: String,
    /// `writer`, `standby`, or `drained`: at home in a zone that does not lead to it, and still replicated to.
    state: &'static str,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let opened = arguments.group.open().await?;
    let failovers = &opened.opened.ledger.failovers;
    let (mut observed, mut unknown) = observe_for_report(failovers, &opened.group, &opened.zones).await?;
    if arguments.rebuild {
        unknown = None;
        observed.rebuild(failovers, &opened.group, Timestamp::now()).await?;
    }
    if unknown.is_none() {
        observed.settle(failovers, &opened.group).await?;
    }
    let mut status = status(&opened.group, &observed);
    status.unknown = unknown.map(|error| error.to_string());
    let ledger = &opened.opened.ledger;
    status.last_check = ledger.drills.last_check(&status.group).await?;
    status.last_drills = ledger.drills.last(&status.group).await?;
    if let Some(document) = &opened.opened.written {
        let rules = rules_between(document, &opened.group, &status.writer);
        for site in opened.group.sites.iter().filter(|site| site.registry != status.writer) {
            let standby = Standby {
                writer: &status.writer,
                since: observed.state.writer_since,
                site: &site.registry,
                rpo: opened.group.rpo,
            };
            let mut facts = facts_of(ledger, &rules, standby, Timestamp::now()).await?;
            let conflicts = facts.differences.drain(..).filter(|one| one.is_conflict);
            status
                .conflicts
                .extend(conflicts.map(|one| Conflict::at(&site.registry, one)));
            status.facts.insert(site.registry.clone(), facts);
        }
    }
    form.print(&status, text)
}

fn status(group: &Failover, observed: &Observed) -> Status {
    let state = &observed.state;
    let zones = group.zones.iter().map(|zone| {
        let known = state.zones.get(&zone.name);
        let seen = observed.zone(&zone.name);
        ZoneStatus {
            name: zone.name.clone(),
            home: zone.home.clone(),
            site: state.site_of(group, &zone.name).unwrap_or_default().to_owned(),
            epoch: known.map_or(0, |zone| zone.epoch),
            since: known.and_then(|zone| zone.since),
            leads_to: seen.and_then(|seen| seen.leads_to.clone()),
            records: match seen.map(|seen| &seen.entry) {
                Some(Ok(entry)) => entry.to_string(),
                Some(Err(error)) => format!("{}: {error}", error.code()),
                None => String::new(),
            },
        }
    });
    Status {
        group: group.name.clone(),
        epoch: state.epoch,
        writer: state.writer.clone(),
        phase: state.phase,
        rebuilt: state.is_rebuilt,
        unknown: None,
        zones: zones.collect(),
        sites: sites(group, state),
        operation: state.operation.clone(),
        facts: BTreeMap::new(),
        conflicts: Vec::new(),
        last_check: None,
        last_drills: LastDrills::default(),
    }
}

fn sites(group: &Failover, state: &GroupState) -> Vec<SiteStatus> {
    let drained = state.drained_sites(group);
    let sites = group.sites.iter().map(|site| SiteStatus {
        name: site.registry.clone(),
        state: match site.registry.as_str() {
            name if name == state.writer => "writer",
            name if drained.contains(&name) => "drained",
            _ => "standby",
        },
    });
    sites.collect()
}

fn text(status: &Status) -> String {
    let mut lines = vec![format!(
        "{}: {}, epoch {}, writer {}",
        status.group, status.phase, status.epoch, status.writer
    )];
    lines.extend(status.unknown.iter().map(|why| format!("not known: {why}")));
    for site in &status.sites {
        let known = status.facts.get(&site.name).map(fact_text).unwrap_or_default();
        lines.push(format!("site {}: {}{known}", site.name, site.state));
    }
    for zone in &status.zones {
        let differs = match &zone.leads_to {
            Some(site) if *site == zone.site => String::new(),
            _ => " (DNS differs)".to_owned(),
        };
        lines.push(format!(
            "zone {}: {}{differs}, home {}, epoch {}; {}",
            zone.name, zone.site, zone.home, zone.epoch, zone.records
        ));
    }
    for conflict in status.conflicts.iter().take(CONFLICTS_SHOWN) {
        let since = shown_time(conflict.since);
        lines.push(format!(
            "conflict at {}: {} since {since}",
            conflict.site, conflict.image
        ));
    }
    if let Some(more) = status
        .conflicts
        .len()
        .checked_sub(CONFLICTS_SHOWN)
        .filter(|more| *more > 0)
    {
        lines.push(format!("and {more} more conflicts: see --json"));
    }
    let last_check = status.last_check.as_ref().map_or_else(
        || "never".to_owned(),
        |check| {
            format!(
                "{}, {}",
                shown_time(check.checked),
                if check.ready { "ready" } else { "not ready" }
            )
        },
    );
    let last_drill = time_of(status.last_drills.last_good);
    lines.push(format!("last check: {last_check}; last good drill: {last_drill}"));
    if let Some(operation) = &status.operation {
        lines.extend(super::report::operation_lines(operation));
    }
    lines.join("\n")
}

/// The lag of a standby, and what speaks against it, as far as the ledger knows.
fn fact_text(facts: &SiteFacts) -> String {
    let lag = facts
        .lag
        .map_or_else(|| "unknown".to_owned(), |lag| format!("{} s", lag.as_secs()));
    let (replicated, images) = (facts.replicated, facts.images);
    let conflicts = match facts.conflicts {
        0 => String::new(),
        count => format!(", {count} conflicts"),
    };
    let codes: Vec<&str> = facts.reasons.iter().map(|reason| reason.code.as_str()).collect();
    let reasons = if codes.is_empty() {
        String::new()
    } else {
        format!(", {}", codes.join(", "))
    };
    format!(", lag {lag}, replicated {replicated} of {images}{conflicts}{reasons}")
}
