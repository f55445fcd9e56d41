//! The benchmark: `cargo run --release -p transship-tests --bin bench`.
//!
//! Copies the images of its cases between two `docker-registry` processes on loopback, or from layouts in a folder into one,
//! with `transship` and with every peer that is installed (skopeo, crane, regctl, oras), in rounds that take turns, and prints a table of medians and of
//! ratios to the best peer. What one run leaves behind no other run finds: registries and memories are fresh each time.
//!
//! `lambda` is a row of another kind: the functions on an emulator of AWS. It needs their binaries
//! (`cd functions && cargo build --release -p transship-webhook -p transship-worker -p transship-bulk-import`, started there for
//! the profile of the functions) and MiniStack.
//!
//! `--quick` is one round with a smaller image; `--only CASE` one row; `--rounds N` instead of 5. TMPDIR says where the
//! registries store: a folder in memory keeps the disk out of the figures.

#![expect(clippy::print_stdout, reason = "a table on standard output is what it is for")]

mod cases;
mod deliveries;
mod failover;
mod lambda;
mod limited;
mod many;
mod measure;
mod neighbours;
mod runs;
mod table;
mod tools;

use anyhow::{Result, ensure};
use cases::{Case, Measured, Stage};
use clap::Parser;
use tools::Tool;
use transship_tests::DockerRegistry;

/// Measures transship beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// One round, a smaller image: does everything work?
    #[arg(long)]
    quick: bool,
    /// Only this case: large, requests, distant, again, again-referrers, second-repository, import-large, import-shared, lambda, neighbours,
    /// deliveries, runs, many, limited, failover.
    #[arg(long, value_parser = only_of)]
    only: Option<Only>,
    /// Only this tool, of the cases `many` and `limited`.
    #[arg(long)]
    tool: Option<String>,
    /// How often each client runs.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What `--only` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Case(Case),
    Lambda,
    Neighbours,
    Deliveries,
    Runs,
    Many,
    Failover,
    Limited,
}

fn only_of(word: &str) -> Result<Only, String> {
    if word == lambda::WORD {
        return Ok(Only::Lambda);
    }
    if word == neighbours::WORD {
        return Ok(Only::Neighbours);
    }
    if word == deliveries::WORD {
        return Ok(Only::Deliveries);
    }
    if word == runs::WORD {
        return Ok(Only::Runs);
    }
    if word == many::WORD {
        return Ok(Only::Many);
    }
    if word == failover::WORD {
        return Ok(Only::Failover);
    }
    if word == limited::WORD {
        return Ok(Only::Limited);
    }
    let found = Case::ALL.into_iter().find(|case| case.word() == word);
    found.map(Only::Case).ok_or_else(|| {
        let words: Vec<_> = Case::ALL.iter().map(|case| case.word()).collect();
        format!(
            "one of {}, {}, {}, {}, {}, {}, {}, {}",
            words.join(", "),
            lambda::WORD,
            neighbours::WORD,
            deliveries::WORD,
            runs::WORD,
            many::WORD,
            failover::WORD,
            limited::WORD
        )
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.only == Some(Only::Neighbours) {
        return neighbours::run(arguments.quick);
    }
    if arguments.only == Some(Only::Deliveries) {
        return deliveries::run(arguments.quick);
    }
    if arguments.only == Some(Only::Runs) {
        return runs::run(arguments.quick);
    }
    if arguments.only == Some(Only::Limited) {
        return limited::run(arguments.quick, arguments.tool.as_deref());
    }
    ensure!(!DockerRegistry::skipped(), "docker-registry is not installed");
    if arguments.only == Some(Only::Failover) {
        return failover::run(arguments.quick);
    }
    if arguments.only == Some(Only::Many) {
        return many::run(arguments.quick, arguments.tool.as_deref());
    }
    if arguments.only == Some(Only::Lambda) {
        return lambda::run(arguments.quick);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let tools = tools::found();
    for tool in &tools {
        println!("{} {}", tool.name, tool.version());
    }
    let rounds = if arguments.quick { 1 } else { arguments.rounds.max(1) };
    for case in Case::ALL
        .into_iter()
        .filter(|case| arguments.only.is_none_or(|only| only == Only::Case(*case)))
    {
        let stage = Stage::set(case, arguments.quick, runtime.handle().clone())?;
        let measured = take_turns(&stage, &tools, rounds);
        table::print(case, arguments.quick, &tools, &measured);
    }
    if arguments.only.is_none() {
        lambda::run(arguments.quick)?;
        neighbours::run(arguments.quick)?;
        deliveries::run(arguments.quick)?;
        runs::run(arguments.quick)?;
        many::run(arguments.quick, None)?;
    }
    Ok(())
}

/// The runs of each tool, in the order of `tools`: A B C, A B C, so that a slow minute of the machine is everybody's.
fn take_turns(stage: &Stage, tools: &[Tool], rounds: usize) -> Vec<Result<Vec<Measured>>> {
    let mut runs: Vec<Result<Vec<Measured>>> = tools.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..rounds {
        for (tool, runs) in tools.iter().zip(&mut runs) {
            // One that failed once has no figures to compare.
            let Ok(so_far) = runs else { continue };
            match stage.run(tool) {
                Ok(measured) => so_far.push(measured),
                Err(error) => *runs = Err(error),
            }
        }
    }
    runs
}
