//! How many requests may begin per second, learned from refusals (429): a number of requests at the same time cannot meet a limit
//! of requests per second.
//!
//! Without a refusal there is no limit. After one it is what the registry accepted lately. It is held for a while, then probed
//! slowly, and forgotten once the registry bears several times as much.

use std::collections::VecDeque;
use std::time::Duration;

/// The time over which accepted requests are counted.
const MEASURED: Duration = Duration::from_secs(2);
/// Accepted requests of the same interval of this length are counted together.
const STEP: Duration = Duration::from_millis(100);
/// The part of the accepted rate that is used after the first refusal. Registries admit a burst before they refuse.
const FIRST_PART: f64 = 0.9;
/// The part of the rate that is used after a later refusal.
const LATER_PART: f64 = 0.95;
/// A refusal lowers the rate by half at most.
const LEAST_PART: f64 = 0.5;
/// The rate is not raised for this long after a refusal.
const HOLD: Duration = Duration::from_secs(20);
/// Rise per second after [`HOLD`], and after [`SLOW_RISE`] of it.
const RISE: f64 = 1.01;
const FAST_RISE: f64 = 1.05;
const SLOW_RISE: Duration = Duration::from_mins(1);
/// The limit is forgotten when the rate is this many times the one that was refused.
const FORGET_FACTOR: f64 = 4.0;
/// Requests per second that are allowed at least.
const MIN: f64 = 0.5;

/// A learned limit of requests per second.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    limit: Option<Limit>,
    /// Number of accepted requests by the beginning of their step.
    accepted: VecDeque<(Duration, u32)>,
}

#[derive(Debug, Clone)]
struct Limit {
    per_second: f64,
    /// The rate at the last refusal.
    refused_at: f64,
    refused: Duration,
    raised: Duration,
    /// When the next request may begin.
    next: Duration,
}

impl Rate {
    /// How long a request that is ready at `now` waits for its turn.
    pub(super) fn begin(&mut self, now: Duration) -> Duration {
        let Some(limit) = &mut self.limit else {
            return Duration::ZERO;
        };
        limit.raise(now);
        if limit.per_second > limit.refused_at * FORGET_FACTOR {
            self.limit = None;
            return Duration::ZERO;
        }
        let turn = limit.next.max(now);
        limit.next = turn + Duration::from_secs_f64(1.0 / limit.per_second);
        turn.saturating_sub(now)
    }

    /// The registry accepted a request.
    pub(super) fn accepted(&mut self, now: Duration) {
        match self.accepted.back_mut() {
            Some((began, count)) if now.saturating_sub(*began) < STEP => *count += 1,
            _ => self.accepted.push_back((now, 1)),
        }
        self.forget_old(now);
    }

    /// The registry refused a request that began at `began`.
    pub(super) fn refused(&mut self, began: Duration, now: Duration) {
        if self.limit.as_ref().is_some_and(|limit| began < limit.refused) {
            return;
        }
        let seen = self.seen(now);
        let per_second = match &self.limit {
            None => seen * FIRST_PART,
            Some(limit) => (limit.per_second * LATER_PART).min(seen.max(limit.per_second * LEAST_PART)),
        };
        let per_second = per_second.max(MIN);
        self.limit = Some(Limit {
            per_second,
            refused_at: per_second,
            refused: now,
            raised: now,
            // What was refused is sent again, and the registry has no room for it yet.
            next: now + Duration::from_secs_f64(1.0 / per_second),
        });
    }

    /// Accepted requests per second.
    fn seen(&mut self, now: Duration) -> f64 {
        self.forget_old(now);
        let count: u32 = self.accepted.iter().map(|(_, count)| count).sum();
        let since = self.accepted.front().map_or(now, |(began, _)| *began);
        let span = now.saturating_sub(since).max(Duration::from_secs(1));
        f64::from(count) / span.as_secs_f64()
    }

    fn forget_old(&mut self, now: Duration) {
        while let Some((began, _)) = self.accepted.front()
            && now.saturating_sub(*began) > MEASURED
        {
            self.accepted.pop_front();
        }
    }
}

impl Limit {
    fn raise(&mut self, now: Duration) {
        let held = self.refused + HOLD;
        let from = self.raised.max(held);
        let Some(seconds) = now.checked_sub(from).map(|risen| risen.as_secs_f64()) else {
            return;
        };
        let rise = if now > held + SLOW_RISE { FAST_RISE } else { RISE };
        self.per_second *= rise.powf(seconds.min(SLOW_RISE.as_secs_f64()));
        self.raised = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registry that accepts a number of requests per second, with a burst of as many, asked without a pause by one client.
    struct Stage {
        rate: Rate,
        now: Duration,
        tokens: f64,
        accepted: u32,
        refused: u32,
    }

    impl Stage {
        fn new() -> Self {
            Self {
                rate: Rate::default(),
                now: Duration::ZERO,
                tokens: 20.0,
                accepted: 0,
                refused: 0,
            }
        }

        fn run(&mut self, limit: f64, seconds: u64) {
            (self.accepted, self.refused) = (0, 0);
            let end = self.now + Duration::from_secs(seconds);
            while self.now < end {
                let step = self.rate.begin(self.now).max(Duration::from_millis(2));
                self.now += step;
                self.tokens = (self.tokens + step.as_secs_f64() * limit).min(limit.max(1.0));
                if self.tokens >= 1.0 {
                    self.tokens -= 1.0;
                    self.accepted += 1;
                    self.rate.accepted(self.now);
                } else {
                    self.refused += 1;
                    self.rate.refused(self.now, self.now);
                }
            }
        }
    }

    #[test]
    fn a_limit_is_met_with_few_refusals() {
        let mut stage = Stage::new();
        stage.run(20.0, 10);
        stage.run(20.0, 300);
        let per_second = f64::from(stage.accepted) / 300.0;
        assert!(per_second >= 18.0, "{per_second}");
        assert!(
            f64::from(stage.refused) <= 0.01 * f64::from(stage.accepted),
            "{}",
            stage.refused
        );
    }

    #[test]
    fn the_first_seconds_have_few_refusals_too() {
        let mut stage = Stage::new();
        stage.run(20.0, 60);
        assert!(stage.refused <= 12, "{}", stage.refused);
        assert!(stage.accepted >= 60 * 17, "{}", stage.accepted);
    }

    #[test]
    fn a_limit_that_falls_is_met_and_one_that_ends_is_forgotten() {
        let mut stage = Stage::new();
        stage.run(20.0, 60);
        stage.run(2.0, 60);
        stage.run(2.0, 60);
        assert!(
            stage.accepted >= 60 && stage.refused <= 10,
            "{} {}",
            stage.accepted,
            stage.refused
        );
        stage.run(1e9, 200);
        assert!(stage.rate.limit.is_none(), "{:?}", stage.rate.limit);
    }

    #[test]
    fn refusals_of_the_same_moment_count_once() {
        let mut rate = Rate::default();
        for at in 0..100_u32 {
            rate.accepted(Duration::from_millis(20) * at);
        }
        let now = Duration::from_secs(2);
        for _ in 0..30 {
            rate.refused(Duration::from_millis(1950), now);
        }
        let limit = rate.limit.unwrap().per_second;
        assert!((40.0..=50.0).contains(&limit), "{limit}");
    }

    #[test]
    fn a_clock_that_jumps_back_harms_nothing() {
        let mut rate = Rate::default();
        rate.accepted(Duration::from_hours(1));
        rate.refused(Duration::from_hours(1), Duration::from_hours(1));
        assert!(rate.begin(Duration::ZERO) <= Duration::from_secs(2) + Duration::from_hours(1));
        rate.accepted(Duration::ZERO);
        rate.refused(Duration::from_hours(2), Duration::from_hours(2));
    }
}
