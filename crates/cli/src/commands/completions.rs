//! `transship completions`: prints a completion script for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::arguments::CommandLine;
use crate::failure::Failure;
use crate::output;
use transship_oci::Result;

/// Arguments of `transship completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  transship completions bash > ~/.local/share/bash-completion/completions/transship")]
pub(crate) struct Arguments {
    /// Shell to print the script for
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "transship", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
