//! `transship dr check`: whether each site can take over now, and what would be lost. Nothing is changed at registries or in DNS.
//!
//! The exit status is 0 only if the group is ready. What the sites have is known from comparisons; where no worker makes them, this
//! command does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use transship_copy::{SystemClock, TimeBudget};
use transship_engine::failover::{CheckGroup, CheckReport, Due, Reason, Refresh, SiteCheck, Slice, compare_interval};
use transship_engine::ledger::LastCheck;
use transship_oci::Result;

use super::check_text;
use super::group::{Group, OpenedGroup};
use crate::failure::{Exit, Failure};
use crate::output::{self, Form};

/// How long a command compares the sites before it goes on with what is known. A primary that answers nothing must not hold up
/// a switch.
const COMPARE_TIMEOUT: Duration = Duration::from_mins(1);

/// Arguments of `transship dr check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit 0 only if every standby can take over and every zone can be switched.\n\nExamples:\n  transship dr check main --config transship.yaml --data /var/lib/transship\n  transship dr check main --json --limit 1000 --config transship.yaml --data /var/lib/transship"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    group: Group,
    /// Images to name of each list
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Images of each list to leave out at its beginning
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// Compare the sites first, also where workers do; it takes two requests for each image
    #[arg(long)]
    compare: bool,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    crate::logging::begin_command();
    let opened = arguments.group.open().await?;
    let check = if arguments.compare {
        check_after_comparison(&opened).await?
    } else {
        check_of(&opened).await?
    };
    let mut report = check.run(&opened.group).await?;
    check.ledger.drills.note_check(&report.group, &noted(&report)).await?;
    for site in &mut report.sites {
        site.page(arguments.skip, arguments.limit);
    }
    form.print(&report, check_text::page)?;
    end(&report)
}

/// The check of the group. If no process works in the data folder, the sites are compared first where that is due, for
/// [`COMPARE_TIMEOUT`] at most.
pub(super) async fn check_of(opened: &OpenedGroup) -> Result<CheckGroup, Failure> {
    let check = checker(opened)?;
    if opened.opened.has_worker()? == Some(false) {
        let end = Instant::now() + COMPARE_TIMEOUT;
        let slice = Slice::within(Some(TimeBudget::until(end, COMPARE_TIMEOUT)));
        let due = Due::GoingOn(compare_interval(opened.group.rpo));
        if !refresh(&check, slice).run_all(&opened.group, due).await? {
            output::note(&format!(
                "COMPARISON_FAILED: the sites were not compared within {} s; the next check goes on, and `transship dr check {} --compare` has no limit",
                COMPARE_TIMEOUT.as_secs(),
                opened.group.name
            ));
        }
    }
    Ok(check)
}

/// The check of a group whose sites are compared first in any case.
pub(super) async fn check_after_comparison(opened: &OpenedGroup) -> Result<CheckGroup, Failure> {
    let check = checker(opened)?;
    // One that another worker has begun may have read a site before this moment.
    let due = Due::Since(Timestamp::now());
    refresh(&check, Slice::within(None)).run_all(&opened.group, due).await?;
    Ok(check)
}

fn checker(opened: &OpenedGroup) -> Result<CheckGroup, Failure> {
    Ok(CheckGroup {
        snapshot: opened.opened.snapshot()?,
        ledger: opened.opened.ledger.clone(),
        zones: Arc::new(opened.zones.clone()),
        clock: Arc::new(SystemClock),
        from: super::operator::operator(),
    })
}

fn refresh(check: &CheckGroup, slice: Slice) -> Refresh<'_> {
    Refresh {
        snapshot: &check.snapshot,
        ledger: &check.ledger,
        clock: Arc::new(SystemClock),
        worker: &check.from,
        slice,
    }
}

/// Everything that speaks against a switch, and concerns more than the writer.
fn reasons(report: &CheckReport) -> impl Iterator<Item = &Reason> {
    let sites = report.sites.iter().filter(|site| is_standby(site));
    let of_sites = sites.flat_map(|site| &site.reasons);
    let of_zones = report.zones.iter().flat_map(|zone| &zone.reasons);
    report.reasons.iter().chain(of_sites).chain(of_zones)
}

fn is_standby(site: &SiteCheck) -> bool {
    site.role != transship_engine::failover::Role::Writer
}

fn noted(report: &CheckReport) -> LastCheck {
    LastCheck {
        checked: report.checked,
        ready: report.ready,
        codes: reasons(report).map(|reason| reason.code.clone()).collect(),
    }
}

fn end(report: &CheckReport) -> Result<(), Failure> {
    if report.ready {
        return Ok(());
    }
    let lines = reasons(report).map(|reason| (reason.code.as_str(), reason.text.clone()));
    Err(Failure::several(Exit::Failed, lines))
}
