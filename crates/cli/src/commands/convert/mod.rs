//! `transship convert`: prints a document made from the configuration of another tool, and lists what has no equivalent.
//!
//! What must hold: the printed document passes `transship check`. A rule that does not is switched off or left out, and is listed
//! with the reason.

mod draft;
mod ecr;
mod harbor;
mod image;
mod image_syncer;
mod regsync;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;
use transship_oci::Result;

use super::events::read_input;
use crate::failure::{Exit, Failure};
use crate::output::{Form, note};

/// Arguments of `transship convert`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  curl -u USER https://harbor.example.com/api/v2.0/replication/policies > policies.json\n  transship convert harbor policies.json > transship.yaml\n  transship convert regsync regsync.yml > transship.yaml\n  transship convert image-syncer images.yaml > transship.yaml\n  aws ecr describe-registry > registry.json && transship convert ecr registry.json > transship.yaml\n\nWhat has no equivalent is listed on standard error and in comments of the document."
)]
pub(crate) struct Arguments {
    /// The tool whose configuration it is
    tool: Tool,
    /// File with the configuration, JSON or YAML; - is standard input
    file: PathBuf,
}

/// A tool whose configuration can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tool {
    /// The replication policies of Harbor, as its API lists them: GET /api/v2.0/replication/policies
    Harbor,
    /// regsync.yml of regclient
    Regsync,
    /// The images, or images and auth, of image-syncer
    ImageSyncer,
    /// The registry settings of Amazon ECR, as `aws ecr describe-registry` prints them
    Ecr,
}

/// The result, for `--json`.
#[derive(Debug, Serialize)]
struct Converted {
    /// The document, YAML.
    document: String,
    /// What has no equivalent, one sentence each.
    without_equivalent: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, form: Form) -> Result<(), Failure> {
    let bytes = read_input(&arguments.file)?;
    let converted = convert(arguments.tool, &bytes)?;
    if form == Form::Text {
        for sentence in &converted.without_equivalent {
            note(sentence);
        }
    }
    form.print(&converted, |converted| converted.document.clone())
}

fn convert(tool: Tool, bytes: &[u8]) -> Result<Converted, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("the file is not UTF-8 text"))?;
    let draft = match tool {
        Tool::Harbor => harbor::draft(text)?,
        Tool::Regsync => regsync::draft(text)?,
        Tool::ImageSyncer => image_syncer::draft(text)?,
        Tool::Ecr => ecr::draft(text)?,
    };
    let name = tool.to_possible_value().map(|value| value.get_name().to_owned());
    let (document, without_equivalent) = draft.finish(&name.unwrap_or_default())?;
    Ok(Converted {
        document,
        without_equivalent,
    })
}

/// Reads JSON or YAML.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = error.to_string();
        let line = message.lines().next().unwrap_or_default();
        invalid(&format!("the file is not a configuration of this tool: {line}"))
    })
}

fn invalid(sentence: &str) -> Failure {
    Failure::new(Exit::Input, "CONFIG_INVALID", sentence)
}

#[cfg(test)]
mod tests;
