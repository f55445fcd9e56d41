//! `transship demo`.

use clap::Args;

use crate::failure::Failure;
use crate::output::Form;
use transship_oci::Result;

/// Arguments of `transship demo`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  transship demo")]
pub(crate) struct Arguments {}

/// Runs the command.
pub(crate) async fn run(Arguments {}: Arguments, form: Form) -> Result<(), Failure> {
    crate::demo::run(form).await
}
