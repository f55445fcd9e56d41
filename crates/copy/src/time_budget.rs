//! The time that a worker has, with the margin that it needs to hand over.

use std::time::{Duration, Instant};

/// The time that a worker has, with the margin that it needs to hand over.
#[derive(Debug, Clone, Copy)]
pub struct TimeBudget {
    end: Instant,
    margin: Duration,
}

impl TimeBudget {
    /// A budget of `length` that ends before `deadline` by the margin: a tenth of `length`, and at least half a second.
    pub fn until(deadline: Instant, length: Duration) -> Self {
        let margin = (length / 10).max(Duration::from_millis(500));
        Self {
            end: deadline.checked_sub(margin).unwrap_or(deadline),
            margin,
        }
    }

    /// The part of the margin that a copy may use to store what it got done. The caller of the copy has the rest.
    pub fn grace(&self) -> Duration {
        self.margin / 4
    }

    /// The time that is left; zero when it is over.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_ends_before_its_deadline() {
        let begin = Instant::now();
        let budget = |seconds| {
            let length = Duration::from_secs(seconds);
            TimeBudget::until(begin + length, length).end - begin
        };
        assert_eq!(budget(2), Duration::from_millis(1500));
        assert_eq!(budget(60), Duration::from_secs(54));
        assert!(TimeBudget::until(begin, Duration::ZERO).left().is_zero());
    }
}
