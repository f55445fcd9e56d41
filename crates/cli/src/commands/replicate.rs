//! `transship replicate`: one image as a recorded task.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use transship_copy::SystemClock;
use transship_engine::operations::Replicate;
use transship_engine::{ExecutionRecord, ImageRef};
use transship_oci::{Existing, Result, Target};
use transship_rules::Document;

use super::executions::run_text;
use super::place::Place;
use super::run::refuse_failed;
use crate::failure::{Exit, Failure};
use crate::output::{self, Form};

/// Arguments of `transship replicate`.
#[derive(Debug, Args)]
#[command(
    after_help = "NAME is the name of a registry in the document. The task is listed by `transship tasks` and can be redriven.\n\nExamples:\n  transship replicate hangzhou/core/app:v1 zhangjiakou/core/app --config transship.yaml --data /var/lib/transship --wait\n  transship replicate hangzhou/core/app:v1 zhangjiakou/core/app:stable --existing overwrite --table TABLE --queue URL"
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
    let source = image(&arguments.source, None)?;
    let destination = image(&arguments.destination, Some(&source.target))?;
    let opened = arguments.place.open().await?;
    if let Some(document) = &opened.document {
        refuse_unknown(document, &source)?;
        refuse_unknown(document, &destination)?;
    }
    let (source_name, destination_name) = (source.to_string(), destination.to_string());
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
        output::print(&run_text(ended))?;
    }
    replicated.ended.as_ref().map_or(Ok(()), refuse_failed)
}

/// `NAME/REPOSITORY[:TAG|@DIGEST]`; `otherwise` is the target of one without.
pub(super) fn image(text: &str, otherwise: Option<&Target>) -> Result<ImageRef, Failure> {
    let invalid = |error: transship_oci::Error| Failure::of(Exit::Input, &error);
    let Some((registry, rest)) = text.split_once('/') else {
        return Err(Failure::usage(format!(
            "{text:?} is not NAME/REPOSITORY[:TAG|@DIGEST], where NAME is a registry of the document"
        )));
    };
    let (repository, target) = if let Some((repository, digest)) = rest.split_once('@') {
        (repository, Some(Target::Digest(digest.parse().map_err(invalid)?)))
    } else if let Some((repository, tag)) = rest.rsplit_once(':') {
        (repository, Some(Target::Tag(tag.parse().map_err(invalid)?)))
    } else {
        (rest, None)
    };
    let target = match target.or_else(|| otherwise.cloned()) {
        Some(target) => target,
        None => Target::Tag("latest".parse().map_err(invalid)?),
    };
    Ok(ImageRef {
        registry: registry.to_owned(),
        repository: repository.parse().map_err(invalid)?,
        target,
    })
}

fn refuse_unknown(document: &Document, image: &ImageRef) -> Result<(), Failure> {
    if document.registries.contains_key(&image.registry) {
        return Ok(());
    }
    let names: Vec<&str> = document.registries.keys().map(String::as_str).collect();
    let sentence = format!(
        "the document has no registry {:?}; it has {}",
        image.registry,
        names.join(", ")
    );
    Err(Failure::new(Exit::Input, "UNKNOWN_REGISTRY", sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_name_of_its_registry_and_the_tag_of_the_source() {
        let source = image("hangzhou/core/app:v1", None).unwrap();
        assert_eq!(source.to_string(), "hangzhou/core/app:v1");
        let destination = image("zhangjiakou/copy/app", Some(&source.target)).unwrap();
        assert_eq!(destination.to_string(), "zhangjiakou/copy/app:v1");
        assert_eq!(image("a/app", None).unwrap().to_string(), "a/app:latest");
        assert_eq!(image("app", None).unwrap_err().code(), "USAGE");
        assert_eq!(image("a/App", None).unwrap_err().code(), "INVALID_REFERENCE");
    }
}
