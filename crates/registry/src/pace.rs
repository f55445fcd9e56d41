//! How fast a registry takes bytes from us: what this process measured, remembered while it lives.
//!
//! Chunks are sized by it, so that each is acknowledged well before a worker's time is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Less than this says more about round trips than about bandwidth.
const WORTH_MEASURING_BYTES: u64 = 256 * 1024;

/// Bytes per second of one upload, the newest counting half; 0 while nothing was measured.
#[derive(Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// Bytes per second, if any upload was measured.
    pub(crate) fn get(&self) -> Option<u64> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            pace => Some(pace),
        }
    }

    /// So many bytes took so long, their acknowledgement included.
    pub(crate) fn note(&self, bytes: u64, elapsed: Duration) {
        if bytes < WORTH_MEASURING_BYTES {
            return;
        }
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let now = (bytes.saturating_mul(1000) / milliseconds).max(1);
        // Two uploads that end at once may lose one of the two: it is an estimate either way.
        let pace = self.get().map_or(now, |before| before / 2 + now / 2).max(1);
        self.0.store(pace, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_measurement_counts_half() {
        let pace = Pace::default();
        assert_eq!(pace.get(), None);
        pace.note(1000, Duration::from_secs(1));
        assert_eq!(pace.get(), None, "too little to say anything");
        pace.note(8 << 20, Duration::from_secs(2));
        assert_eq!(pace.get(), Some(4 << 20));
        pace.note(2 << 20, Duration::from_secs(1));
        assert_eq!(pace.get(), Some(3 << 20));
        pace.note(1 << 20, Duration::ZERO);
        assert!(pace.get() > Some(3 << 20), "no time at all is not a division by it");
    }
}
