//! How many connections to a registry are open, as far as this process can tell, and when one more may be opened ahead.
//!
//! Times are durations since any fixed moment, so that tests need no clock.

use std::time::Duration;

use crate::spares::MAX_AGE;

/// A registry that answers so soon is near: opening a connection takes it no time that matters, and costs both sides work.
const NEAR: Duration = Duration::from_millis(10);

/// Time between two connections that are opened ahead: a small server accepts few at the same time.
const INTERVAL: Duration = Duration::from_millis(2);

/// A count of connections. It may be too high or too low: then a request opens its own, or a connection is closed unused.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    open: usize,
    counted: Duration,
    /// When the next one may be opened.
    next: Duration,
    /// The shortest time that an answer took.
    soonest: Option<Duration>,
}

impl Connections {
    /// A request was answered after this time.
    pub(super) fn answered(&mut self, after: Duration) {
        self.soonest = Some(self.soonest.map_or(after, |soonest| soonest.min(after)));
    }

    /// True if no connection is worth opening ahead.
    pub(super) fn is_near(&self) -> bool {
        self.soonest.is_some_and(|soonest| soonest < NEAR)
    }

    /// How long after `now` one more is to be opened; [`None`]: there are `wanted` already. `in_progress`: requests, each of which has
    /// one.
    pub(super) fn open(&mut self, wanted: usize, in_progress: usize, now: Duration) -> Option<Duration> {
        if self.is_near() {
            return None;
        }
        // Those that no request used are closed by now.
        if now.saturating_sub(self.counted) >= MAX_AGE {
            self.open = 0;
        }
        if self.open <= in_progress {
            (self.open, self.counted) = (in_progress, now);
        }
        if self.open >= wanted {
            return None;
        }
        self.open += 1;
        self.counted = now;
        let turn = self.next.max(now);
        self.next = turn + INTERVAL;
        Some(turn.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_opened_as_are_wanted_one_after_another() {
        let mut connections = Connections::default();
        let waits: Vec<_> = std::iter::from_fn(|| connections.open(8, 5, Duration::ZERO)).collect();
        assert_eq!(waits, [Duration::ZERO, INTERVAL, INTERVAL * 2]);
    }

    #[test]
    fn those_that_were_closed_are_opened_again() {
        let mut connections = Connections::default();
        assert!(connections.open(1, 0, Duration::ZERO).is_some());
        assert!(connections.open(1, 0, Duration::from_secs(1)).is_none());
        assert!(connections.open(1, 0, Duration::from_secs(5)).is_some());
    }

    #[test]
    fn none_is_opened_to_a_registry_that_is_near() {
        let mut connections = Connections::default();
        connections.answered(Duration::from_millis(50));
        assert!(connections.open(1, 0, Duration::ZERO).is_some());
        connections.answered(Duration::from_millis(2));
        connections.answered(Duration::from_millis(50));
        assert!(connections.open(2, 0, Duration::ZERO).is_none());
    }

    #[test]
    fn a_clock_that_jumps_harms_nothing() {
        let mut connections = Connections::default();
        assert!(connections.open(1, 0, Duration::from_hours(1)).is_some());
        assert!(connections.open(2, 0, Duration::ZERO).is_some());
        assert!(connections.open(2, 0, Duration::ZERO).is_none());
    }
}
