//! The output of the demo: a few lines of text for each step, or one JSON object at the end.

use std::fmt::Display;
use std::time::{Duration, Instant};

use serde::Serialize;
use transship_oci::{Digest, Result};

use super::counts::Moved;
use super::fixture::Fixture;
use super::proof::Proof;
use crate::failure::{Exit, Failure};
use crate::output::{self, Form};
use crate::units;

/// Column in which the text of a line starts.
const TEXT_COLUMN: usize = 13;

/// The output so far.
pub(super) struct Transcript {
    form: Form,
    steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    name: &'static str,
    digest: Digest,
    #[serde(skip)]
    lines: Vec<String>,
    #[serde(skip)]
    begin: Instant,
    moved: Moved,
    proof: Option<Proof>,
    elapsed_ms: u64,
}

/// The JSON output.
#[derive(Debug, Serialize)]
struct Summary {
    digest: Digest,
    source: String,
    destination: String,
    steps: Vec<Step>,
    elapsed_ms: u64,
}

impl Transcript {
    /// Starts the output.
    pub(super) const fn begin(form: Form) -> Self {
        Self {
            form,
            steps: Vec::new(),
        }
    }

    /// Prints the registries and the rule.
    pub(super) fn fixture(&self, fixture: &Fixture) -> Result<(), Failure> {
        self.print(&format!(
            "Two registries, a webhook and a rule, all inside this process.\n\n{}{}{}{}",
            line("source", &fixture.source.url()),
            line("destination", &fixture.destination.url()),
            line("webhook", &fixture.hook),
            line("rule", "shop: tags v… pushed below shop/ are copied to replica/"),
        ))
    }

    /// Prints a completed step.
    pub(super) fn tell(&mut self, step: Step) -> Result<(), Failure> {
        let mut text = format!("\n{}", line(step.name, step.lines.first().map_or("", String::as_str)));
        for more in step.lines.iter().skip(1) {
            text.push_str(&line("", more));
        }
        self.print(&text)?;
        self.steps.push(step);
        Ok(())
    }

    /// Prints the end: all digests match.
    pub(super) fn end(
        self,
        digest: &Digest,
        (source, destination): (String, String),
        elapsed: Duration,
    ) -> Result<(), Failure> {
        let told = format!(
            "\nBoth registries contain the same image, its signature and its SBOM ({}).\n{}{}{}",
            units::duration(elapsed),
            line("source", &source),
            line("destination", &destination),
            line("digest", &digest.to_string()),
        );
        self.print(&told)?;
        let summary = Summary {
            digest: digest.clone(),
            source,
            destination,
            steps: self.steps,
            elapsed_ms: milliseconds(elapsed),
        };
        match self.form {
            Form::Text => Ok(()),
            Form::Json => output::print_json(&summary),
        }
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        match self.form {
            Form::Text => output::print(text),
            Form::Json => Ok(()),
        }
    }
}

impl Step {
    /// A step after which the tag must name `digest`.
    pub(super) fn begin(name: &'static str, digest: &Digest) -> Self {
        Self {
            name,
            digest: digest.clone(),
            lines: Vec::new(),
            begin: Instant::now(),
            moved: Moved::default(),
            proof: None,
            elapsed_ms: 0,
        }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, text: String) {
        self.lines.push(text);
    }

    /// Adds a line with what was transferred, and the time since the push.
    pub(super) fn moved(&mut self, moved: Moved) {
        let elapsed = self.begin.elapsed();
        self.elapsed_ms = milliseconds(elapsed);
        self.moved = moved;
        self.line(format!("{} in {}", moved.told(), units::duration(elapsed)));
    }

    /// Adds a line with the result of the comparison.
    pub(super) fn proved(&mut self, proof: &Proof) {
        self.line(format!(
            "proof: {} and {} read from both, {}, equal byte for byte",
            units::count(proof.manifests as u64, "manifest"),
            units::count(proof.blobs as u64, "blob"),
            units::bytes(proof.bytes)
        ));
        self.proof = Some(proof.clone());
    }
}

/// The failure of the demo.
pub(super) fn failed(why: &(impl Display + ?Sized)) -> Failure {
    Failure::new(Exit::Failed, "DEMO_FAILED", why)
}

fn line(head: &str, text: &str) -> String {
    format!("  {head:TEXT_COLUMN$}{text}\n")
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
