//! `transship dr failback`: copies back what was pushed meanwhile, and leads clients to the sites of the document again.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use transship_copy::SystemClock;
use transship_engine::failover::{Observed, OperationKind, Order, Switchover, observe};
use transship_engine::operations::{Replicate, StartRun};
use transship_engine::{Depth, Finding, Narrow, Trigger, VerifyRule};
use transship_oci::{Code, Existing, Result};
use transship_rules::Rule;

use super::check::{check_after_comparison, check_of};
use super::group::{Group, OpenedGroup};
use super::operator::switchover;
use super::report::{Report, text};
use crate::commands::image_end::image;
use crate::commands::run::refuse_incomplete;
use crate::failure::{Exit, Failure};
use crate::output::Form;

/// Conflicts that are overwritten at the same time. A command that is killed has ordered no more of them than this.
const OVERWRITES_AT_ONCE: usize = 32;

/// Arguments of `transship dr failback`.
#[derive(Debug, Args)]
#[command(
    after_help = "A tag of the old site that still has what was replicated last is replaced. A tag that was changed at both sites is a conflict, and needs a decision.\n\nExamples:\n  transship dr failback main --config transship.yaml --data /var/lib/transship\n  transship dr failback main --overwrite core/app:v1 --conflicts keep --config transship.yaml --data /var/lib/transship"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    group: Group,
    /// Only this zone
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// What becomes of images that were changed at both sites: the old site keeps its own, or has them overwritten
    #[arg(long, value_enum, value_name = "DECISION")]
    conflicts: Option<Decision>,
    /// Overwrite this image of the old site, REPOSITORY:TAG; repeatable
    #[arg(long, value_name = "IMAGE")]
    overwrite: Vec<String>,
    /// Lose the images that the refusal lists; overrides nothing but lag
    #[arg(long)]
    accept_data_loss: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decision {
    Keep,
    Overwrite,
}

/// An image that was changed at both sites, or at the old site after clients left it.
#[derive(Debug, Clone, Serialize)]
struct Conflict {
    /// At the writer.
    source: String,
    /// At the old site.
    destination: String,
    /// What differs.
    code: Option<String>,
    reason: Option<String>,
    /// `keep` or `overwrite`; null: not decided.
    decision: Option<&'static str>,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    crate::logging::begin_command();
    let decide = (arguments.conflicts, arguments.overwrite);
    let opened = arguments.group.open().await?;
    let order = Order {
        kind: OperationKind::Failback,
        to: None,
        zone: arguments.zone,
        accepts_data_loss: arguments.accept_data_loss,
    };
    let failovers = &opened.opened.ledger.failovers;
    let mut observed = observe(failovers, &opened.group, &opened.zones).await?;
    observed.expect_current(&opened.group)?;
    // The worker that copies back writes nothing without a state.
    observed.settle(failovers, &opened.group).await?;
    let returns = observed.state.under_way().is_none() && observed.state.writer != opened.group.writer;
    let (conflicts, check) = if returns {
        let conflicts = copy_back(&opened, &observed, &decide).await?;
        (conflicts, check_after_comparison(&opened).await?)
    } else {
        (Vec::new(), check_of(&opened).await?)
    };
    let assess = Arc::new(check);
    let switchover: Switchover = switchover(&opened, assess).await?;
    if returns {
        switchover.note_reconciled(&opened.group).await?;
    }
    let switched = switchover.run(&opened.group, &order).await?;
    let report = Report::new(&opened.group.name, switched.state, switched.is_unchanged, conflicts);
    form.print(&report, text)
}

/// Copies what was pushed to the writer since the flip to the other sites, and decides about conflicts.
async fn copy_back(
    opened: &OpenedGroup,
    observed: &Observed,
    (decision, overwritten): &(Option<Decision>, Vec<String>),
) -> Result<Vec<Conflict>, Failure> {
    let snapshot = opened.opened.snapshot()?;
    let mut rules: Vec<&Rule> = snapshot
        .document
        .rules
        .iter()
        .filter(|rule| rule.enabled && opened.group.has_rule(rule))
        .collect();
    // What a site forwards must reach it first.
    rules.sort_by_key(|rule| rule.source.registry != observed.state.writer);
    let mut conflicts = Vec::new();
    for rule in rules {
        run_rule(opened, rule).await?;
        let verify = VerifyRule {
            rule,
            source: snapshot.registry(&rule.source.registry)?,
            destination: snapshot.registry(&rule.destination.registry)?,
            ledger: &opened.opened.ledger,
            clock: Arc::new(SystemClock),
            depth: Depth::Manifests,
        };
        let mut unknown = Vec::new();
        verify
            .run(|row| match row.state {
                Finding::Different => conflicts.push(Conflict {
                    source: row.source,
                    destination: row.destination,
                    code: row.code,
                    reason: row.reason,
                    decision: None,
                }),
                Finding::Missing | Finding::Unknown => unknown.push(row.destination),
                Finding::Equal | Finding::Extra => {}
            })
            .await?;
        if !unknown.is_empty() {
            let sentence = format!("not copied back, or not known: {}", unknown.join(", "));
            return Err(Failure::new(Exit::Failed, Code::RunIncomplete.as_str(), sentence));
        }
    }
    for conflict in &mut conflicts {
        let is_named = |image: &String| {
            let (_, name) = conflict.destination.split_once('/').unwrap_or_default();
            name == image
        };
        conflict.decision = match decision {
            _ if overwritten.iter().any(is_named) => Some("overwrite"),
            Some(Decision::Overwrite) => Some("overwrite"),
            Some(Decision::Keep) => Some("keep"),
            None => None,
        };
    }
    let open: Vec<&str> = conflicts
        .iter()
        .filter(|conflict| conflict.decision.is_none())
        .map(|conflict| conflict.destination.as_str())
        .collect();
    if !open.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            Code::FailoverConflicts.as_str(),
            open.join(", "),
        ));
    }
    let overwritten: Vec<&Conflict> = conflicts
        .iter()
        .filter(|conflict| conflict.decision == Some("overwrite"))
        .collect();
    for part in overwritten.chunks(OVERWRITES_AT_ONCE) {
        overwrite(opened, part).await?;
    }
    Ok(conflicts)
}

async fn run_rule(opened: &OpenedGroup, rule: &Rule) -> Result<(), Failure> {
    let start = StartRun {
        runs: opened.opened.ledger.runs.clone(),
        history: opened.opened.ledger.history.clone(),
        queue: opened.opened.queue.clone(),
        clock: Arc::new(SystemClock),
    };
    let started = start.start(rule, Trigger::Manual, Narrow::default()).await?;
    refuse_incomplete(&opened.opened, &opened.opened.follow(&started.execution).await?).await
}

/// Overwrites the images side by side.
async fn overwrite(opened: &OpenedGroup, conflicts: &[&Conflict]) -> Result<(), Failure> {
    let replicate = Replicate {
        history: opened.opened.ledger.history.clone(),
        queue: opened.opened.queue.clone(),
        clock: Arc::new(SystemClock),
    };
    let mut executions = Vec::new();
    for conflict in conflicts {
        let (source, destination) = (image(&conflict.source, None)?, image(&conflict.destination, None)?);
        let task = replicate.run(source, destination, Existing::Overwrite).await?;
        executions.push(task.execution.id);
    }
    for ended in opened.opened.follow_all(&executions).await? {
        refuse_incomplete(&opened.opened, &ended).await?;
    }
    Ok(())
}
