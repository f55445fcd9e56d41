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
    if opened.opened.has_worker()? == Some(false) && !compare_sites(&check, opened, COMPARE_TIMEOUT).await? {
        output::note(&format!(
            "COMPARISON_FAILED: the sites were not compared within {} s; the next check goes on, and `transship dr check {} --compare` has no limit",
            COMPARE_TIMEOUT.as_secs(),
            opened.group.name
        ));
    }
    Ok(check)
}

/// Compares what is due, for `limit` at most. False if the time ended: what was compared so far counts for the next one.
async fn compare_sites(check: &CheckGroup, opened: &OpenedGroup, limit: Duration) -> Result<bool, Failure> {
    let budget = TimeBudget::until(Instant::now() + limit, limit);
    let due = Due::GoingOn(compare_interval(opened.group.rpo));
    let refresh = refresh(check, Slice::within(Some(budget)));
    Ok(refresh.run_all(&opened.group, due).await?)
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use transship_embedded_registry::EmbeddedRegistry;
    use transship_testkit::faults::{Action, Fault, Script};
    use transship_testkit::images;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// Two sites with the images `core/app:v1` to `v{count}`, and the folder with the document.
    async fn sites(count: u64) -> (EmbeddedRegistry, EmbeddedRegistry, tempfile::TempDir) {
        let a = EmbeddedRegistry::builder().start().await.unwrap();
        let b = EmbeddedRegistry::builder().start().await.unwrap();
        for number in 1..=count {
            for registry in [&a, &b] {
                let tag = format!("v{number}").parse().unwrap();
                images::image(number, &[100]).seed_into(registry, &"core/app".parse().unwrap(), &tag);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            r#"
version: 1
registries:
  a: {{ provider: distribution, endpoint: "{}", webhook: none }}
  b: {{ provider: distribution, endpoint: "{}", webhook: none }}
rules:
  - {{ name: core, source: {{ registry: a, namespace: core }}, destination: {{ registry: b }} }}
failover:
  - name: main
    endpoint: https://images.example.com
    sites:
      - {{ registry: a, record: {{ type: A, value: 127.0.0.1 }} }}
      - {{ registry: b, record: {{ type: A, value: 127.0.0.2 }} }}
    writer: a
    zones: [{{ name: public, home: a, dns: {{ exec: lb }} }}]
"#,
            a.url(),
            b.url()
        );
        std::fs::write(folder.path().join("transship.yaml"), text).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        (a, b, folder)
    }

    async fn opened(folder: &tempfile::TempDir) -> OpenedGroup {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (config, data) = (path("transship.yaml"), path("data"));
        let words = ["check", "main", "--config", config.as_str(), "--data", data.as_str()];
        let command = Command::parse_from(words);
        command
            .arguments
            .group
            .open()
            .await
            .unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    #[tokio::test]
    async fn a_primary_that_answers_nothing_holds_up_no_command_and_the_next_one_goes_on() {
        let (a, _b, folder) = sites(70).await;
        let hang = Fault::new("*", "core/app/manifests/v9$", Action::Delay { delay_ms: 3_600_000 }).unwrap();
        a.set_faults(Some(Arc::new(Script::new([hang.always()]))));
        let first = opened(&folder).await;
        let check = checker(&first).unwrap();
        let limit = Duration::from_secs(10);
        let began = Instant::now();
        assert!(!compare_sites(&check, &first, limit).await.unwrap());
        assert!(began.elapsed() < COMPARE_TIMEOUT);
        let [left] = check
            .ledger
            .comparisons
            .all_unfinished()
            .await
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(check.ledger.comparisons.get(&left.leg).await.unwrap(), None);
        // v9 is the last of the tags, which are compared in their order.
        assert!((1..70).contains(&left.images), "{}", left.images);

        a.set_faults(None);
        let next = opened(&folder).await;
        let check = checker(&next).unwrap();
        assert!(compare_sites(&check, &next, COMPARE_TIMEOUT).await.unwrap());
        let known = check.ledger.comparisons.get(&left.leg).await.unwrap().unwrap();
        let whole = known.whole.unwrap();
        assert_eq!((whole.images, whole.verified, whole.began), (70, 70, left.began));
    }
}
