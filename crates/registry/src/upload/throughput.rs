//! Whether the bytes of an upload move, and how fast.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use transship_oci::{Error, Verb};

use crate::exchange::failure::stalled;
use crate::pace::{Pace, Stalled};
use crate::registry::COMMIT_TIMEOUT;

/// The longest wait for the next bytes of the source. The reads of a registry also have limits of their own.
const SOURCE_TIMEOUT: Duration = Duration::from_mins(5);

/// Ends an upload whose destination does not accept bytes, or too slowly. An upload has no other time limit. Waits for the
/// source and for Transship's own limits do not count against the destination.
pub(crate) struct IdleWatchdog(Mutex<State>);

struct State {
    waits_for: WaitsFor,
    since: Instant,
    bytes: u64,
    pace: Pace,
    idle_timeout: Duration,
    is_source_silent: bool,
}

/// What an upload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The source's next bytes.
    Source,
    /// The limits of this process, or the beginning of the request.
    Limit,
    /// The destination, which has not accepted the last piece yet.
    Destination,
}

impl IdleWatchdog {
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self(Mutex::new(State {
            waits_for: WaitsFor::Limit,
            since: Instant::now(),
            bytes: 0,
            pace: Pace::new(idle_timeout),
            idle_timeout,
            is_source_silent: false,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The destination asks for the next piece, so it accepted the last one.
    pub(crate) fn accepted(&self) {
        let mut state = self.state();
        if state.waits_for == WaitsFor::Source {
            return;
        }
        if state.waits_for == WaitsFor::Destination {
            let waited = state.since.elapsed();
            state.pace.record(waited, 0);
        }
        state.wait_for(WaitsFor::Source);
    }

    /// The source has sent a piece of `bytes`, which the limits of this process may hold.
    pub(crate) fn read(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes += bytes;
        state.wait_for(WaitsFor::Limit);
    }

    /// A piece of `bytes` goes to the destination now.
    pub(crate) fn sent(&self, bytes: u64) {
        let mut state = self.state();
        state.pace.record(Duration::ZERO, bytes);
        state.wait_for(WaitsFor::Destination);
    }

    /// The number of bytes that were read from the source.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// The error of the source, if it is the reason why the upload was stopped.
    pub(crate) fn source_error(&self) -> Option<Error> {
        let is_source_silent = self.state().is_source_silent;
        is_source_silent.then(|| stalled(Stalled::Silent(SOURCE_TIMEOUT), &Verb::BlobGet.into()))
    }

    /// Resolves when the destination is silent or too slow, [`COMMIT_TIMEOUT`] after all `size` bytes were sent, and
    /// when the source is silent for [`SOURCE_TIMEOUT`].
    pub(crate) async fn watch(&self, size: u64) -> Stalled {
        loop {
            let pause = match self.state().remaining(size) {
                Ok(pause) => pause,
                Err(stalled) => return stalled,
            };
            tokio::time::sleep(pause).await;
        }
    }
}

impl State {
    fn wait_for(&mut self, waits_for: WaitsFor) {
        self.waits_for = waits_for;
        self.since = Instant::now();
    }

    /// How long to wait before the next check.
    fn remaining(&mut self, size: u64) -> Result<Duration, Stalled> {
        // Another wait may begin meanwhile, with a shorter limit.
        let check_interval = self.idle_timeout / 4;
        let (allowed, stalled) = match self.waits_for {
            // An empty body is never asked for.
            WaitsFor::Limit if size > 0 => return Ok(check_interval),
            WaitsFor::Source => (SOURCE_TIMEOUT, Stalled::Silent(SOURCE_TIMEOUT)),
            _ if self.bytes >= size => (COMMIT_TIMEOUT, Stalled::Silent(COMMIT_TIMEOUT)),
            _ => (self.pace.next_wait(), self.pace.stalled()),
        };
        match allowed.checked_sub(self.since.elapsed()) {
            Some(left) if !left.is_zero() => Ok(left.min(check_interval)),
            _ => {
                self.is_source_silent = self.waits_for == WaitsFor::Source;
                Err(stalled)
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

    const MINUTE: Duration = Duration::from_mins(1);
    const SIZE: u64 = 1 << 20;

    impl IdleWatchdog {
        /// The present wait has lasted for `duration` longer.
        fn pass(&self, duration: Duration) {
            let mut state = self.state();
            state.since = state.since.checked_sub(duration).unwrap();
        }

        pub(crate) fn waits_for(&self) -> WaitsFor {
            self.state().waits_for
        }

        fn stalled(&self) -> Option<Stalled> {
            self.state().remaining(SIZE).err()
        }
    }

    #[test]
    fn a_silent_destination_is_stopped() {
        let watchdog = IdleWatchdog::new(MINUTE);
        watchdog.accepted();
        watchdog.read(10);
        watchdog.sent(10);
        watchdog.pass(MINUTE / 2);
        assert_eq!(watchdog.stalled(), None);
        watchdog.pass(MINUTE / 2);
        assert_eq!(watchdog.stalled(), Some(Stalled::Silent(MINUTE)));
        assert!(watchdog.source_error().is_none());
    }

    #[test]
    fn a_slow_destination_is_stopped() {
        let watchdog = IdleWatchdog::new(MINUTE);
        let mut pieces = 0;
        while watchdog.stalled().is_none() {
            watchdog.accepted();
            watchdog.read(1);
            watchdog.sent(1);
            watchdog.pass(MINUTE / 3);
            pieces += 1;
        }
        assert_eq!(watchdog.stalled(), Some(Stalled::Slow));
        assert!((5..=7).contains(&pieces), "{pieces}");
    }

    #[test]
    fn waits_for_the_source_and_for_limits_do_not_count_against_the_destination() {
        let watchdog = IdleWatchdog::new(MINUTE);
        for _ in 0..100 {
            watchdog.accepted();
            watchdog.pass(2 * MINUTE);
            assert_eq!(watchdog.stalled(), None);
            watchdog.read(1);
            watchdog.pass(60 * MINUTE);
            assert_eq!(watchdog.stalled(), None);
            watchdog.sent(1);
            assert_eq!(watchdog.stalled(), None);
        }
        assert_eq!(watchdog.state().pace, Pace::new(MINUTE));
    }

    #[test]
    fn a_silent_source_is_stopped_and_is_the_reason() {
        let watchdog = IdleWatchdog::new(MINUTE);
        watchdog.accepted();
        watchdog.pass(SOURCE_TIMEOUT);
        assert_eq!(watchdog.stalled(), Some(Stalled::Silent(SOURCE_TIMEOUT)));
        assert_eq!(watchdog.source_error().map(|error| error.code()), Some("TIMEOUT"));
    }

    #[test]
    fn an_acknowledgement_has_a_limit_of_its_own_with_and_without_bytes() {
        let watchdog = IdleWatchdog::new(MINUTE);
        watchdog.accepted();
        watchdog.read(SIZE);
        watchdog.sent(SIZE);
        let empty = IdleWatchdog::new(MINUTE);
        for (watchdog, size) in [(watchdog, SIZE), (empty, 0)] {
            watchdog.pass(COMMIT_TIMEOUT / 2);
            assert!(watchdog.state().remaining(size).is_ok());
            watchdog.pass(COMMIT_TIMEOUT / 2);
            assert_eq!(watchdog.state().remaining(size), Err(Stalled::Silent(COMMIT_TIMEOUT)));
        }
    }

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
