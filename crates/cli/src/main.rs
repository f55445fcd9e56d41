//! `transship`: replicates container images between registries. The commands are in `commands`.

mod allocator;
mod arguments;
mod attempts;
mod bucket;
mod commands;
mod copy_report;
mod credentials;
mod demo;
mod document;
mod expiry;
mod failure;
mod image_source;
mod import_report;
mod import_source;
mod local_import;
mod locations;
mod logging;
mod output;
mod plan_report;
mod policy;
mod progress;
mod registries;
mod service;
mod stack_import;
mod table;
mod terminal;
mod units;

use std::process::ExitCode;

use crate::arguments::{CommandLine, Read};
use crate::failure::{Exit, Failure};
use transship_oci::Result;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn run() -> Result<(), Failure> {
    let line = match CommandLine::read()? {
        Read::Command(line) => line,
        Read::Told(text) => return output::print(&text),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "RUNTIME_FAILED", format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(commands::run(*line));
    // A pending DNS lookup must not delay the end of the process.
    runtime.shutdown_background();
    result
}
