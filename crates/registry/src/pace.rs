//! The minimum rate of a peer: how long Transship waits for bytes that it could receive or send at once.
//!
//! Only waits for the peer count. Waits for the other side of a copy and for Transship's own limits do not. Each byte allows a
//! further wait, so the total time of a transfer is limited by its size: [`RATE_MIN`] and the first allowance decide.

use std::time::Duration;

/// The minimum rate in bytes per second, on average. A link of 256 kbit/s that thirty transfers share is as fast.
pub(crate) const RATE_MIN: u64 = 1024;

/// Nanoseconds that each byte may take.
const NANOSECONDS_PER_BYTE: u64 = 1_000_000_000 / RATE_MIN;

/// The number of idle times that a peer may stay below the minimum rate.
const ALLOWANCE: u32 = 2;

/// How long a peer may keep a transfer waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pace {
    left: Duration,
    idle_timeout: Duration,
}

/// Why a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stalled {
    /// No byte moved for this long.
    Silent(Duration),
    /// Bytes moved, but slower than [`RATE_MIN`].
    Slow,
}

impl Pace {
    /// The pace of a transfer that may be silent for `idle_timeout`.
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self {
            left: idle_timeout.saturating_mul(ALLOWANCE),
            idle_timeout,
        }
    }

    /// The longest wait for the next bytes.
    pub(crate) fn next_wait(&self) -> Duration {
        self.left.min(self.idle_timeout)
    }

    /// Why a wait for the next bytes ended after [`Pace::next_wait`].
    pub(crate) fn stalled(&self) -> Stalled {
        if self.left < self.idle_timeout {
            Stalled::Slow
        } else {
            Stalled::Silent(self.idle_timeout)
        }
    }

    /// The transfer waited for the peer for `waited`, and then `bytes` moved.
    pub(crate) fn record(&mut self, waited: Duration, bytes: u64) {
        let earned = Duration::from_nanos(bytes.saturating_mul(NANOSECONDS_PER_BYTE));
        let left = self.left.saturating_sub(waited).saturating_add(earned);
        self.left = left.min(self.idle_timeout.saturating_mul(ALLOWANCE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// The seconds until a peer that sends `bytes` after every `pause` is stopped; [`None`]: not within a day.
    fn stopped(bytes: u64, pause: Duration) -> Option<(u64, Stalled)> {
        let (mut pace, mut total) = (Pace::new(MINUTE), Duration::ZERO);
        while total < Duration::from_hours(24) {
            if pace.next_wait() < pause {
                return Some(((total + pace.next_wait()).as_secs(), pace.stalled()));
            }
            total += pause;
            pace.record(pause, bytes);
        }
        None
    }

    #[test]
    fn a_peer_below_the_minimum_rate_is_stopped_and_one_above_it_is_not() {
        let second = Duration::from_secs(1);
        assert_eq!(stopped(1, 20 * second), Some((120, Stalled::Slow)));
        assert_eq!(stopped(1, 59 * second), Some((120, Stalled::Slow)));
        assert_eq!(stopped(100, second), Some((132, Stalled::Slow)));
        assert_eq!(stopped(RATE_MIN - 10, second).map(|(_, why)| why), Some(Stalled::Slow));
        assert_eq!(stopped(1 << 20, 61 * second), Some((60, Stalled::Silent(MINUTE))));
        for (bytes, pause) in [(RATE_MIN, second), (60 * RATE_MIN, MINUTE), (1 << 14, 10 * second)] {
            assert_eq!(stopped(bytes, pause), None, "{bytes} {pause:?}");
        }
    }

    #[test]
    fn the_total_time_follows_from_the_size() {
        let mut pace = Pace::new(MINUTE);
        // The worst that a peer can do with 1 MiB: each byte as late as it may be.
        let mut total = Duration::ZERO;
        for _ in 0..1 << 20 {
            let wait = pace.next_wait();
            total += wait;
            pace.record(wait, 1);
        }
        assert!(
            total <= 2 * MINUTE + Duration::from_secs((1 << 20) / RATE_MIN + 1),
            "{total:?}"
        );
    }

    #[test]
    fn fast_bytes_save_no_more_than_the_first_allowance() {
        let mut pace = Pace::new(MINUTE);
        pace.record(Duration::ZERO, u64::MAX);
        assert_eq!(pace, Pace::new(MINUTE));
    }
}
