//! Whether the bytes of an upload move, and how fast.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::registry::COMMIT_TIMEOUT;

/// Ends an upload whose bytes do not move. An upload has no other time limit.
pub(crate) struct IdleWatchdog {
    begin: Instant,
    last_ms: AtomicU64,
    bytes: AtomicU64,
}

impl IdleWatchdog {
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            last_ms: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_ms.store(
            u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Resolves when no byte moved for `idle_timeout`, or for [`COMMIT_TIMEOUT`] after all `size` bytes were sent. Returns that time.
    pub(crate) async fn watch(&self, size: u64, idle_timeout: Duration) -> Duration {
        loop {
            let allowed = if self.bytes() >= size {
                COMMIT_TIMEOUT
            } else {
                idle_timeout
            };
            let silent = self
                .begin
                .elapsed()
                .saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)));
            match allowed.checked_sub(silent) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return allowed,
            }
        }
    }
}

/// The smallest upload that is measured: a smaller one measures the round trip, not the bandwidth.
const WORTH_MEASURING_BYTES: u64 = 256 * 1024;

/// Bytes per second of one upload to a registry, measured by this process. The newest upload counts half. 0: not measured yet.
/// The size of a chunk depends on it, so that each chunk is acknowledged well before the time of the worker ends.
#[derive(Default)]
pub(crate) struct Throughput(AtomicU64);

impl Throughput {
    /// Bytes per second; [`None`] if no upload was measured yet.
    pub(crate) fn get(&self) -> Option<u64> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            throughput => Some(throughput),
        }
    }

    /// Records that an upload of `bytes` took `elapsed`, including its acknowledgement.
    pub(crate) fn record(&self, bytes: u64, elapsed: Duration) {
        if bytes < WORTH_MEASURING_BYTES {
            return;
        }
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let now = (bytes.saturating_mul(1000) / milliseconds).max(1);
        // If two uploads end at the same time, one of them may be lost, which is acceptable for an estimate.
        let throughput = self.get().map_or(now, |before| before / 2 + now / 2).max(1);
        self.0.store(throughput, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_measurement_counts_half() {
        let throughput = Throughput::default();
        assert_eq!(throughput.get(), None);
        throughput.record(1000, Duration::from_secs(1));
        assert_eq!(throughput.get(), None, "too little to say anything");
        throughput.record(8 << 20, Duration::from_secs(2));
        assert_eq!(throughput.get(), Some(4 << 20));
        throughput.record(2 << 20, Duration::from_secs(1));
        assert_eq!(throughput.get(), Some(3 << 20));
        throughput.record(1 << 20, Duration::ZERO);
        assert!(
            throughput.get() > Some(3 << 20),
            "no time at all is not a division by it"
        );
    }
}
