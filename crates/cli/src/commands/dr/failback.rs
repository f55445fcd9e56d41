//! `transship dr failback`.

use clap::Args;
use transship_oci::{Code, Result};

use super::group::Group;
use crate::failure::{Exit, Failure};
use crate::output::Form;

/// Arguments of `transship dr failback`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  transship dr failback main --config transship.yaml --data /var/lib/transship")]
pub(crate) struct Arguments {
    #[command(flatten)]
    group: Group,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, _form: Form) -> Result<(), Failure> {
    let _opened = arguments.group.open().await?;
    let sentence = "transship dr failback is not supported by this version";
    Err(Failure::new(Exit::Failed, Code::NotYetSupported.as_str(), sentence))
}
