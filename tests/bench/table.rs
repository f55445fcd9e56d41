//! The printed table: medians, and ours over the best peer's.

use std::fmt::Display;
use std::time::Duration;

use anyhow::Result;

use crate::cases::{Case, Measured};
use crate::tools::Tool;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// The medians of one tool.
#[derive(Debug, Clone, Copy)]
struct Medians {
    wall_s: f64,
    cpu_s: f64,
    peak_mib: f64,
    requests: f64,
    uploads: f64,
}

/// Prints one case: a line per tool, and the ratios below.
pub fn print(case: Case, quick: bool, tools: &[Tool], runs: &[Result<Vec<Measured>>]) {
    let size = if quick { " (quick: a smaller image)" } else { "" };
    println!("\n{}{size}; at most: {}", case.title(), case.reach());
    line(["", "wall s", "CPU s", "peak MiB", "requests", "PATCH and PUT"]);
    let mut rows = Vec::new();
    for (tool, runs) in tools.iter().zip(runs) {
        match runs {
            Ok(runs) => {
                let medians = Medians::of(runs);
                medians.print(tool.name);
                rows.push((tool.name, medians));
            }
            Err(error) => println!("{:<12} {error:#}", tool.name),
        }
    }
    print_ratios(&rows);
}

/// Ours over the best peer's, per column.
fn print_ratios(rows: &[(&str, Medians)]) {
    let (ours, peers): (Vec<_>, Vec<_>) = rows.iter().partition(|(name, _)| *name == "transship");
    let Some((_, ours)) = ours.first() else { return };
    let ratio = |figure: fn(&Medians) -> f64| {
        let best = peers.iter().map(|(_, medians)| figure(medians)).reduce(f64::min);
        best.filter(|best| *best > 0.0)
            .map_or_else(|| "-".to_owned(), |best| format!("{:.2}", figure(ours) / best))
    };
    line([
        "ratio".to_owned(),
        ratio(|medians| medians.wall_s),
        ratio(|medians| medians.cpu_s),
        ratio(|medians| medians.peak_mib),
        ratio(|medians| medians.requests),
        ratio(|medians| medians.uploads),
    ]);
}

impl Medians {
    fn of(runs: &[Measured]) -> Self {
        let seconds =
            |time: fn(&Measured) -> Duration| median(runs.iter().map(|run| time(run).as_secs_f64()).collect());
        let number = |count: fn(&Measured) -> f64| median(runs.iter().map(count).collect());
        Self {
            wall_s: seconds(|run| run.cost.wall),
            cpu_s: seconds(|run| run.cost.cpu),
            peak_mib: number(|run| run.cost.peak_bytes as f64 / MEBIBYTE),
            requests: number(|run| run.requests as f64),
            uploads: number(|run| run.uploads as f64),
        }
    }

    fn print(&self, name: &str) {
        line([
            name.to_owned(),
            format!("{:.3}", self.wall_s),
            format!("{:.2}", self.cpu_s),
            format!("{:.0}", self.peak_mib),
            format!("{:.0}", self.requests),
            format!("{:.0}", self.uploads),
        ]);
    }
}

fn line(cells: [impl Display; 6]) {
    let [name, numbers @ ..] = cells;
    let [wall, cpu, peak, requests, uploads] = numbers;
    println!("{name:<12}{wall:>14}{cpu:>14}{peak:>14}{requests:>14}{uploads:>16}");
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => 0.0,
        count if count % 2 == 1 => numbers[count / 2],
        count => f64::midpoint(numbers[count / 2 - 1], numbers[count / 2]),
    }
}
