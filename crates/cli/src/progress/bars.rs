//! Progress bars on a terminal: one for the whole copy, and one for each of the largest blobs in transfer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use transship_copy::{BlobEnd, Progress, Step};
use transship_oci::Digest;

/// Maximum number of blobs with their own bar. The largest blobs are sent first, so they get the bars.
const BARS_MAX: usize = 4;
/// Minimum size in bytes of a blob with its own bar. A smaller one ends before its bar can be read.
const BAR_BLOB_BYTES_MIN: u64 = 4 * 1024 * 1024;

const WHOLE: &str = "{bytes:>10} of {total_bytes:<10} [{bar:30}] {binary_bytes_per_sec:>12}  {msg}";
const BLOB: &str = "{bytes:>10} of {total_bytes:<10} [{bar:30}] {prefix}";

/// The bars of one copy.
pub(crate) struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<Digest, ProgressBar>,
    done: usize,
    planned: usize,
}

impl Bars {
    /// Bars of a copy that has not started. They are drawn from the first step on.
    pub(crate) fn new() -> Self {
        let all = MultiProgress::new();
        let whole = ProgressBar::new(0).with_style(style(WHOLE));
        Self {
            all,
            whole,
            state: Mutex::default(),
        }
    }

    /// Removes the bars from the screen.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bar) in state.running.drain() {
            bar.finish_and_clear();
        }
        self.whole.finish_and_clear();
    }

    fn planned(&self, state: &mut State, blobs: usize, bytes: u64) {
        if state.planned == 0 && blobs > 0 {
            self.all.add(self.whole.clone());
        }
        state.planned += blobs;
        self.whole.inc_length(bytes);
    }

    fn begin(&self, state: &mut State, digest: &Digest, size: u64) {
        if size >= BAR_BLOB_BYTES_MIN && state.running.len() < BARS_MAX {
            let bar = ProgressBar::new(size)
                .with_style(style(BLOB))
                .with_prefix(digest.hex()[..12].to_owned());
            state.running.insert(digest.clone(), self.all.add(bar));
        }
    }

    fn end(&self, state: &mut State, digest: &Digest, size: u64, how: BlobEnd) {
        if let Some(bar) = state.running.remove(digest) {
            bar.finish_and_clear();
        }
        if how != BlobEnd::Copied {
            self.whole.inc(size);
        }
        state.done += 1;
        self.whole
            .set_message(format!("{} of {} blobs", state.done, state.planned));
    }
}

impl Progress for Bars {
    fn step(&self, step: Step<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            Step::Planned { blobs, bytes } => self.planned(&mut state, blobs, bytes),
            Step::BlobBegin { digest, size } => self.begin(&mut state, digest, size),
            Step::BlobBytes { digest, bytes } => {
                self.whole.inc(bytes);
                if let Some(bar) = state.running.get(digest) {
                    bar.inc(bytes);
                }
            }
            Step::BlobRestart { digest, bytes } => {
                self.whole.dec(bytes);
                if let Some(bar) = state.running.get(digest) {
                    bar.dec(bytes);
                }
            }
            Step::BlobEnd { digest, size, how } => self.end(&mut state, digest, size, how),
            Step::ManifestPut { .. } => {}
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; a test reads them.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in [WHOLE, BLOB] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn every_byte_counts_once_however_it_came() {
        let bars = Bars::new();
        let (sent, mounted) = (Digest::sha256(b"sent"), Digest::sha256(b"mounted"));
        let size = BAR_BLOB_BYTES_MIN;
        bars.step(Step::Planned {
            blobs: 2,
            bytes: 2 * size,
        });
        for digest in [&sent, &mounted] {
            bars.step(Step::BlobBegin { digest, size });
        }
        for bytes in [7, size] {
            bars.step(Step::BlobBytes { digest: &sent, bytes });
            if bytes == 7 {
                bars.step(Step::BlobRestart { digest: &sent, bytes });
            }
        }
        for (digest, how) in [(&sent, BlobEnd::Copied), (&mounted, BlobEnd::Mounted)] {
            bars.step(Step::BlobEnd { digest, size, how });
        }
        assert_eq!((bars.whole.position(), bars.whole.length()), (2 * size, Some(2 * size)));
        assert_eq!(bars.whole.message(), "2 of 2 blobs");
        assert!(bars.state.lock().unwrap().running.is_empty());
    }
}
