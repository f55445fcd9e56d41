//! The command line: its syntax and its error messages.

use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};
use clap::{Parser, Subcommand};

use crate::commands;
use crate::failure::Failure;
use crate::output::Form;
use transship_oci::Result;

/// Replicates container images between registries: when they are pushed, or on demand.
#[derive(Debug, Parser)]
#[command(
    name = "transship",
    version,
    max_term_width = 100,
    after_help = "To get started: transship demo"
)]
pub(crate) struct CommandLine {
    /// The selected command.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a complete replication on registries inside this process
    Demo(commands::demo::Arguments),
    /// Run webhook, queue and workers in one process
    Serve(commands::serve::Arguments),
    /// Copy one image
    Copy(commands::copy::Arguments),
    /// Copy every image of a folder, archive or bucket prefix to a registry
    Import(commands::import::Arguments),
    /// Validate a configuration document and test its connections
    Check(commands::check::Arguments),
    /// Show which rules match an event or image and why, or what a code means
    Explain(commands::explain::Arguments),
    /// Print a document made from another tool's configuration, and what has no equivalent
    Convert(commands::convert::Arguments),
    /// Show what a run of a rule, or a copy of one image, would do
    Plan(commands::plan::Arguments),
    /// Compare both sides of a rule, or of one image, without writing
    Verify(commands::verify::Arguments),
    /// Copy one image between registries of the document, as a recorded task
    Replicate(commands::replicate::Arguments),
    /// Copy the existing images of a rule that are missing or differ
    Run(commands::run::Arguments),
    /// Show, check, switch and rehearse failover groups
    Dr(commands::dr::Arguments),
    /// List executions, newest first
    Executions(commands::executions::Arguments),
    /// List tasks, newest first
    Tasks(commands::tasks::Arguments),
    /// Retry failed or cancelled tasks
    Redrive(commands::redrive::Arguments),
    /// Stop an execution
    Cancel(commands::cancel::Arguments),
    /// Show and remove messages of a deployed stack that wait for an operator
    DeadLetters(commands::dead_letters::Arguments),
    /// End the pause of a host that asked for a long wait
    Resume(commands::resume::Arguments),
    /// Print the JSON Schema of the configuration document
    Schema(commands::schema::Arguments),
    /// Parse the deliveries of registries
    Events(commands::events::Arguments),
    /// Print a completion script for a shell
    Completions(commands::completions::Arguments),
}

/// A parsed command line.
#[derive(Debug)]
pub(crate) enum Read {
    /// A command to run.
    Command(Box<CommandLine>),
    /// A text to print, for `--help` and `--version`.
    Told(String),
}

impl CommandLine {
    /// Parses the command line of this process.
    pub(crate) fn read() -> Result<Read, Failure> {
        Self::read_from(std::env::args_os())
    }

    fn read_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Read, Failure> {
        match Self::try_parse_from(arguments) {
            Ok(line) => Ok(Read::Command(Box::new(line))),
            Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                Ok(Read::Told(error.to_string()))
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    /// The format of standard output.
    pub(crate) const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }
}

/// The parser's error in one line: what is wrong, the suggestion, and the usage.
fn refusal(error: &clap::Error) -> Failure {
    let usage = error.get(ContextKind::Usage).map(ToString::to_string);
    let usage = usage.map_or_else(
        || "see transship --help".to_owned(),
        |usage| usage.replace("Usage:", "usage:"),
    );
    let text = error.to_string();
    let told: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let told = told.join(" ");
    Failure::usage(format!("{}; {usage}", told.trim_start_matches("error: ")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn read(line: &str) -> Result<Read, Failure> {
        CommandLine::read_from(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_help_with_an_example() {
        fn visit(command: &mut clap::Command, path: &str) {
            let help = command.render_long_help().to_string();
            insta::assert_snapshot!(path, help);
            let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
            if names.is_empty() {
                let example = format!("  {} ", path.replace('_', " "));
                let lines = help.lines().map(|line| format!("{line} "));
                assert!(
                    lines.clone().any(|line| line.starts_with(&example)),
                    "no example: {help}"
                );
            }
            for name in names.iter().filter(|name| *name != "help") {
                if let Some(sub) = command.find_subcommand_mut(name) {
                    visit(sub, &format!("{path}_{name}"));
                }
            }
        }
        let mut command = CommandLine::command().term_width(100);
        command.build();
        visit(&mut command, "transship");
    }

    #[test]
    fn help_and_version_are_no_errors() {
        let Read::Told(text) = read("transship --version").unwrap() else {
            panic!("expected the version")
        };
        assert_eq!(text, format!("transship {}\n", env!("CARGO_PKG_VERSION")));
        assert!(matches!(read("transship copy --help").unwrap(), Read::Told(_)));
    }

    #[test]
    fn every_other_refusal_is_one_usage_line() {
        for line in [
            "transship",
            "transship nonsense",
            "transship copy a",
            "transship copy a b --existing sometimes",
            "transship import a",
            "transship import a --to b --existing sometimes",
            "transship serve --cnofig x",
            "transship events",
            "transship tasks --limit x --data y",
            "transship tasks --data y --table z",
            "transship redrive --data y --queue z",
            "transship serve --config a --data b --sweep never",
            "transship serve --config a --data b --sweep 10ms",
        ] {
            let failure = read(line).unwrap_err();
            assert_eq!(
                (failure.code(), failure.exit() as u8),
                ("USAGE", 2),
                "{line}: {failure:?}"
            );
        }
    }

    #[test]
    fn json_may_stand_before_or_after_the_command() {
        for line in ["transship --json schema", "transship schema --json"] {
            let Read::Command(line) = read(line).unwrap() else {
                panic!("expected a command")
            };
            assert_eq!(line.form(), Form::Json);
        }
    }
}
