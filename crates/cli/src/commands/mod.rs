//! The commands: one file for each, with its arguments, its help and its implementation.

pub(crate) mod cancel;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod copy;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod dr;
pub(crate) mod events;
pub(crate) mod executions;
pub(crate) mod explain;
mod image_end;
pub(crate) mod import;
mod ledger;
mod place;
pub(crate) mod plan;
pub(crate) mod redrive;
pub(crate) mod replicate;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod schema;
mod selection;
pub(crate) mod serve;
pub(crate) mod tasks;
pub(crate) mod verify;

use crate::arguments::{Command, CommandLine};
use crate::failure::Failure;
use transship_oci::Result;

/// Runs the selected command.
pub(crate) async fn run(line: CommandLine) -> Result<(), Failure> {
    let form = line.form();
    match line.command {
        Command::Demo(arguments) => demo::run(arguments, form).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Copy(arguments) => copy::run(arguments, form).await,
        Command::Import(arguments) => import::run(arguments, form).await,
        Command::Check(arguments) => check::run(arguments, form).await,
        Command::Explain(arguments) => explain::run(&arguments, form),
        Command::Convert(arguments) => convert::run(&arguments, form),
        Command::Plan(arguments) => plan::run(arguments, form).await,
        Command::Verify(arguments) => verify::run(arguments, form).await,
        Command::Replicate(arguments) => replicate::run(arguments, form).await,
        Command::Run(arguments) => run::run(arguments, form).await,
        Command::Dr(arguments) => dr::run(arguments, form).await,
        Command::Executions(arguments) => executions::run(arguments, form).await,
        Command::Tasks(arguments) => tasks::run(arguments, form).await,
        Command::Redrive(arguments) => redrive::run(arguments, form).await,
        Command::Cancel(arguments) => cancel::run(arguments, form).await,
        Command::DeadLetters(arguments) => dead_letters::run(arguments, form).await,
        Command::Resume(arguments) => resume::run(arguments, form).await,
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}
