//! `transship dr drill`: a flip and a failback on a name of their own, which no client uses.

use std::sync::Arc;

use clap::Args;
use transship_copy::SystemClock;
use transship_engine::failover::{DrillGroup, DrillReport, Standby, StepDone, facts_of, observe, rules_between};
use transship_engine::names::Patience;
use transship_oci::{Code, Result};
use transship_rules::Site;

use super::check::check_of;
use super::check_text::reason_lines;
use super::group::{Group, OpenedGroup};
use super::operator::operator;
use crate::commands::ledger::shown_time;
use crate::failure::{Exit, Failure};
use crate::output::Form;
use crate::table::shown;

/// Arguments of `transship dr drill`.
#[derive(Debug, Args)]
#[command(
    after_help = "The name drill-NAME is created in every zone, led to the site and back, and removed.\nClients are not affected.\nExit 0 only if every step succeeded and a flip would not have been refused.\n\nExamples:\n  transship dr drill main --config transship.yaml --data /var/lib/transship\n  transship dr drill main --to b --json --config transship.yaml --data /var/lib/transship"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    group: Group,
    /// Site to rehearse; the first standby by default
    #[arg(long, value_name = "SITE")]
    to: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    crate::logging::begin_command();
    let opened = arguments.group.open().await?;
    let check = check_of(&opened).await?;
    let ledger = &opened.opened.ledger;
    let observed = observe(&ledger.failovers, &opened.group, &opened.zones).await?;
    let state = &observed.state;
    let to = site_of(&opened, &state.writer, arguments.to.as_deref())?;
    let rules = rules_between(check.snapshot.written(), &opened.group, &state.writer);
    let standby = Standby {
        writer: &state.writer,
        since: state.writer_since,
        site: &to.registry,
        rpo: opened.group.rpo,
    };
    let facts = facts_of(ledger, &rules, standby, jiff::Timestamp::now()).await?;
    let by = operator();
    let drill = DrillGroup {
        snapshot: Arc::clone(&check.snapshot),
        ledger,
        zones: &opened.zones,
        assess: &check,
        clock: Arc::new(SystemClock),
        by: &by,
        patience: Patience::default(),
    };
    let report = drill.run(&opened.group, state, to, facts.sample.as_ref()).await?;
    form.print(&report, text)?;
    end(&report)
}

/// The site named `to`, or the first one that is not the writer.
fn site_of<'a>(opened: &'a OpenedGroup, writer: &str, to: Option<&str>) -> Result<&'a Site, Failure> {
    let group = &opened.group;
    let is_wanted = |site: &&Site| match to {
        Some(to) => site.registry == to,
        None => site.registry != writer,
    };
    group.sites.iter().find(is_wanted).ok_or_else(|| {
        let known: Vec<&str> = group.sites.iter().map(|site| site.registry.as_str()).collect();
        let sentence = format!(
            "the group has no site {:?}; it has {}",
            to.unwrap_or_default(),
            known.join(", ")
        );
        Failure::new(Exit::Input, Code::UnknownSite.as_str(), sentence)
    })
}

fn text(report: &DrillReport) -> String {
    let ok = if report.ok { "succeeded" } else { "failed" };
    let number =
        |value: Option<u64>, unit: &str| value.map_or_else(|| "unknown".to_owned(), |value| format!("{value} {unit}"));
    let mut lines = vec![
        format!("drill of {} on {}: {ok}", report.group, report.name),
        format!(
            "  {} to {} by {}",
            shown_time(report.started),
            shown_time(report.ended),
            report.by
        ),
        format!(
            "  to {}: RTO {} and the time to live of the record, RPO {}, {} images at risk",
            report.to,
            number(report.rto_ms, "ms"),
            number(report.rpo_seconds, "s"),
            report.at_risk_count
        ),
    ];
    for zone in &report.zones {
        let steps: Vec<String> = zone.steps.iter().map(step_text).collect();
        lines.push(format!("  zone {}: {}", zone.zone, steps.join(", ")));
        lines.extend(super::report::silent_lines(&zone.silent));
    }
    lines.extend(reason_lines("NOT READY", &report.reasons));
    lines
        .into_iter()
        .map(|line| shown(&line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn step_text(step: &StepDone) -> String {
    match &step.code {
        None => format!("{} {} ms", step.step, step.ms),
        Some(code) => format!("{} {code}", step.step),
    }
}

fn end(report: &DrillReport) -> Result<(), Failure> {
    if report.ok {
        return Ok(());
    }
    let reasons = report
        .reasons
        .iter()
        .map(|reason| (reason.code.as_str(), reason.text.clone()));
    let sentence = format!("the drill of {} did not succeed", report.group);
    Err(Failure::several(
        Exit::Failed,
        std::iter::once((Code::DrillFailed.as_str(), sentence)).chain(reasons),
    ))
}
