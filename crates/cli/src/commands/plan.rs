//! `transship plan`: what a run of a rule, or a copy of one image, would do, without writing anything.

use std::sync::Arc;

use clap::Args;
use transship_copy::SystemClock;
use transship_engine::{PlanRule, Planned};
use transship_oci::Result;

use super::place::Place;
use super::run::rule_of;
use crate::copy_report::Requests;
use crate::failure::Failure;
use crate::output::Form;
use crate::plan_report::{PlanReport, PlanRow};

/// Arguments of `transship plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Bytes are those that would be sent after mounts; a layer that several images share is counted once.\ndocs/runs.md shows how the cost in a stack is calculated.\n\nExamples:\n  transship plan core-images --config transship.yaml --data /var/lib/transship\n  transship plan core-images --bandwidth 50MiB/s --json --config transship.yaml --data /var/lib/transship\n  transship plan docker.io/library/alpine:3.20 registry.example.com/base/alpine:3.20"
)]
pub(crate) struct Arguments {
    /// Name of a rule, or HOST/REPOSITORY[:TAG|@DIGEST] of the source; with --config, HOST may be the name of a registry
    #[arg(value_name = "RULE|SOURCE")]
    subject: String,
    /// HOST/REPOSITORY[:TAG|@DIGEST]
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
    /// Bandwidth with which the time is calculated, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = bytes_per_second)]
    bandwidth: Option<u64>,
    #[command(flatten)]
    place: Place,
}

fn bytes_per_second(text: &str) -> Result<u64, String> {
    transship_rules::bytes_per_second(text).ok_or_else(|| "expected a rate such as 50MiB/s".to_owned())
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    if let Some(destination) = arguments.destination {
        let document = arguments.place.snapshot()?;
        let images = (arguments.subject, destination);
        return super::copy::plan(images, document.as_deref(), arguments.bandwidth, form).await;
    }
    crate::logging::begin_command();
    let opened = arguments.place.open().await?;
    let snapshot = opened.snapshot()?;
    let rule = rule_of(&snapshot.document, &arguments.subject)?;
    let mut rows = Vec::new();
    let plan = PlanRule {
        rule,
        source: snapshot.registry(&rule.source.registry)?,
        destination: snapshot.registry(&rule.destination.registry)?,
        ledger: &opened.ledger,
        clock: Arc::new(SystemClock),
        is_in_group: snapshot
            .document
            .failover_between(&rule.source.registry, &rule.destination.registry)
            .is_some(),
    };
    plan.run(|planned| rows.push(row(planned))).await?;
    let report = PlanReport::from(rows).with_bandwidth(arguments.bandwidth);
    form.print(&report, |report| format!("{}\n{}", report.text(), report.totals_text()))
}

fn row(planned: Planned) -> PlanRow {
    let requests = Requests {
        source: planned.requests_source,
        destination: planned.requests_destination,
    };
    let (source, destination) = (planned.source, planned.destination);
    match planned.comparison {
        Ok(comparison) => PlanRow::of(source, destination, &comparison, &requests, true),
        Err(error) => PlanRow::refused(source, destination, &error, &requests),
    }
}
