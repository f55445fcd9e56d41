//! `transship run`: compares the existing images of a rule and copies those that differ.

use clap::Args;
use serde::Serialize;
use transship_engine::operations::{StartRun, Started};
use transship_engine::{ExecutionRecord, ExecutionState, Narrow, Trigger};
use transship_oci::{Code, Repository, Result, Tag};
use transship_rules::{Document, Rule};

use super::dr::DnsCommands;
use super::executions::run_text;
use super::place::{Opened, Place};
use crate::failure::{Exit, Failure};
use crate::output::{self, Form};

/// Arguments of `transship run`.
#[derive(Debug, Args)]
#[command(
    after_help = "The run is an execution with the trigger manual. Of one rule one run is active at a time, and a second command joins it.\nA running serve or stack does the work. With --wait the command does it itself if no serve uses the data folder.\n\nExamples:\n  transship run core-images --config transship.yaml --data /var/lib/transship --wait\n  transship run core-images --repository core/app --tag v1 --config transship.yaml --data /var/lib/transship\n  transship run core-images --table TABLE --queue URL --json"
)]
pub(crate) struct Arguments {
    /// Name of the rule
    rule: String,
    /// Only this repository of the source
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<Repository>,
    /// Only this tag of the source
    #[arg(long, value_name = "TAG")]
    tag: Option<Tag>,
    /// Return when the run has ended; exit 0 only if everything was read and nothing failed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    commands: DnsCommands,
    #[command(flatten)]
    place: Place,
}

/// The result of the command.
#[derive(Debug, Serialize)]
struct Ran {
    /// The id of the execution.
    execution: String,
    /// The rule.
    rule: String,
    /// The run was active before.
    joined: bool,
    /// The rule is disabled, and runs because an operator asked for it; null if its document is not known here.
    disabled: Option<bool>,
    /// A process works on the queue; null if that is not known.
    worker: Option<bool>,
    /// How the run ended; null without `--wait`.
    ended: Option<ExecutionRecord>,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    crate::logging::begin_command();
    let opened = arguments
        .place
        .open_for(Some(arguments.rule.as_str()).filter(|_| arguments.wait))
        .await?
        .with_dns_commands(arguments.commands.by_name());
    let narrow = Narrow {
        repository: arguments.repository,
        tag: arguments.tag,
    };
    let start = StartRun {
        runs: opened.ledger.runs.clone(),
        history: opened.ledger.history.clone(),
        queue: opened.queue.clone(),
        clock: std::sync::Arc::new(transship_copy::SystemClock),
    };
    let (started, disabled) = if let Some(document) = &opened.document {
        let rule = rule_of(document, &arguments.rule)?;
        refuse_other_repository(rule, &narrow)?;
        if arguments.wait {
            opened
                .settle_group(&rule.source.registry, &rule.destination.registry)
                .await?;
        }
        let started = start.start(rule, Trigger::Manual, narrow).await?;
        (started, Some(!rule.enabled))
    } else {
        let started = start.start_by_name(&arguments.rule, Trigger::Manual, narrow).await?;
        (started, None)
    };
    if disabled == Some(true) {
        output::note("RULE_DISABLED: the rule is disabled; it runs because it was started by hand");
    }
    if started.is_joined {
        output::note("a run of the rule is active already, and this command joins it");
    }
    if form == Form::Text {
        output::print(&started.execution)?;
    }
    let ended = if arguments.wait {
        Some(opened.follow(&started.execution).await?)
    } else {
        None
    };
    if opened.document.is_none() {
        refuse_unknown(&opened, &arguments.rule, &started.execution).await?;
    }
    let ran = report(&opened, &arguments.rule, started, disabled, ended)?;
    if form == Form::Json {
        output::print_json(&ran)?;
    } else if let Some(ended) = &ran.ended {
        output::print(&run_text(ended))?;
    }
    let is_empty = |ended: &ExecutionRecord| {
        ended
            .run
            .as_ref()
            .is_some_and(|run| run.tags == 0 && run.unreadable == 0)
    };
    if ran.ended.as_ref().is_some_and(is_empty) {
        output::note("no image was compared: the source has none that the rule and the options select");
    }
    match &ran.ended {
        Some(ended) => refuse_incomplete(&opened, ended).await,
        None => Ok(()),
    }
}

fn report(
    opened: &Opened,
    rule: &str,
    started: Started,
    disabled: Option<bool>,
    ended: Option<ExecutionRecord>,
) -> Result<Ran, Failure> {
    let worker = opened.has_worker()?;
    if ended.is_none() {
        opened.note_no_worker()?;
    }
    Ok(Ran {
        execution: started.execution,
        rule: rule.to_owned(),
        joined: started.is_joined,
        disabled,
        worker,
        ended,
    })
}

/// The rule called `name`; otherwise a failure with the nearest name.
pub(super) fn rule_of<'d>(document: &'d Document, name: &str) -> Result<&'d Rule, Failure> {
    document.rule(name).ok_or_else(|| {
        let nearest = document
            .rules
            .iter()
            .map(|rule| rule.name.as_str())
            .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
        let hint = nearest.map_or_else(
            || "it has no rules".to_owned(),
            |nearest| format!("did you mean {nearest:?}?"),
        );
        let sentence = format!("the document has no rule {name:?}; {hint}");
        Failure::new(Exit::Input, Code::UnknownRule.as_str(), sentence)
    })
}

/// Refuses a rule that the document of the stack does not have, as soon as a worker says so.
async fn refuse_unknown(opened: &Opened, name: &str, execution: &str) -> Result<(), Failure> {
    if !opened.until_begun(execution).await? {
        output::note("no worker has begun the run yet: `transship executions` shows when it begins");
        return Ok(());
    }
    let record = opened.find(execution).await?;
    let has_walked = record.is_some_and(|record| record.run.is_some());
    if has_walked || !opened.has_unknown_rule(execution).await? {
        return Ok(());
    }
    let code = Code::UnknownRule.as_str();
    let sentence = format!("the document of the stack has no rule {name:?}; set --config FILE to see which it has");
    Err(Failure::new(Exit::Input, code, sentence))
}

fn refuse_other_repository(rule: &Rule, narrow: &Narrow) -> Result<(), Failure> {
    match &narrow.repository {
        Some(repository) if !rule.source.holds(repository) => Err(Failure::usage(format!(
            "the rule {:?} does not select the repository {repository}; names are those of the source, with the namespace",
            rule.name
        ))),
        _ => Ok(()),
    }
}

/// A failure unless everything was read and nothing failed or was fenced.
pub(super) async fn refuse_incomplete(opened: &Opened, ended: &ExecutionRecord) -> Result<(), Failure> {
    opened.refuse_fenced(ended).await?;
    refuse_failed(ended)
}

/// A failure unless everything was read and nothing failed.
pub(super) fn refuse_failed(ended: &ExecutionRecord) -> Result<(), Failure> {
    if ended.state == ExecutionState::Succeeded {
        return Ok(());
    }
    let unreadable = ended.run.as_ref().map_or(0, |run| run.unreadable);
    let (code, what) = if unreadable > 0 {
        (Code::RunIncomplete, "a part of the source could not be read")
    } else {
        (Code::RunFailed, "not every task ended well")
    };
    let id = &ended.id;
    let sentence = format!(
        "{what}, and the execution is {}: `transship tasks {id}` lists what failed, `transship redrive {id}` repeats it",
        ended.state
    );
    Err(Failure::new(Exit::Failed, code.as_str(), sentence))
}
