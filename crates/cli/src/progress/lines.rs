//! Progress lines at intervals, for logs of build machines. A short copy prints none.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use transship_copy::{BlobEnd, Progress, Step};

use crate::output::note;
use crate::units;

/// Time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Counts progress and prints it at intervals.
pub(crate) struct Lines {
    tally: Mutex<Tally>,
}

struct Tally {
    told: Instant,
    planned_blobs: usize,
    planned_bytes: u64,
    blobs: usize,
    bytes: u64,
}

impl Lines {
    /// Progress lines of a copy that starts now.
    pub(crate) fn new() -> Self {
        Self {
            tally: Mutex::new(Tally {
                told: Instant::now(),
                planned_blobs: 0,
                planned_bytes: 0,
                blobs: 0,
                bytes: 0,
            }),
        }
    }
}

impl Tally {
    fn count(&mut self, step: Step<'_>) {
        match step {
            Step::Planned { blobs, bytes } => {
                self.planned_blobs += blobs;
                self.planned_bytes += bytes;
            }
            Step::BlobBytes { bytes, .. } => self.bytes += bytes,
            Step::BlobRestart { bytes, .. } => self.bytes = self.bytes.saturating_sub(bytes),
            Step::BlobEnd { size, how, .. } => {
                self.blobs += 1;
                if how != BlobEnd::Copied {
                    self.bytes += size;
                }
            }
            Step::BlobBegin { .. } | Step::ManifestPut { .. } => {}
        }
    }

    /// The next line, if it is due.
    fn line(&mut self, now: Instant) -> Option<String> {
        if now.duration_since(self.told) < LINE_INTERVAL {
            return None;
        }
        self.told = now;
        Some(format!(
            "{} of {}, {} of {} blobs",
            units::bytes(self.bytes),
            units::bytes(self.planned_bytes),
            self.blobs,
            self.planned_blobs
        ))
    }
}

impl Progress for Lines {
    fn step(&self, step: Step<'_>) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.count(step);
        let line = tally.line(Instant::now());
        drop(tally);
        if let Some(line) = line {
            note(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use transship_oci::Digest;

    use super::*;

    #[test]
    fn a_line_comes_when_its_time_has_come_and_not_before() {
        let lines = Lines::new();
        let mut tally = lines.tally.lock().unwrap();
        let begin = tally.told;
        let digest = Digest::sha256(b"x");
        tally.count(Step::Planned { blobs: 3, bytes: 4096 });
        tally.count(Step::BlobBytes {
            digest: &digest,
            bytes: 1024,
        });
        tally.count(Step::BlobEnd {
            digest: &digest,
            size: 1024,
            how: BlobEnd::Copied,
        });
        tally.count(Step::BlobEnd {
            digest: &digest,
            size: 1024,
            how: BlobEnd::Skipped,
        });
        assert_eq!(tally.line(begin + LINE_INTERVAL / 2), None);
        let line = tally.line(begin + LINE_INTERVAL).unwrap();
        assert_eq!(line, "2.0 KiB of 4.0 KiB, 2 of 3 blobs");
        assert_eq!(tally.line(begin + LINE_INTERVAL), None);
    }
}
