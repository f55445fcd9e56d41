//! How many requests may be in progress at the same time: grows by answers, and is halved by refusals and by rising latency.
//!
//! Times are durations since any fixed moment, so that tests need no clock.

use std::time::Duration;

/// The least number in progress.
const MIN: f64 = 1.0;
/// The latency is compared with the lowest of this time and of as much before it, so a registry that becomes slower for good is
/// judged by its new latency soon.
const BASE_PERIOD: Duration = Duration::from_secs(30);
/// Latency counts as risen if it is this many times the lowest, and above it by [`RISE_MIN`] as well.
const RISE_FACTOR: f64 = 4.0;
/// Least rise in seconds. The answers of a quick registry differ by more than a factor without being slow.
const RISE_MIN: f64 = 0.1;
/// The weight of a new measurement in the smoothed latency.
const SMOOTHING: f64 = 0.2;
/// Time for each place that is added. A place is a new connection at first, and a small server accepts few at the same time: what it
/// has no room for waits for seconds.
const GROWTH_INTERVAL: Duration = Duration::from_millis(2);
/// Places that an answer adds before the first cut, so that a distant registry is asked for as much as it bears within few rounds.
const FIRST_GROWTH: f64 = 2.0;
/// Places that are added at once after a time without growth, at most.
const GROWTH_MAX: f64 = 32.0;
/// An answer that takes this many times the lowest latency, and [`PATIENCE_MIN`] as well, is not waited for alone.
const PATIENCE_FACTOR: f64 = 20.0;
const PATIENCE_MIN: Duration = Duration::from_secs(3);
/// Measurements after a cut before the latency is judged again.
const SAMPLES_MIN: u32 = 8;

/// How large a window may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// At first.
    pub(super) first: u16,
    /// At most before the first answer.
    pub(super) unanswered: u16,
    /// At most.
    pub(super) max: u16,
}

/// A number of requests (or uploads) that adapts to how they are answered.
#[derive(Debug, Clone)]
pub(super) struct Window {
    size: f64,
    /// At most before the first answer.
    unanswered: f64,
    max: f64,
    /// Places that will be added without an answer.
    coming: f64,
    /// When the last of them is added.
    last_coming: Duration,
    /// Each answer adds [`FIRST_GROWTH`] places, until the first cut.
    is_new: bool,
    /// What began before this time was sent under the larger window, and cuts nothing.
    cut_at: Option<Duration>,
    /// Places that may be added now, and when that was counted.
    growth: (f64, Duration),
    latency: Latency,
}

impl Window {
    /// Nothing is known yet.
    pub(super) fn new(Sizes { first, unanswered, max }: Sizes) -> Self {
        let max = f64::from(max).max(MIN);
        Self {
            size: f64::from(first).clamp(MIN, max),
            unanswered: f64::from(unanswered).clamp(MIN, max),
            max,
            coming: 0.0,
            last_coming: Duration::ZERO,
            is_new: true,
            cut_at: None,
            growth: (0.0, Duration::ZERO),
            latency: Latency::default(),
        }
    }

    /// The number that may be in progress; at least 1.
    pub(super) const fn size(&self) -> usize {
        whole(self.size)
    }

    /// The number that may be in progress before the first answer.
    pub(super) fn first_size(&self) -> usize {
        whole(if self.is_new {
            self.size.max(self.unanswered)
        } else {
            self.size
        })
    }

    /// The number that may be in progress once what is in progress is answered well.
    pub(super) fn next_size(&self) -> usize {
        let added = if self.is_new { self.size * FIRST_GROWTH } else { 0.0 };
        whole((self.size + added).min(self.max))
    }

    /// How long a request waits for a place that is added for it though nothing was answered: the answers of a distant registry take
    /// long, and one that is near has answered before. [`None`]: no place is added. It ends with [`Self::come`].
    pub(super) fn coming(&mut self, now: Duration) -> Option<Duration> {
        if !self.is_new || self.size + self.coming + 1.0 > self.unanswered {
            return None;
        }
        self.coming += 1.0;
        self.last_coming = self.last_coming.max(now) + GROWTH_INTERVAL;
        Some(self.last_coming.saturating_sub(now))
    }

    /// The wait is over: the place is added if it `is_needed`.
    pub(super) fn come(&mut self, is_needed: bool) {
        self.coming -= 1.0;
        if is_needed && self.is_new {
            self.size = (self.size + 1.0).min(self.max);
            self.growth.0 -= 1.0;
        }
    }

    /// A request that began at `began` was answered at `now`; `in_progress` is how many were in progress, with it. `latency`: of a
    /// request whose answer takes the registry little work; [`None`] for others.
    pub(super) fn answered(&mut self, began: Duration, now: Duration, in_progress: usize, latency: Option<Duration>) {
        let counts = self.cut_at.is_none_or(|cut| began >= cut);
        if let Some(latency) = latency.filter(|_| counts) {
            self.latency.record(latency, now);
            if self.latency.has_risen() {
                self.cut(began, now);
                return;
            }
        }
        // A window that is not used proves nothing.
        if !counts || in_progress * 2 < self.size() {
            return;
        }
        let wanted = if self.is_new { FIRST_GROWTH } else { 1.0 / self.size };
        let (left, counted) = self.growth;
        let gained = now.saturating_sub(counted).as_secs_f64() / GROWTH_INTERVAL.as_secs_f64();
        let left = (left + gained).min(GROWTH_MAX);
        let added = if left >= wanted { wanted } else { 0.0 };
        self.growth = (left - added, now.max(counted));
        self.size = (self.size + added).min(self.max);
    }

    /// How long the answer to a request that takes the registry little work may take before it is asked again: much longer than
    /// answers take lately. [`None`]: too little is known.
    pub(super) fn patience(&self) -> Option<Duration> {
        let lowest = self.latency.lowest().filter(|_| self.latency.samples >= SAMPLES_MIN)?;
        Some(Duration::from_secs_f64(lowest * PATIENCE_FACTOR).max(PATIENCE_MIN))
    }

    /// The registry refused a request that began at `began`, or did not answer it.
    pub(super) fn refused(&mut self, began: Duration, now: Duration) {
        self.cut(began, now);
    }

    /// Halves the window, once for all that was in progress.
    fn cut(&mut self, began: Duration, now: Duration) {
        if self.cut_at.is_some_and(|cut| began < cut) {
            return;
        }
        self.size = (self.size / 2.0).max(MIN);
        self.is_new = false;
        self.cut_at = Some(now);
        self.latency.forget_smoothed();
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and the maximum"
)]
const fn whole(size: f64) -> usize {
    size as usize
}

/// The latency of a registry: smoothed, and the lowest of lately. In seconds.
#[derive(Debug, Clone, Default)]
struct Latency {
    smoothed: Option<f64>,
    samples: u32,
    lowest: Option<f64>,
    lowest_before: Option<f64>,
    period_began: Duration,
}

impl Latency {
    fn record(&mut self, latency: Duration, now: Duration) {
        let seconds = latency.as_secs_f64();
        if now.saturating_sub(self.period_began) >= BASE_PERIOD {
            self.lowest_before = self.lowest.take();
            self.period_began = now;
        }
        self.lowest = Some(self.lowest.map_or(seconds, |known| known.min(seconds)));
        self.smoothed = Some(
            self.smoothed
                .map_or(seconds, |known| known + SMOOTHING * (seconds - known)),
        );
        self.samples = self.samples.saturating_add(1);
    }

    fn lowest(&self) -> Option<f64> {
        let known = self.lowest.into_iter().chain(self.lowest_before);
        known.reduce(f64::min)
    }

    fn has_risen(&self) -> bool {
        let Some(lowest) = self.lowest() else { return false };
        self.samples >= SAMPLES_MIN
            && self
                .smoothed
                .is_some_and(|smoothed| smoothed > lowest * RISE_FACTOR && smoothed > lowest + RISE_MIN)
    }

    const fn forget_smoothed(&mut self) {
        self.smoothed = None;
        self.samples = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registry that answers `bears` requests at the same time after 50 ms, and is asked in rounds of a full window.
    struct Rounds {
        window: Window,
        now: Duration,
    }

    impl Rounds {
        fn new(max: u16) -> Self {
            Self {
                window: Window::new(sizes(8, max)),
                now: Duration::ZERO,
            }
        }

        /// Several rounds; the number of answers.
        fn rounds(&mut self, count: usize, bears: usize, latency: Duration) -> usize {
            (0..count).map(|_| self.round(bears, latency)).sum()
        }

        /// One round: what is beyond `bears` is refused; every answer takes `latency`.
        fn round(&mut self, bears: usize, latency: Duration) -> usize {
            let (began, size) = (self.now, self.window.size());
            self.now += latency;
            for at in 0..size {
                if at < bears {
                    self.window.answered(began, self.now, size, Some(latency));
                } else {
                    self.window.refused(began, self.now);
                }
            }
            size.min(bears)
        }
    }

    const QUICK: Duration = Duration::from_millis(50);

    fn sizes(first: u16, max: u16) -> Sizes {
        Sizes {
            first,
            unanswered: 32,
            max,
        }
    }

    #[test]
    fn before_the_first_answer_places_are_added_one_after_another() {
        let mut window = Window::new(sizes(8, 64));
        let waits: Vec<_> = std::iter::from_fn(|| window.coming(QUICK)).collect();
        let expected: Vec<_> = (1..=24).map(|place| GROWTH_INTERVAL * place).collect();
        assert_eq!(waits, expected);
        window.come(false);
        (1..24).for_each(|_| window.come(true));
        assert_eq!(window.size(), 31);
        window.refused(QUICK, QUICK * 2);
        assert_eq!(window.coming(QUICK * 3), None);
    }

    #[test]
    fn it_grows_to_its_maximum_while_all_is_well() {
        let mut rounds = Rounds::new(64);
        for _ in 0..4 {
            rounds.round(usize::MAX, QUICK);
        }
        assert_eq!(rounds.window.size(), 64);
    }

    #[test]
    fn one_round_of_refusals_halves_it_once() {
        let mut window = Window::new(sizes(32, 64));
        for _ in 0..32 {
            window.refused(Duration::ZERO, QUICK);
        }
        assert_eq!(window.size(), 16);
        window.refused(QUICK, QUICK * 2);
        assert_eq!(window.size(), 8);
    }

    #[test]
    fn under_an_unknown_limit_most_of_it_is_used() {
        let mut rounds = Rounds::new(64);
        rounds.rounds(50, 20, QUICK);
        let served = rounds.rounds(200, 20, QUICK);
        assert!(served >= 200 * 14, "{served} of {}", 200 * 20);
    }

    #[test]
    fn it_recovers_by_itself() {
        let mut rounds = Rounds::new(64);
        rounds.rounds(20, 1, QUICK);
        assert!(rounds.window.size() <= 2);
        rounds.rounds(100, usize::MAX, QUICK);
        assert!(rounds.window.size() >= 13, "{}", rounds.window.size());
    }

    #[test]
    fn a_registry_that_becomes_slow_is_asked_less_and_one_that_stays_slow_more_again() {
        let mut rounds = Rounds::new(64);
        rounds.rounds(10, usize::MAX, QUICK);
        let slow = Duration::from_millis(800);
        rounds.rounds(10, usize::MAX, slow);
        assert!(rounds.window.size() <= 8, "{}", rounds.window.size());
        rounds.rounds(200, usize::MAX, slow);
        assert!(rounds.window.size() >= 16, "{}", rounds.window.size());
    }

    #[test]
    fn the_noise_of_a_quick_registry_is_no_rise() {
        let mut window = Window::new(sizes(64, 64));
        let mut now = Duration::ZERO;
        for turn in 0..1000_u32 {
            let latency = Duration::from_millis(u64::from(1 + turn % 40));
            window.answered(now, now + latency, 64, Some(latency));
            now += latency;
        }
        assert_eq!(window.size(), 64);
    }

    #[test]
    fn an_answer_is_waited_for_as_long_as_others_suggest() {
        let mut window = Window::new(sizes(8, 64));
        let answer = |window: &mut Window, latency| window.answered(Duration::ZERO, latency, 1, Some(latency));
        for _ in 0..SAMPLES_MIN {
            assert_eq!(window.patience(), None);
            answer(&mut window, QUICK);
        }
        assert_eq!(window.patience(), Some(PATIENCE_MIN));
        let mut slow = Window::new(sizes(8, 64));
        (0..SAMPLES_MIN).for_each(|_| answer(&mut slow, Duration::from_secs(1)));
        assert_eq!(slow.patience(), Some(Duration::from_secs(20)));
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut window = Window::new(sizes(8, 64));
        for turn in 0..1000_u32 {
            let now = QUICK * turn;
            window.answered(now, now + QUICK, 1, Some(QUICK));
        }
        assert_eq!(window.size(), 8);
    }

    #[test]
    fn a_clock_that_jumps_harms_nothing() {
        let mut window = Window::new(sizes(8, 64));
        window.refused(Duration::from_hours(10), Duration::from_hours(10));
        for _ in 0..100 {
            window.answered(Duration::ZERO, Duration::ZERO, 8, Some(Duration::ZERO));
        }
        assert!((1..=64).contains(&window.size()));
    }
}
