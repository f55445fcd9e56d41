//! `transship schema`: prints the JSON Schema of the document, for editors and generators.

use clap::Args;

use crate::failure::Failure;
use crate::output;
use transship_oci::Result;

/// Arguments of `transship schema`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  transship schema > transship.schema.json")]
pub(crate) struct Arguments {}

/// Runs the command. The output is JSON with or without `--json`.
pub(crate) fn run(Arguments {}: &Arguments) -> Result<(), Failure> {
    output::print_json(&transship_rules::schema())
}
