//! Progress of an import: images and bytes, as one line on a terminal or a line at intervals elsewhere.
//!
//! The total number of images is known only after all sources were read; until then it grows.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use transship_copy::{Progress, Step};
use transship_engine::{TaskRecord, TaskState};

use crate::output::{Form, note};
use crate::units;

/// Time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

const IMAGES: &str = "{pos:>6} of {len} images [{bar:30}] {msg}";

/// Counts of one import, and their output.
pub(crate) struct ImagesShown {
    bar: Option<ProgressBar>,
    has_lines: bool,
    tally: Mutex<Tally>,
}

struct Tally {
    begin: Instant,
    told: Instant,
    planned: u64,
    ended: u64,
    failed: u64,
    bytes: u64,
}

impl ImagesShown {
    /// Selects the output by the kind of standard error and the format of standard output.
    pub(crate) fn suitable(form: Form) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self::new(is_terminal, !is_terminal && form == Form::Text)
    }

    fn new(has_bar: bool, has_lines: bool) -> Self {
        let now = Instant::now();
        Self {
            bar: has_bar.then(|| ProgressBar::new(0).with_style(style())),
            has_lines,
            tally: Mutex::new(Tally {
                begin: now,
                told: now,
                planned: 0,
                ended: 0,
                failed: 0,
                bytes: 0,
            }),
        }
    }

    /// Adds images to the total.
    pub(crate) fn planned(&self, images: u64) {
        self.change(|tally| tally.planned += images);
    }

    /// Counts an image that ended.
    pub(crate) fn ended(&self, is_failed: bool) {
        self.change(|tally| {
            tally.ended += 1;
            tally.failed += u64::from(is_failed);
        });
    }

    /// Sets the counts of tasks that a stack processes.
    pub(crate) fn followed(&self, records: &[TaskRecord]) {
        let count = |wanted: fn(TaskState) -> bool| records.iter().filter(|record| wanted(record.state)).count() as u64;
        let ended = count(TaskState::is_terminal);
        let succeeded = count(TaskState::is_success);
        let bytes = records.iter().map(|record| record.bytes.copied).sum();
        self.change(|tally| {
            tally.planned = records.len() as u64;
            tally.ended = ended;
            tally.failed = ended - succeeded;
            tally.bytes = bytes;
        });
    }

    /// Removes the bar before the results are printed.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn change(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tally);
        let now = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_length(tally.planned);
            bar.set_position(tally.ended);
            bar.set_message(tally.sent(now));
        }
        let line = if self.has_lines { tally.line(now) } else { None };
        drop(tally);
        if let Some(line) = line {
            note(&line);
        }
    }
}

impl Tally {
    /// Bytes sent and, if there are any, failures.
    fn sent(&self, now: Instant) -> String {
        let seconds = now.duration_since(self.begin).as_secs().max(1);
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        let (sent, rate) = (units::bytes(self.bytes), units::bytes(self.bytes / seconds));
        format!("{sent} sent, {rate}/s{failed}")
    }

    /// The next line, if it is due.
    fn line(&mut self, now: Instant) -> Option<String> {
        if now.duration_since(self.told) < LINE_INTERVAL {
            return None;
        }
        self.told = now;
        Some(format!("{} of {} images, {}", self.ended, self.planned, self.sent(now)))
    }
}

impl Progress for ImagesShown {
    fn step(&self, step: Step<'_>) {
        match step {
            Step::BlobBytes { bytes, .. } => self.change(|tally| tally.bytes += bytes),
            Step::BlobRestart { bytes, .. } => self.change(|tally| tally.bytes = tally.bytes.saturating_sub(bytes)),
            Step::Planned { .. } | Step::BlobBegin { .. } | Step::BlobEnd { .. } | Step::ManifestPut { .. } => {}
        }
    }
}

fn style() -> ProgressStyle {
    // The template is a constant; a test reads it.
    ProgressStyle::with_template(IMAGES)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use transship_oci::Digest;

    use super::*;

    #[test]
    fn the_template_is_understood() {
        assert!(ProgressStyle::with_template(IMAGES).is_ok());
    }

    #[test]
    fn images_and_bytes_are_told_when_it_is_time() {
        let shown = ImagesShown::new(true, false);
        let digest = Digest::sha256(b"x");
        shown.planned(3);
        for bytes in [2048, 4096] {
            shown.step(Step::BlobBytes { digest: &digest, bytes });
        }
        shown.step(Step::BlobRestart {
            digest: &digest,
            bytes: 2048,
        });
        shown.ended(false);
        shown.ended(true);
        let bar = shown.bar.as_ref().unwrap();
        assert_eq!((bar.position(), bar.length()), (2, Some(3)));
        let mut tally = shown.tally.lock().unwrap();
        let begin = tally.begin;
        assert_eq!(tally.line(begin + LINE_INTERVAL / 2), None);
        let line = tally.line(begin + LINE_INTERVAL).unwrap();
        assert_eq!(line, "2 of 3 images, 4.0 KiB sent, 409 B/s, 1 failed");
        assert_eq!(tally.line(begin + LINE_INTERVAL), None);
    }
}
