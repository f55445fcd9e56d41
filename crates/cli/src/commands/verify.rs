//! `transship verify`: compares both sides of a rule, or of one image, without writing anything.

use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use transship_copy::{Options, SystemClock};
use transship_engine::ledger::VerifySummary;
use transship_engine::{Checked, Depth, Finding, ImageEnds, Snapshot, VerifyRule, check_image};
use transship_oci::{Code, Result};

use super::image_end;
use super::place::Place;
use super::run::rule_of;
use crate::failure::{Exit, Failure};
use crate::output::Form;
use crate::units;

/// Arguments of `transship verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "An image is equal, missing, different or extra (only at the destination), or unknown if it could not be read.\nExit 0 only if every image is equal.\n\nExamples:\n  transship verify core-images --config transship.yaml --data /var/lib/transship\n  transship verify core-images --deep --json --config transship.yaml --data /var/lib/transship\n  transship verify docker.io/library/alpine:3.20 registry.example.com/base/alpine:3.20 --bytes"
)]
pub(crate) struct Arguments {
    /// Name of a rule, or HOST/REPOSITORY[:TAG|@DIGEST] of the source; with --config, HOST may be the name of a registry
    #[arg(value_name = "RULE|SOURCE")]
    subject: String,
    /// HOST/REPOSITORY[:TAG|@DIGEST]
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
    /// Ask the destination for every blob
    #[arg(long)]
    deep: bool,
    /// Read every blob at the destination and verify its digest
    #[arg(long)]
    bytes: bool,
    #[command(flatten)]
    place: Place,
}

/// What was found.
#[derive(Debug, Serialize)]
struct VerifyReport {
    images: Vec<Checked>,
    totals: Totals,
}

/// Images by what was found.
#[derive(Debug, Default, Serialize)]
struct Totals {
    images: u64,
    equal: u64,
    missing: u64,
    different: u64,
    extra: u64,
    unknown: u64,
    /// The oldest event or order whose image is not there.
    oldest_unreplicated: Option<Timestamp>,
    /// Why repositories that only the destination has were not looked for; null if they were, or if one image was compared.
    unsearched: Option<String>,
}

impl VerifyReport {
    fn new(images: Vec<Checked>) -> Self {
        let mut totals = Totals::default();
        for row in &images {
            totals.images += 1;
            *match row.state {
                Finding::Equal => &mut totals.equal,
                Finding::Missing => &mut totals.missing,
                Finding::Different => &mut totals.different,
                Finding::Extra => &mut totals.extra,
                Finding::Unknown => &mut totals.unknown,
            } += 1;
        }
        Self { images, totals }
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = self
            .images
            .iter()
            .filter(|row| row.state != Finding::Equal)
            .map(row_text)
            .collect();
        let Totals {
            images,
            equal,
            missing,
            different,
            extra,
            unknown,
            ..
        } = self.totals;
        lines.push(format!(
            "{}: {equal} equal, {missing} missing, {different} different, {extra} extra, {unknown} unknown",
            units::count(images, "image")
        ));
        if let Some(why) = &self.totals.unsearched {
            lines.push(format!(
                "repositories that only the destination has were not looked for: {why}"
            ));
        }
        lines.join("\n")
    }

    fn end(&self) -> Result<(), Failure> {
        if self.totals.equal == self.totals.images {
            return Ok(());
        }
        let code = Code::VerifyDiffers;
        let unequal = self.totals.images - self.totals.equal;
        let sentence = match self.totals.images {
            1 => "the image is not equal on both sides".to_owned(),
            images => format!("not equal on both sides: {unequal} of {images} images"),
        };
        Err(Failure::new(Exit::Failed, code.as_str(), sentence))
    }
}

fn row_text(row: &Checked) -> String {
    let state = match row.state {
        Finding::Equal => "equal",
        Finding::Missing => "missing",
        Finding::Different => "different",
        Finding::Extra => "extra",
        Finding::Unknown => "unknown",
    };
    let code = row.code.as_deref().unwrap_or_default();
    let reason = row.reason.as_deref().unwrap_or_default();
    let source = match row.source.as_str() {
        "" => String::new(),
        source => format!(" (of {source})"),
    };
    let why = format!("{code}: {reason}");
    format!("{state} {}{source} {}", row.destination, why.trim_matches([':', ' ']))
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    crate::logging::begin_command();
    let depth = match (arguments.deep, arguments.bytes) {
        (_, true) => Depth::Bytes,
        (true, false) => Depth::Blobs,
        (false, false) => Depth::Manifests,
    };
    let report = match &arguments.destination {
        Some(destination) => {
            let document = arguments.place.snapshot()?;
            let ends = (&*arguments.subject, &**destination);
            VerifyReport::new(vec![one(ends, document.as_deref(), depth).await?])
        }
        None => rule(&arguments, depth).await?,
    };
    form.print(&report, VerifyReport::text)?;
    report.end()
}

async fn rule(arguments: &Arguments, depth: Depth) -> Result<VerifyReport, Failure> {
    let opened = arguments.place.open().await?;
    let snapshot = opened.snapshot()?;
    let rule = rule_of(&snapshot.document, &arguments.subject)?;
    let mut images = Vec::new();
    let verify = VerifyRule {
        rule,
        source: snapshot.registry(&rule.source.registry)?,
        destination: snapshot.registry(&rule.destination.registry)?,
        ledger: &opened.ledger,
        clock: Arc::new(SystemClock),
        depth,
    };
    let summary: VerifySummary = verify.run(|row| images.push(row)).await?;
    let mut report = VerifyReport::new(images);
    report.totals.oldest_unreplicated = summary.oldest_unreplicated;
    report.totals.unsearched = summary.unsearched;
    Ok(report)
}

async fn one(images: (&str, &str), document: Option<&Snapshot>, depth: Depth) -> Result<Checked, Failure> {
    let (from, to) = image_end::ends(images, document)?;
    let ends = ImageEnds {
        source: &from.repository,
        from: &from.target,
        destination: &to.repository,
        to: &to.target,
    };
    let checked = check_image(&ends, Options::default(), None, depth).await;
    let digests = checked
        .as_ref()
        .ok()
        .map(|image| (image.wanted.clone(), image.found.clone()));
    let (source_digest, destination_digest) = digests.unwrap_or_default();
    let (state, code, reason) = match checked {
        Ok(image) => match (image.finding, image.lack) {
            (Some(state), Some((code, reason))) => (state, Some(code), Some(reason)),
            (Some(Finding::Extra), None) => {
                let code = Code::ExtraTag;
                (Finding::Extra, Some(code), Some(code.meaning().to_owned()))
            }
            (Some(state), None) => (state, None, None),
            (None, _) => {
                let code = Code::SourceNotFound;
                (
                    Finding::Unknown,
                    Some(code),
                    Some("neither side has the image".to_owned()),
                )
            }
        },
        Err(error) => (Finding::Unknown, Some(error.kind()), Some(error.to_string())),
    };
    Ok(Checked {
        source: from.shown,
        destination: to.shown,
        state,
        reason,
        code: code.map(|code| code.as_str().to_owned()),
        checked: Timestamp::now(),
        source_digest,
        destination_digest,
        since: None,
    })
}
