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

mod beside_large;
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
    /// deliveries, runs, many, limited, beside-large, failover.
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
    Limited,
    BesideLarge,
    Failover,
}

/// The rows beside the table of cases.
const OTHERS: [(&str, Only); 8] = [
    (lambda::WORD, Only::Lambda),
    (neighbours::WORD, Only::Neighbours),
    (deliveries::WORD, Only::Deliveries),
    (runs::WORD, Only::Runs),
    (many::WORD, Only::Many),
    (limited::WORD, Only::Limited),
    (beside_large::WORD, Only::BesideLarge),
    (failover::WORD, Only::Failover),
];

fn only_of(word: &str) -> Result<Only, String> {
    let cases = Case::ALL.map(|case| (case.word(), Only::Case(case)));
    let known: Vec<_> = cases.into_iter().chain(OTHERS).collect();
    let found = known.iter().find(|(known, _)| *known == word);
    found.map(|(_, only)| *only).ok_or_else(|| {
        let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (quick, tool) = (arguments.quick, arguments.tool.as_deref());
    match arguments.only {
        Some(Only::Neighbours) => return neighbours::run(quick),
        Some(Only::Deliveries) => return deliveries::run(quick),
        Some(Only::Runs) => return runs::run(quick),
        Some(Only::Limited) => return limited::run(quick, tool),
        Some(Only::BesideLarge) => return beside_large::run(quick),
        _ => ensure!(!DockerRegistry::skipped(), "docker-registry is not installed"),
    }
    match arguments.only {
        Some(Only::Failover) => return failover::run(quick),
        Some(Only::Many) => return many::run(quick, tool),
        Some(Only::Lambda) => return lambda::run(quick),
        _ => {}
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
