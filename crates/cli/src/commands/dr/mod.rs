//! `transship dr`: the failover groups of a document.
//!
//! Every command works without a running `serve`: it reads and changes the ledger and DNS itself.

mod check;
mod check_text;
mod drill;
mod failback;
mod flip;
mod group;
mod operator;
mod report;
mod status;

pub(crate) use self::group::{DnsCommands, Zones, dns_command};
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::output::Form;
use transship_oci::Result;

/// Arguments of `transship dr`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show where clients are led, and the operation under way
    Status(status::Arguments),
    /// Show whether each site can take over now, and what would be lost
    Check(check::Arguments),
    /// Lead clients to another site
    Flip(flip::Arguments),
    /// Copy back what was pushed meanwhile, and lead clients to the sites of the document again
    Failback(failback::Arguments),
    /// Rehearse a flip and a failback on a name of its own
    Drill(drill::Arguments),
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    match arguments.command {
        Command::Status(arguments) => status::run(arguments, form).await,
        Command::Check(arguments) => check::run(arguments, form).await,
        Command::Flip(arguments) => flip::run(arguments, form).await,
        Command::Failback(arguments) => failback::run(arguments, form).await,
        Command::Drill(arguments) => drill::run(arguments, form).await,
    }
}
