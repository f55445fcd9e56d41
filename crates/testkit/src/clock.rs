//! A manual clock, so that tests of leases and waits take no real time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use transship_copy::Clock;

/// A clock that changes only when it is set. Clones share the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<SystemTime>>);

impl ManualClock {
    /// A clock with the time `now`.
    pub fn new(now: SystemTime) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Sets the clock, forward or backward.
    pub fn set(&self, now: SystemTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Default for ManualClock {
    /// A clock with a fixed start time: 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(SystemTime::UNIX_EPOCH + Duration::from_hours(490_896))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_only_by_hand_and_for_all_clones() {
        let clock = ManualClock::default();
        let other: Box<dyn Clock> = Box::new(clock.clone());
        let start = other.now();
        assert_eq!(other.now(), start);
        clock.advance(Duration::from_secs(90));
        assert_eq!(other.now(), start + Duration::from_secs(90));
        clock.set(start);
        assert_eq!(other.now(), start);
    }
}
