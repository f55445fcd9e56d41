//! Waits between retries.
//!
//! The calculation has no side effects, so that callers can be tested without waiting. Callers that run concurrently with many
//! others add their own jitter.

use std::time::Duration;

/// Waits that grow by a constant factor up to a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the first retry.
    pub first: Duration,
    /// The factor by which each further wait grows.
    pub factor: u32,
    /// The maximum wait.
    pub max: Duration,
}

impl Backoff {
    /// Each wait is twice as long as the one before.
    pub const fn doubling(first: Duration, max: Duration) -> Self {
        Self { first, factor: 2, max }
    }

    /// The wait before a retry. `retries` is the number of retries made before it: 0 before the first.
    pub fn wait(&self, retries: u32) -> Duration {
        self.first
            .saturating_mul(self.factor.saturating_pow(retries))
            .min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_maximum() {
        let backoff = Backoff::doubling(Duration::from_millis(200), Duration::from_secs(1));
        let waits: Vec<u128> = (0..5).map(|retries| backoff.wait(retries).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1000, 1000]);
    }

    proptest! {
        #[test]
        fn a_wait_is_the_one_before_times_the_factor_or_the_maximum(
            first_ms in 0_u64..100_000, factor in 1_u32..10, max_ms in 0_u64..1_000_000, retries in 0_u32..u32::MAX,
        ) {
            let [first, max] = [first_ms, max_ms].map(Duration::from_millis);
            let backoff = Backoff { first, factor, max };
            prop_assert_eq!(backoff.wait(0), first.min(max));
            let (wait, next) = (backoff.wait(retries), backoff.wait(retries + 1));
            prop_assert!(wait <= next && next <= max);
            prop_assert!(next == max || next == wait * factor || factor.checked_pow(retries + 1).is_none());
        }
    }
}
