//! `transship demo`.

use clap::Args;

use crate::failure::Failure;
use crate::output::Form;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  transship demo")]
pub(crate) struct Arguments {}

/// Shows it.
pub(crate) async fn run(Arguments {}: Arguments, form: Form) -> Result<(), Failure> {
    crate::demo::run(form).await
}
