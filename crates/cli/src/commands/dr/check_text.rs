//! The report of a check as a page for people.

use jiff::Timestamp;
use transship_engine::Finding;
use transship_engine::failover::{CheckReport, Reason, Role, Seen, SiteCheck, SiteFacts, SiteProbe, ZoneCheck};

use crate::commands::ledger::shown_time;
use crate::table::shown;

/// The page.
pub(super) fn page(report: &CheckReport) -> String {
    let ready = if report.ready { "ready" } else { "not ready" };
    let mut lines = vec![
        format!("{} {}: {ready}", report.group, report.endpoint),
        format!("  checked {} from {}", shown_time(report.checked), report.from),
        format!(
            "  writer {}, epoch {}, phase {}",
            report.writer, report.epoch, report.phase
        ),
        format!("  last good drill: {}", time_of(report.last_drills.last_good)),
    ];
    lines.extend(reason_lines("NOT READY", &report.reasons));
    lines.extend(reason_lines("note", &report.warnings));
    for site in &report.sites {
        lines.extend(site_lines(site, report.checked));
    }
    for zone in &report.zones {
        lines.extend(zone_lines(zone));
    }
    lines
        .into_iter()
        .map(|line| shown(&line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn site_lines(site: &SiteCheck, now: Timestamp) -> Vec<String> {
    let role = match site.role {
        Role::Writer => "writer",
        Role::Standby => "standby",
        Role::Drained => "drained",
    };
    let ready = match (site.ready, site.role) {
        (true, _) => "ready",
        (false, Role::Writer) => "cannot serve",
        (false, _) => "not ready",
    };
    let mut lines = vec![format!("site {} ({role}): {ready}", site.site)];
    if let Some(facts) = &site.facts {
        lines.extend(fact_lines(facts, now));
    }
    lines.extend(probe_lines(&site.probe, now));
    lines.push(format!(
        "  immutability {}, retention {}",
        site.immutability, site.retention
    ));
    lines.extend(reason_lines("NOT READY", &site.reasons));
    lines.extend(reason_lines("note", &site.warnings));
    for one in &site.differences {
        let state = match one.state {
            Finding::Missing => "missing",
            Finding::Different => "different",
            Finding::Extra => "extra",
            Finding::Equal | Finding::Unknown => "unknown",
        };
        let code = one.code.as_deref().unwrap_or_default();
        let since = shown_time(one.since);
        let conflict = if one.is_conflict { " (conflict)" } else { "" };
        lines.push(format!(
            "  {state}{conflict} {}:{} since {since} {code}",
            one.repository, one.tag
        ));
    }
    lines.extend(rest_line(site.differences_total, site.differences.len(), "differ"));
    for image in &site.at_risk {
        let since = time_of(image.since);
        lines.push(format!("  at risk {}:{} since {since}", image.repository, image.tag));
    }
    lines.extend(rest_line(site.at_risk_total, site.at_risk.len(), "are at risk"));
    lines
}

fn rest_line(total: usize, named: usize, what: &str) -> Option<String> {
    (total > named).then(|| format!("  {total} images {what}: see --limit and --skip"))
}

fn fact_lines(facts: &SiteFacts, now: Timestamp) -> Vec<String> {
    let lag = facts
        .lag
        .map_or_else(|| "unknown".to_owned(), |lag| format!("{} s", lag.as_secs()));
    let compared = match facts.compared {
        Some(compared) => format!("{} ({} ago)", shown_time(compared), age(compared, now)),
        None => "never".to_owned(),
    };
    let mut lines = vec![
        format!(
            "  replicated {} of {}, verified {} of {}",
            facts.replicated, facts.images, facts.verified, facts.images
        ),
        format!(
            "  missing {}, different {}, extra {}, waiting {}",
            facts.missing, facts.different, facts.extra, facts.waiting
        ),
        format!(
            "  lag {lag}, compared {compared}, verified since {}",
            time_of(facts.verified_since)
        ),
    ];
    if let Some(comparing) = &facts.comparing {
        lines.push(format!(
            "  comparing since {}: {} images so far, the last {} ago",
            shown_time(comparing.began),
            comparing.images,
            age(comparing.advanced, now)
        ));
    }
    if let Some(since) = facts.unreachable_since {
        lines.push(format!("  the writer cannot be reached since {}", shown_time(since)));
    }
    lines
}

fn probe_lines(probe: &SiteProbe, now: Timestamp) -> Vec<String> {
    let addresses: Vec<String> = probe.addresses.iter().map(ToString::to_string).collect();
    let addresses = match addresses.as_slice() {
        [] => "no address".to_owned(),
        addresses => addresses.join(", "),
    };
    let days = probe.certificate_end.map_or_else(String::new, |end| {
        format!(" for {} days", end.duration_since(now).as_hours() / 24)
    });
    let image = probe.pulled.as_deref().unwrap_or("no image");
    vec![format!(
        "  {addresses}: reachable {}, certificate {}{days}, login {}, pull of {image} {}",
        word(probe.reachable),
        word(probe.certificate),
        word(probe.login),
        word(probe.pull)
    )]
}

fn zone_lines(zone: &ZoneCheck) -> Vec<String> {
    let ready = if zone.ready { "ready" } else { "not ready" };
    let atomic = match zone.atomic {
        Some(true) => "atomic",
        Some(false) => "not atomic",
        None => "unknown",
    };
    let mut lines = vec![
        format!("zone {} ({}, {atomic}): {ready}", zone.zone, zone.service),
        format!(
            "  leads to {}, home {}, records {}",
            zone.leads_to.as_deref().unwrap_or("no known site"),
            zone.home,
            zone.records.as_deref().unwrap_or("unknown")
        ),
    ];
    for server in &zone.servers {
        lines.push(format!("  {} is {}: {}", server.server, server.state, server.answer));
    }
    lines.extend(reason_lines("NOT READY", &zone.reasons));
    lines.extend(reason_lines("note", &zone.warnings));
    lines
}

pub(super) fn reason_lines(mark: &str, reasons: &[Reason]) -> Vec<String> {
    let line = |reason: &Reason| format!("  {mark} {}: {}", reason.code, reason.text);
    reasons.iter().map(line).collect()
}

const fn word(seen: Seen) -> &'static str {
    match seen {
        Seen::Yes => "yes",
        Seen::No => "NO",
        Seen::Unknown => "unknown",
    }
}

pub(super) fn time_of(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "never".to_owned(), shown_time)
}

fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
