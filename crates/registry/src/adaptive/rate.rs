//! How many requests may begin per second, learned from refusals (429): a number of requests at the same time cannot meet a limit
//! of requests per second.
//!
//! The rate is not limited before the first refusal. A refusal sets it to a part of the rate that the registry accepted in the last
//! seconds, and a later one to what it accepted per second since the last one, or in the last seconds; a burst is not counted twice.
//! After the first refusal the limit is raised quickly, until the second one tells more. Later it stays for a while and is raised
//! slowly. It is forgotten once it has risen to several times as much. If a registry refuses even at a rate that pauses would meet as
//! well, the limit is forgotten, and another one may be learned after a while.

use std::collections::VecDeque;
use std::time::Duration;

/// The time over which accepted requests are counted.
const MEASURED: Duration = Duration::from_secs(2);
/// Accepted requests of the same interval of this length are counted together.
const STEP: Duration = Duration::from_millis(100);
/// A registry that accepted fewer requests in [`MEASURED`] is not limited by its rate, or by one that pauses meet as well.
const EVIDENCE_MIN: u32 = 10;
/// Requests in the time of the first pause after a refusal. Of fewer, a pause holds up no more than a limit would.
const REQUESTS_OF_PAUSE: f64 = 2.0;
/// Longest `Retry-After` of a limit of requests per second. A longer one is a quota, or a registry that is overloaded.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// The part of the accepted rate that is used after the first refusal. Registries admit a burst before they refuse.
const FIRST_PART: f64 = 0.9;
/// The part of the rate that is used after a later refusal, at most and at least.
const PART: f64 = 0.95;
const PART_MIN: f64 = 0.7;
/// Accepted requests between refusals that tell a rate.
const BETWEEN_MIN: u32 = 5;
/// Nothing is learned for this long after refusals at [`Rate::least`].
const DOUBT: Duration = Duration::from_secs(30);
/// The rate is not raised for this long after a refusal.
const HOLD: Duration = Duration::from_secs(8);
/// The same after the first refusal, and the rise per second then, until a second one: a burst says little about the rate.
const FIRST_HOLD: Duration = Duration::from_secs(1);
const FIRST_RISE: f64 = 1.2;
/// Rise per second after [`HOLD`], and after [`SLOW_RISE`] of it.
const RISE: f64 = 1.01;
const FAST_RISE: f64 = 1.05;
const SLOW_RISE: Duration = Duration::from_secs(10);
/// A time without requests raises the rate as this time would, at most.
const RISEN_MAX: Duration = Duration::from_mins(1);
/// The limit is forgotten when the rate is this many times the one that was refused.
const FORGET_FACTOR: f64 = 4.0;

/// A learned limit of requests per second. Times are durations since any fixed moment.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    /// Requests per second that are never limited: pauses meet a lower limit as well.
    least: f64,
    limit: Option<Limit>,
    /// Number of accepted requests by the beginning of their step, from `counted_from` on.
    accepted: VecDeque<(Duration, u32)>,
    counted_from: Duration,
    /// Until when nothing is learned.
    doubted_until: Duration,
}

#[derive(Debug, Clone)]
struct Limit {
    per_second: f64,
    /// The limit after the last refusal.
    refused_at: f64,
    refused: Duration,
    /// What one more request that was accepted before the first refusal adds to the limit; [`None`] after a later refusal.
    per_earlier: Option<f64>,
    raised: Duration,
    /// When the next request may begin.
    next: Duration,
}

impl Rate {
    /// Without a limit. `pause`: the first one after a refusal.
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            least: REQUESTS_OF_PAUSE / pause.as_secs_f64().max(f64::MIN_POSITIVE),
            limit: None,
            accepted: VecDeque::new(),
            counted_from: Duration::ZERO,
            doubted_until: Duration::ZERO,
        }
    }

    /// True if requests per second are limited.
    pub(super) const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

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

    /// The registry accepted a request that began at `began`.
    pub(super) fn accepted(&mut self, began: Duration, now: Duration) {
        if self.limit.as_mut().is_some_and(|limit| limit.add_earlier(began, now)) {
            return;
        }
        match self.accepted.back_mut() {
            Some((step, count)) if now.saturating_sub(*step) < STEP => *count += 1,
            _ => self.accepted.push_back((now, 1)),
        }
        self.forget_old(now);
    }

    /// The registry refused a request that began at `began`, and asks to wait for `retry_after`.
    pub(super) fn refused(&mut self, began: Duration, now: Duration, retry_after: Option<Duration>) {
        let is_repeated = self.limit.as_ref().is_some_and(|limit| began < limit.refused);
        if is_repeated || now < self.doubted_until || retry_after.is_some_and(|after| after > RETRY_AFTER_MAX) {
            return;
        }
        self.forget_old(now);
        let count: u32 = self.accepted.iter().map(|(_, count)| count).sum();
        let Some(mut limit) = self.limit.take() else {
            self.limit = self.first_limit(count, now);
            return;
        };
        limit.refused = now;
        // Where nothing was accepted in between, nothing is new.
        if count > 0 {
            limit.fall(count, now.saturating_sub(self.counted_from).min(MEASURED), now);
        }
        if limit.per_second < self.least {
            self.doubted_until = now + DOUBT;
            return;
        }
        // Requests that have a turn keep it. What was refused is sent again, and the registry has no room for it yet.
        limit.next = limit.next.max(now) + Duration::from_secs_f64(1.0 / limit.per_second);
        self.limit = Some(limit);
        if count >= BETWEEN_MIN {
            self.count_from(now);
        }
    }

    /// The limit after the first refusal, if the `count` of accepted requests of the last time tells one.
    fn first_limit(&mut self, count: u32, now: Duration) -> Option<Limit> {
        let since = self.accepted.front().map_or(now, |(step, _)| *step);
        let span = now.saturating_sub(since).max(Duration::from_secs(1));
        let per_request = FIRST_PART / span.as_secs_f64();
        let per_second = f64::from(count) * per_request;
        if count < EVIDENCE_MIN || per_second < self.least {
            return None;
        }
        self.count_from(now);
        Some(Limit {
            per_second,
            refused_at: per_second,
            refused: now,
            per_earlier: Some(per_request),
            raised: now,
            next: now + Duration::from_secs_f64(1.0 / per_second),
        })
    }

    fn count_from(&mut self, now: Duration) {
        self.accepted.clear();
        self.counted_from = now;
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
    /// Adds a request that was accepted before the first refusal, though its answer came later. False if it was not.
    fn add_earlier(&mut self, began: Duration, now: Duration) -> bool {
        let Some(per_earlier) = self.per_earlier else {
            return false;
        };
        let is_earlier = began < self.refused && now.saturating_sub(began) < MEASURED;
        if is_earlier {
            self.per_second += per_earlier;
            self.refused_at += per_earlier;
        }
        is_earlier
    }

    /// The registry refuses again, after it accepted `count` requests in a time.
    fn fall(&mut self, count: u32, time: Duration, now: Duration) {
        let most = self.per_second * PART;
        self.per_second = if count < BETWEEN_MIN {
            most
        } else {
            let accepted = f64::from(count) / time.as_secs_f64().max(f64::MIN_POSITIVE);
            accepted.clamp(self.per_second * PART_MIN, most)
        };
        (self.refused_at, self.raised, self.per_earlier) = (self.per_second, now, None);
    }

    fn raise(&mut self, now: Duration) {
        let seconds = |from: Duration, to: Duration| {
            let risen = now.min(to).saturating_sub(self.raised.max(from));
            risen.min(RISEN_MAX).as_secs_f64()
        };
        self.per_second *= if self.per_earlier.is_some() {
            FIRST_RISE.powf(seconds(self.refused + FIRST_HOLD, Duration::MAX))
        } else {
            let held = self.refused + HOLD;
            let fast = held + SLOW_RISE;
            RISE.powf(seconds(held, fast)) * FAST_RISE.powf(seconds(fast, Duration::MAX))
        };
        self.raised = self.raised.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the registry is not asked after a refusal.
    const PAUSE: Duration = Duration::from_millis(300);

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
                rate: Rate::new(Duration::from_millis(200)),
                now: Duration::ZERO,
                tokens: 20.0,
                accepted: 0,
                refused: 0,
            }
        }

        fn run(&mut self, limit: f64, seconds: u64) {
            self.run_refusing(seconds, |stage, step| {
                stage.tokens = (stage.tokens + step.as_secs_f64() * limit).min(limit.max(1.0));
                let is_accepted = stage.tokens >= 1.0;
                stage.tokens -= f64::from(u8::from(is_accepted));
                is_accepted
            });
        }

        fn run_refusing(&mut self, seconds: u64, mut accepts: impl FnMut(&mut Self, Duration) -> bool) {
            (self.accepted, self.refused) = (0, 0);
            let end = self.now + Duration::from_secs(seconds);
            let mut pause = Duration::ZERO;
            while self.now < end {
                let step = pause + self.rate.begin(self.now + pause).max(Duration::from_millis(2));
                self.now += step;
                pause = Duration::ZERO;
                if accepts(self, step) {
                    self.accepted += 1;
                    self.rate.accepted(self.now, self.now);
                } else {
                    self.refused += 1;
                    self.rate.refused(self.now, self.now, None);
                    pause = PAUSE;
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

    /// Many clients at the same time, and a registry that accepts `limit` requests per second and a burst. Each client waits for its
    /// turn, and for another one if requests are paused by then. How many requests were accepted, and how many refused.
    fn run_clients(clients: usize, limit: f64, burst: f64, seconds: u64) -> [u32; 2] {
        let (mut rate, mut counts) = (Rate::new(Duration::from_millis(200)), [0, 0]);
        let (mut tokens, mut filled, mut paused_until) = (burst, Duration::ZERO, Duration::ZERO);
        // When each client is ready, and whether it has a turn then.
        let mut ready = vec![(Duration::ZERO, false); clients];
        loop {
            let (client, (now, has_turn)) = ready
                .iter()
                .copied()
                .enumerate()
                .min_by_key(|(_, (at, _))| *at)
                .unwrap();
            if now > Duration::from_secs(seconds) {
                return counts;
            }
            ready[client] = if now < paused_until {
                (paused_until, false)
            } else if !has_turn {
                (now + rate.begin(now), true)
            } else {
                tokens = (tokens + (now.saturating_sub(filled)).as_secs_f64() * limit).min(burst);
                filled = now;
                let is_accepted = tokens >= 1.0;
                counts[usize::from(!is_accepted)] += 1;
                if is_accepted {
                    tokens -= 1.0;
                    rate.accepted(now, now);
                    (now + Duration::from_millis(2), false)
                } else {
                    rate.refused(now, now, None);
                    paused_until = now + PAUSE;
                    (paused_until, false)
                }
            };
        }
    }

    #[test]
    fn many_clients_meet_a_limit_from_the_beginning() {
        for (clients, burst, least) in [
            (8, 5.0, 16),
            (64, 11.0, 17),
            (8, 20.0, 18),
            (64, 20.0, 18),
            (64, 40.0, 18),
            (64, 100.0, 18),
        ] {
            let [accepted, refused] = run_clients(clients, 20.0, burst, 20);
            assert!(accepted >= 20 * least, "{clients} clients, burst {burst}: {accepted}");
            assert!(refused <= 8, "{clients} clients, burst {burst}: {refused}");
        }
    }

    #[test]
    fn many_clients_have_few_refusals_in_the_long_run() {
        for (clients, burst) in [(8, 20.0), (64, 20.0), (64, 5.0), (64, 100.0)] {
            let [accepted, refused] = run_clients(clients, 20.0, burst, 300);
            assert!(accepted >= 300 * 17, "{clients} clients, burst {burst}: {accepted}");
            assert!(
                refused * 100 <= accepted,
                "{clients} clients, burst {burst}: {refused} of {accepted}"
            );
        }
    }

    #[test]
    fn a_request_that_was_accepted_before_a_refusal_counts_when_its_answer_comes() {
        let mut rate = Rate::new(Duration::from_millis(200));
        let at = Duration::from_millis;
        (0..12).for_each(|_| rate.accepted(at(10_010), at(10_050)));
        rate.refused(at(10_020), at(10_050), None);
        let learned = |rate: &Rate| rate.limit.as_ref().unwrap().per_second;
        assert!((learned(&rate) - 12.0 * FIRST_PART).abs() < 0.01, "{}", learned(&rate));
        (0..8).for_each(|_| rate.accepted(at(10_020), at(10_060)));
        assert!((learned(&rate) - 20.0 * FIRST_PART).abs() < 0.01, "{}", learned(&rate));
        rate.accepted(at(10_070), at(10_090));
        assert!((learned(&rate) - 20.0 * FIRST_PART).abs() < 0.01, "it began later");
        (0..8).for_each(|_| rate.accepted(at(7_000), at(10_100)));
        assert!(
            (learned(&rate) - 20.0 * FIRST_PART).abs() < 0.01,
            "uploads that took long"
        );
    }

    #[test]
    fn what_tells_no_limit_does_not_prevent_that_one_is_learned() {
        let mut rate = Rate::new(Duration::from_millis(200));
        let at = Duration::from_millis;
        (0..10).for_each(|_| rate.accepted(at(10), at(10)));
        rate.refused(at(10), at(12), None);
        assert!(rate.limit.is_none(), "9 per second are not limited");
        (0..10).for_each(|_| rate.accepted(at(20), at(20)));
        rate.refused(at(20), at(22), None);
        assert!(rate.limit.is_some());
    }

    #[test]
    fn refusals_without_an_answer_in_between_change_nothing() {
        let mut rate = Rate::new(Duration::from_millis(200));
        let at = Duration::from_millis;
        (0..40).for_each(|number| rate.accepted(at(25 * number), at(25 * number)));
        for now in (1000..20_000).step_by(500) {
            rate.refused(at(now), at(now), None);
        }
        let learned = rate.limit.unwrap().per_second;
        assert!((learned - 36.0).abs() < 0.1, "{learned}");
    }

    #[test]
    fn a_limit_rises_alike_whether_it_is_used_or_not() {
        let mut used = Rate::new(Duration::from_millis(200));
        let at = Duration::from_millis;
        for refused in [1000, 2000] {
            (0..40).for_each(|number| used.accepted(at(refused - 25 * number), at(refused)));
            used.refused(at(refused), at(refused), None);
        }
        let mut idle = used.clone();
        for second in 3..=24 {
            used.begin(at(1000 * second));
        }
        idle.begin(at(24_000));
        let [used, idle] = [used, idle].map(|rate| rate.limit.unwrap().per_second);
        assert!((used - idle).abs() < 0.01, "{used} {idle}");
        // 10 s slowly and 4 s quickly.
        let expected = 40.0 * FIRST_PART * PART * RISE.powi(10) * FAST_RISE.powi(4);
        assert!((used - expected).abs() < 0.1, "{used} {expected}");
    }

    #[test]
    fn after_a_burst_the_rate_is_found_soon() {
        let [accepted, refused] = run_clients(64, 100.0, 20.0, 20);
        assert!(accepted >= 20 * 50, "{accepted}");
        assert!(refused <= 12, "{refused}");
    }

    #[test]
    fn a_limit_that_is_much_too_high_falls_by_what_was_accepted_between_two_refusals() {
        let mut rate = Rate::new(Duration::from_millis(200));
        let at = Duration::from_millis;
        (0..40).for_each(|number| rate.accepted(at(25 * number), at(25 * number)));
        rate.refused(at(1000), at(1000), None);
        (0..20).for_each(|number| rate.accepted(at(1000 + 40 * number), at(1000 + 40 * number)));
        rate.refused(at(1800), at(1800), None);
        let learned = rate.limit.as_ref().unwrap().per_second;
        // 20 in 0.8 s, and at least 0.7 of 36.
        assert!((learned - 25.2).abs() < 0.1, "{learned}");
        (0..20).for_each(|number| rate.accepted(at(1800 + 50 * number), at(1800 + 50 * number)));
        rate.refused(at(2800), at(2800), None);
        let learned = rate.limit.as_ref().unwrap().per_second;
        assert!((learned - 20.0).abs() < 0.1, "{learned}");
    }

    #[test]
    fn a_limit_that_falls_is_met_and_one_that_ends_is_forgotten() {
        let mut stage = Stage::new();
        stage.run(20.0, 60);
        stage.run(12.0, 60);
        assert!(stage.refused <= 15, "{}", stage.refused);
        stage.run(12.0, 60);
        assert!(stage.accepted >= 11 * 60, "{}", stage.accepted);
        assert!(stage.refused <= 15, "{}", stage.refused);
        stage.run(1e9, 200);
        assert!(stage.rate.limit.is_none(), "{:?}", stage.rate.limit);
    }

    #[test]
    fn a_limit_that_falls_to_a_tenth_is_met() {
        let mut stage = Stage::new();
        stage.run(200.0, 60);
        stage.run(20.0, 20);
        assert!(stage.refused <= 30, "{}", stage.refused);
        stage.run(20.0, 60);
        assert!(stage.accepted >= 60 * 18, "{}", stage.accepted);
        assert!(stage.refused <= 12, "{}", stage.refused);
    }

    #[test]
    fn refusals_that_have_nothing_to_do_with_the_rate_cost_less_than_half_of_it() {
        let every_tenth = |stage: &mut Stage| {
            let mut number = 0_u32;
            stage.run_refusing(120, |_, _| {
                number += 1;
                !number.is_multiple_of(10)
            });
            stage.accepted
        };
        let mut unlimited = Stage::new();
        unlimited.rate.doubted_until = Duration::MAX;
        let (limited, unlimited) = (every_tenth(&mut Stage::new()), every_tenth(&mut unlimited));
        assert!(2 * limited > unlimited, "{limited} of {unlimited}");
    }

    #[test]
    fn few_answers_and_long_waits_teach_nothing() {
        let at = |tenths: u32| Duration::from_millis(100) * tenths;
        let mut rate = Rate::new(Duration::from_secs(1));
        for number in 0..9 {
            rate.accepted(at(number), at(number));
        }
        rate.refused(at(9), at(10), None);
        assert!(rate.limit.is_none(), "nine requests prove nothing");
        for number in 0..20 {
            rate.accepted(at(number), at(number));
        }
        rate.refused(at(20), at(20), Some(Duration::from_mins(1)));
        assert!(rate.limit.is_none(), "a quota");
        rate.refused(at(20), at(20), Some(Duration::from_secs(1)));
        assert!(rate.limit.is_some());
    }

    #[test]
    fn refusals_of_the_same_moment_count_once() {
        let mut rate = Rate::new(Duration::from_secs(1));
        for at in 0..100_u32 {
            rate.accepted(Duration::from_millis(20) * at, Duration::from_millis(20) * at);
        }
        let now = Duration::from_secs(2);
        for _ in 0..30 {
            rate.refused(Duration::from_millis(1950), now, None);
        }
        let limit = rate.limit.unwrap().per_second;
        // 100 in 2 s.
        assert!((limit - 45.0).abs() < 0.3, "{limit}");
    }

    #[test]
    fn a_clock_that_jumps_back_harms_nothing() {
        let mut rate = Rate::new(Duration::from_secs(1));
        for _ in 0..20 {
            rate.accepted(Duration::from_hours(1), Duration::from_hours(1));
        }
        rate.refused(Duration::from_hours(1), Duration::from_hours(1), None);
        assert!(rate.begin(Duration::ZERO) <= Duration::from_secs(2) + Duration::from_hours(1));
        rate.accepted(Duration::ZERO, Duration::ZERO);
        rate.refused(Duration::from_hours(2), Duration::from_hours(2), None);
    }
}
