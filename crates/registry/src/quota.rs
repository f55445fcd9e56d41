//! How many pulls a registry still allows, as it says itself.
//!
//! Docker Hub sends `RateLimit-Limit: 100;w=21600` and `RateLimit-Remaining: 76;w=21600` with answers to manifest requests: so many
//! pulls in so many seconds (<https://docs.docker.com/docker-hub/usage/pulls/>). Others send headers of these names about requests
//! and without the window `w`; these are not read.

use std::time::{Duration, Instant};

use http::HeaderMap;

/// An answer that is older says nothing any more: pulls come back all the time.
const KNOWN_FOR: Duration = Duration::from_mins(15);
/// Windows that are shorter limit requests, not pulls.
const WINDOW_MIN: Duration = Duration::from_mins(10);
/// The part of all pulls that is left to pushes and other users of the login.
const RESERVED_PART: u64 = 10;

/// What a registry said about pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Pulls that are allowed in the window.
    pub limit: u64,
    /// Pulls that are left.
    pub remaining: u64,
    /// The window.
    pub window: Duration,
}

impl Quota {
    /// What `headers` say; [`None`] if they say nothing about pulls.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let (limit, window) = read(headers, "ratelimit-limit")?;
        let (remaining, _) = read(headers, "ratelimit-remaining")?;
        (window >= WINDOW_MIN).then_some(Self {
            limit,
            remaining,
            window,
        })
    }

    /// True if only the tenth is left that is reserved for pushes.
    pub const fn is_low(&self) -> bool {
        self.remaining <= self.limit / RESERVED_PART
    }
}

/// A number and its window: `76;w=21600`.
fn read(headers: &HeaderMap, name: &str) -> Option<(u64, Duration)> {
    let mut parts = headers.get(name)?.to_str().ok()?.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w="))?.parse().ok()?;
    Some((number, Duration::from_secs(window)))
}

/// The last [`Quota`] of a registry, and when it was said.
#[derive(Debug, Default)]
pub(crate) struct LastQuota(Option<(Quota, Instant)>);

impl LastQuota {
    pub(crate) fn learn(&mut self, headers: &HeaderMap, now: Instant) {
        if let Some(quota) = Quota::of(headers) {
            self.0 = Some((quota, now));
        }
    }

    pub(crate) fn get(&self, now: Instant) -> Option<Quota> {
        let (quota, said) = self.0?;
        (now.saturating_duration_since(said) < KNOWN_FOR).then_some(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(limit: &str, remaining: &str) -> HeaderMap {
        HeaderMap::from_iter([
            ("ratelimit-limit".parse().unwrap(), limit.parse().unwrap()),
            ("ratelimit-remaining".parse().unwrap(), remaining.parse().unwrap()),
        ])
    }

    #[test]
    fn pulls_that_are_left_are_read_and_nothing_else_is() {
        let quota = Quota::of(&headers("100;w=21600", "76;w=21600")).unwrap();
        assert_eq!((quota.limit, quota.remaining), (100, 76));
        assert_eq!(quota.window, Duration::from_hours(6));
        for (limit, remaining) in [
            ("2000", "1999"),
            ("100;w=60", "1;w=60"),
            ("100;w=21600", "x"),
            ("-1;w=21600", "1;w=21600"),
            ("100;w=99999999999999999999", "1"),
        ] {
            assert_eq!(Quota::of(&headers(limit, remaining)), None, "{limit} {remaining}");
        }
    }

    #[test]
    fn a_tenth_is_reserved_and_an_old_answer_is_forgotten() {
        let is_low = |remaining: &str| Quota::of(&headers("100;w=21600", remaining)).unwrap().is_low();
        assert!(is_low("10;w=21600") && is_low("0;w=21600") && !is_low("11;w=21600"));
        let (mut last, now) = (LastQuota::default(), Instant::now());
        last.learn(&headers("100;w=21600", "3;w=21600"), now);
        last.learn(&HeaderMap::new(), now);
        assert_eq!(last.get(now).unwrap().remaining, 3);
        assert_eq!(last.get(now + KNOWN_FOR), None);
    }
}
