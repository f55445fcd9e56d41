//! What `copy --dry-run` reports: one row per image with what would be done, and totals.

use serde::Serialize;
use transship_copy::{Action, Comparison, Counts, KeepReason, SkipReason};
use transship_oci::{Code, Digest, Error};

use crate::copy_report::Requests;
use crate::failure::sentence;
use crate::units;

/// What would be done.
#[derive(Debug, Serialize)]
pub(crate) struct PlanReport {
    images: Vec<PlanRow>,
    totals: Totals,
}

/// What would be done about one image.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PlanRow {
    source: String,
    destination: String,
    action: PlanAction,
    /// Why, as a stable code; null if there is nothing to explain.
    code: Option<&'static str>,
    /// The sentence behind the code, or what differs.
    reason: Option<String>,
    /// What the source names; null if that is not known.
    digest: Option<Digest>,
    /// Manifests that would be written.
    manifests: u64,
    /// Blobs by how they would come to the destination.
    blobs: Counts,
    /// Bytes that would be sent.
    bytes: u64,
    /// Requests that the copy would send to both sides.
    requests: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum PlanAction {
    Copy,
    Unchanged,
    Keep,
    Skip,
    Refuse,
}

/// Images by what would be done, and what that would cost.
#[derive(Debug, Default, Serialize)]
struct Totals {
    images: u64,
    copy: u64,
    unchanged: u64,
    keep: u64,
    skip: u64,
    refuse: u64,
    bytes: u64,
    requests: u64,
    /// Seconds that the bytes take at the given bandwidth; null without one.
    seconds: Option<u64>,
    /// What the copies would cost in a stack, in US dollars, without the line: see docs/runs.md.
    stack_cost_usd: f64,
}

/// AWS prices in US dollars (us-east-1): SQS requests of a task, DynamoDB writes of a task, and a second of a worker with 512 MB.
const TASK_COST_USD: f64 = 3.0 * 0.40e-6 + 6.0 * 0.625e-6;
const WORKER_SECOND_COST_USD: f64 = 0.5 * 13.333_4e-6;
/// Bytes that a worker of a stack sends in a second, and requests.
const WORKER_BYTES_PER_SECOND: f64 = 50.0 * 1024.0 * 1024.0;
const WORKER_REQUESTS_PER_SECOND: f64 = 50.0;

impl From<Vec<PlanRow>> for PlanReport {
    fn from(images: Vec<PlanRow>) -> Self {
        let mut totals = Totals::default();
        for row in &images {
            *match row.action {
                PlanAction::Copy => &mut totals.copy,
                PlanAction::Unchanged => &mut totals.unchanged,
                PlanAction::Keep => &mut totals.keep,
                PlanAction::Skip => &mut totals.skip,
                PlanAction::Refuse => &mut totals.refuse,
            } += 1;
            totals.images += 1;
            totals.bytes += row.bytes;
            totals.requests += row.requests;
        }
        let seconds =
            totals.bytes as f64 / WORKER_BYTES_PER_SECOND + totals.requests as f64 / WORKER_REQUESTS_PER_SECOND;
        totals.stack_cost_usd = totals.copy as f64 * TASK_COST_USD + seconds * WORKER_SECOND_COST_USD;
        Self { images, totals }
    }
}

impl PlanReport {
    /// The same with the time that the bytes take at `bandwidth` bytes per second.
    pub(crate) fn with_bandwidth(mut self, bandwidth: Option<u64>) -> Self {
        self.totals.seconds = bandwidth.map(|rate| self.totals.bytes.div_ceil(rate.max(1)));
        self
    }

    /// The totals in one line.
    pub(crate) fn totals_text(&self) -> String {
        let totals = &self.totals;
        let time = totals.seconds.map_or_else(String::new, |seconds| {
            format!(", {}", units::duration(std::time::Duration::from_secs(seconds)))
        });
        format!(
            "{}: {} to copy, {} unchanged, {} to keep, {} to skip, {} to refuse; {}, {}{time}; {:.2} USD in a stack",
            units::count(totals.images, "image"),
            totals.copy,
            totals.unchanged,
            totals.keep,
            totals.skip,
            totals.refuse,
            units::bytes(totals.bytes),
            units::count(totals.requests, "request"),
            totals.stack_cost_usd,
        )
    }

    /// One line per image.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<String> = self.images.iter().map(PlanRow::text).collect();
        lines.join("\n")
    }
}

impl PlanRow {
    /// The row of an image that was compared, for which `requests` were sent.
    pub(crate) fn of(
        source: String,
        destination: String,
        comparison: &Comparison,
        requests: &Requests,
        is_remote_source: bool,
    ) -> Self {
        let (action, explained) = match comparison.action {
            Action::Copy => (PlanAction::Copy, Some(why_copied(comparison))),
            Action::Unchanged => (PlanAction::Unchanged, kept_tags(comparison)),
            Action::Keep(reason) => (
                PlanAction::Keep,
                Some((Some("DESTINATION_KEPT"), why_kept(reason).to_owned())),
            ),
            Action::Skip(SkipReason::Labels) => {
                let reason = "the image does not have the labels".to_owned();
                (PlanAction::Skip, Some((Some("LABELS_NOT_MATCHED"), reason)))
            }
            Action::Skip(SkipReason::Platforms) => {
                let why = comparison.why_skipped.clone();
                let reason = why.unwrap_or_else(|| Code::PlatformMissing.meaning().to_owned());
                (PlanAction::Skip, Some((Some("PLATFORM_MISSING"), reason)))
            }
            Action::Skip(SkipReason::Referrers) => {
                let reason = "the image has no referrer yet, and one is required".to_owned();
                (PlanAction::Skip, Some((Some("REFERRERS_MISSING"), reason)))
            }
            Action::Skip(SkipReason::Kind) | Action::Absent => {
                let reason = "the kind of the image is not let pass".to_owned();
                (PlanAction::Skip, Some((Some("KIND_NOT_MATCHED"), reason)))
            }
        };
        let (code, reason) = explained.map_or((None, None), |(code, reason)| (code, Some(reason)));
        let writes = comparison.requests_to_write;
        let to_source = if is_remote_source { writes.source } else { 0 };
        Self {
            source,
            destination,
            action,
            code,
            reason,
            digest: comparison.wanted.as_ref().map(|root| root.digest.clone()),
            manifests: comparison.manifests_to_write,
            blobs: comparison.blobs,
            bytes: comparison.bytes.copied,
            requests: requests.source + requests.destination + to_source + writes.destination,
        }
    }

    /// The row of an image that a copy would refuse with `error`.
    pub(crate) fn refused(source: String, destination: String, error: &Error, requests: &Requests) -> Self {
        Self {
            source,
            destination,
            action: PlanAction::Refuse,
            code: Some(error.code()),
            reason: Some(sentence(error)),
            digest: None,
            manifests: 0,
            blobs: Counts::NONE,
            bytes: 0,
            requests: requests.source + requests.destination,
        }
    }

    fn text(&self) -> String {
        let Self {
            source, destination, ..
        } = self;
        let why = self.reason.as_deref().unwrap_or_default();
        match self.action {
            PlanAction::Copy => format!(
                "would copy {source} to {destination}: {}, blobs {} to send, {} to mount, {} there, {}, {} ({why})",
                units::count(self.manifests, "manifest"),
                self.blobs.copied,
                self.blobs.mounted,
                self.blobs.skipped,
                units::bytes(self.bytes),
                units::count(self.requests, "request"),
            ),
            PlanAction::Unchanged if why.is_empty() => format!("unchanged {destination}: it is equal to {source}"),
            PlanAction::Unchanged => format!("unchanged {destination}: it is equal to {source} ({why})"),
            PlanAction::Keep => format!("would keep {destination}: {why}"),
            PlanAction::Skip => format!("would skip {source}: {why}"),
            PlanAction::Refuse => format!("would refuse {source}: {why}"),
        }
    }
}

/// What a copy would change, and the code that its task would end with.
fn why_copied(comparison: &Comparison) -> (Option<&'static str>, String) {
    if let Some(kept) = kept_tags(comparison) {
        return kept;
    }
    if comparison.foreign_layers > 0 {
        let layers = units::count(comparison.foreign_layers, "layer");
        let reason = format!("{layers} that may not be distributed would stay at their urls");
        return (Some("FOREIGN_LAYER_SKIPPED"), reason);
    }
    let attached = comparison.attachments.len() as u64;
    let reason = match (&comparison.destination, comparison.manifests.is_empty()) {
        (_, true) => format!(
            "the image is there, {} missing or different",
            units::count(attached, "attachment")
        ),
        (None, _) => "the destination has no such tag".to_owned(),
        (Some(there), _) if comparison.backup => format!("{} would get a backup tag and be replaced", there.digest),
        (Some(there), _) => format!("{} would be replaced", there.digest),
    };
    (None, reason)
}

fn kept_tags(comparison: &Comparison) -> Option<(Option<&'static str>, String)> {
    let tags = comparison.kept_tags.join(", ");
    let reason = format!("the destination has its own {tags}, which would be kept");
    (!tags.is_empty()).then_some((Some("SIGNATURE_TAG_KEPT"), reason))
}

const fn why_kept(reason: KeepReason) -> &'static str {
    match reason {
        KeepReason::Policy => "the tag names another image, and is never replaced (existing: keep)",
        KeepReason::NotOurs => "the tag names an image we did not write there (existing: follow)",
        KeepReason::OtherSource => "the tag names an image that we copied from another source",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(action: PlanAction) -> PlanRow {
        PlanRow {
            source: "oci:x:v1".into(),
            destination: "r.example/a:v1".into(),
            action,
            code: Some("DESTINATION_KEPT"),
            reason: Some("the reason".into()),
            digest: Some(Digest::sha256(b"x")),
            manifests: 2,
            blobs: Counts {
                copied: 3,
                mounted: 1,
                skipped: 0,
            },
            bytes: 4096,
            requests: 14,
        }
    }

    #[test]
    fn the_report_has_the_keys_of_the_contract_in_order() {
        let actions = [
            PlanAction::Copy,
            PlanAction::Unchanged,
            PlanAction::Keep,
            PlanAction::Skip,
            PlanAction::Refuse,
        ];
        insta::assert_json_snapshot!(PlanReport::from(vec![row(PlanAction::Copy)]));
        insta::assert_snapshot!(PlanReport::from(actions.map(row).to_vec()).text());
    }
}
