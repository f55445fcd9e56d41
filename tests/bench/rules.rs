//! How the rules grow: `cargo run --release -p transship-rules --example rules-bench`.
//!
//! Documents of 10, 100, 1,000 and 10,000 rules over 50 registries are loaded, and pushes are matched. Each row is a process of
//! its own, so that its peak memory is its own. `spread` is the usual document: each rule has a namespace. `dense` is the worst
//! one: all rules of a registry read the same namespace, and half of their patterns are all different.
//!
//! `rules-bench RULES SHAPE` prints one row.

#![expect(clippy::print_stdout, reason = "a table on standard output is what it is for")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use transship_oci::{Repository, Tag};
use transship_rules::{Document, Pushed};

const REGISTRIES: usize = 50;
const EVENTS: usize = 20_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [rules, shape] = arguments.as_slice() {
        return row(rules.parse()?, shape == "dense");
    }
    println!(
        "{:>8} {:>8} {:>10} {:>10} {:>12} {:>12} {:>12} {:>12}",
        "shape", "rules", "bytes", "load ms", "load MiB", "match us", "match99 us", "matched MiB"
    );
    for shape in ["spread", "dense"] {
        for rules in ["10", "100", "1000", "10000"] {
            let output = Command::new(std::env::current_exe()?).args([rules, shape]).output()?;
            print!(
                "{}{}",
                String::from_utf8(output.stdout)?,
                String::from_utf8(output.stderr)?
            );
        }
    }
    Ok(())
}

fn row(rules: usize, is_dense: bool) -> Result<(), Failure> {
    let text = document(rules, is_dense);
    let begun = cpu_time();
    let parsed = Document::parse(&text)?;
    let load = cpu_time().saturating_sub(begun);
    let load_peak = peak_mebibytes();
    let document = parsed.document;
    let mut times = Vec::with_capacity(EVENTS);
    let mut matched = 0;
    for number in 0..EVENTS {
        let rule = number * 7919 % rules;
        let (registry, repository, tag) = push(rule, is_dense, number);
        let (repository, tag): (Repository, Tag) = (repository.parse()?, tag.parse()?);
        let pushed = Pushed {
            repository: &repository,
            tag: Some(&tag),
            kind: None,
        };
        let begun = Instant::now();
        matched += black_box(document.matching(&registry, &pushed).count());
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{:>8} {:>8} {:>10} {:>10.1} {:>12.1} {:>12.2} {:>12.2} {:>12.1}",
        if is_dense { "dense" } else { "spread" },
        rules,
        text.len(),
        load.as_secs_f64() * 1e3,
        load_peak,
        micros(times[EVENTS / 2]),
        micros(times[EVENTS * 99 / 100]),
        peak_mebibytes(),
    );
    if matched < EVENTS / 2 {
        return Err(format!("only {matched} of {EVENTS} pushes match").into());
    }
    Ok(())
}

fn document(rules: usize, is_dense: bool) -> String {
    let mut text = String::from("version: 1\nregistries:\n");
    for registry in 0..REGISTRIES {
        let _ = writeln!(
            text,
            "  r{registry}: {{ provider: harbor, endpoint: \"https://r{registry}.example.com\", webhook: {{ secret: \"env:HOOK\" }} }}"
        );
    }
    text.push_str("rules:\n");
    for rule in 0..rules {
        let (from, to) = (rule % REGISTRIES, (rule + 1) % REGISTRIES);
        let _ = if is_dense {
            writeln!(
                text,
                "  - name: rule-{rule}\n    source: {{ registry: r{from}, namespace: core, repository: {{ regex: '^team-{rule}-[a-z]+/' }}, tag: {{ regex: '^v{}\\.\\d+', exclude: [\"*-rc*\", {{ regex: '^dev-{rule}' }}] }} }}\n    destination: {{ registry: r{to}, namespace: copy/n{rule} }}",
                rule % 9
            )
        } else {
            writeln!(
                text,
                "  - name: rule-{rule}\n    source: {{ registry: r{from}, namespace: team-{rule}, repository: {{ glob: \"**\", exclude: \"tmp/**\" }}, tag: {{ regex: '^v\\d+', semver: \">=0.1\", exclude: \"*-rc*\" }} }}\n    destination: {{ registry: r{to}, namespace: mirror/team-{rule} }}"
            )
        };
    }
    text
}

fn push(rule: usize, is_dense: bool, number: usize) -> (String, String, String) {
    let registry = format!("r{}", rule % REGISTRIES);
    if is_dense {
        (
            registry,
            format!("core/team-{rule}-x/app"),
            format!("v{}.{number}", rule % 9),
        )
    } else {
        (registry, format!("team-{rule}/app/web"), format!("v1.2.{number}"))
    }
}

/// The CPU time of this process, so that others on the machine do not count.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// The most memory that was resident, in MiB.
fn peak_mebibytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kibibytes.unwrap_or_default() / 1024.0
}
