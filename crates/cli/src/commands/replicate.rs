//! `transship replicate`: one image as a recorded task.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use transship_copy::SystemClock;
use transship_engine::operations::Replicate;
use transship_engine::{ExecutionRecord, ImageRef};
use transship_oci::{Existing, Result, Target};
use transship_rules::Document;

use super::dr::DnsCommands;
use super::image_end::{image, of_document};
use super::place::Place;
use super::run::refuse_incomplete;
use crate::failure::{Exit, Failure};
use crate::output::{self, Form};

/// Arguments of `transship replicate`.
#[derive(Debug, Args)]
#[command(
    after_help = "NAME is the name of a registry in the document, or one of its hosts. The task is listed by `transship tasks` and can be redriven.\n\nExamples:\n  transship replicate hangzhou/core/app:v1 zhangjiakou/core/app --config transship.yaml --data /var/lib/transship --wait\n  transship replicate hangzhou/core/app:v1 zhangjiakou/core/app:stable --existing overwrite --table TABLE --queue URL"
)]
pub(crate) struct Arguments {
    /// NAME/REPOSITORY[:TAG|@DIGEST]; without a tag, latest
    #[arg(value_name = "SOURCE")]
    source: String,
    /// NAME/REPOSITORY[:TAG|@DIGEST]; without a tag, that of the source
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// What to do if the destination tag already names another image
    #[arg(long, value_enum, default_value_t = Existing::Follow)]
    existing: Existing,
    /// Return when the task has ended; exit 0 only if it did not fail
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    commands: DnsCommands,
    #[command(flatten)]
    place: Place,
}

/// The result of the command.
#[derive(Debug, Serialize)]
struct Replicated {
    /// The id of the execution.
    execution: String,
    /// The id of the task.
    task: String,
    /// The source.
    source: String,
    /// The destination.
    destination: String,
    /// How it ended; null without `--wait`.
    ended: Option<ExecutionRecord>,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    crate::logging::begin_command();
    let opened = arguments
        .place
        .open()
        .await?
        .with_dns_commands(arguments.commands.by_name());
    let document = opened.document.as_ref();
    let source = known(&arguments.source, None, document)?;
    let destination = known(&arguments.destination, Some(&source.target), document)?;
    let (source_name, destination_name) = (source.to_string(), destination.to_string());
    if arguments.wait {
        opened.settle_group(&source.registry, &destination.registry).await?;
    }
    let replicate = Replicate {
        history: opened.ledger.history.clone(),
        queue: opened.queue.clone(),
        clock: Arc::new(SystemClock),
    };
    let task = replicate.run(source, destination, arguments.existing).await?;
    let execution = task.execution.id.clone();
    if form == Form::Text {
        output::print(&execution)?;
    }
    let ended = if arguments.wait {
        Some(opened.follow(&execution).await?)
    } else {
        opened.note_no_worker()?;
        None
    };
    let replicated = Replicated {
        execution,
        task: task.id,
        source: source_name,
        destination: destination_name,
        ended,
    };
    if form == Form::Json {
        output::print_json(&replicated)?;
    } else if let Some(ended) = &replicated.ended {
        output::print(&format!("{} {}", replicated.destination, ended.state))?;
    }
    match &replicated.ended {
        Some(ended) => refuse_incomplete(&opened, ended).await,
        None => Ok(()),
    }
}

/// The image of a registry of the document. That of a stack is known to its workers alone.
fn known(text: &str, otherwise: Option<&Target>, document: Option<&Document>) -> Result<ImageRef, Failure> {
    let Some(document) = document else {
        return image(text, otherwise);
    };
    let found = of_document(document, text, otherwise)?;
    if let Some(found) = found {
        return Ok(found);
    }
    let called = image(text, otherwise)?.registry;
    let names: Vec<&str> = document.registries.keys().map(String::as_str).collect();
    let sentence = format!("the document has no registry {called:?}; it has {}", names.join(", "));
    Err(Failure::new(Exit::Input, "UNKNOWN_REGISTRY", sentence))
}
