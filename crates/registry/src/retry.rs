//! Which responses are retried, and after what wait.
//!
//! `Retry-After` is honoured up to the longest wait of this worker. A longer wait is returned in the error, so that the task
//! waits in the queue and the worker does not. It never makes a wait shorter than our own, which grows: a registry that says
//! 0, or a date that is past, would otherwise be asked without a pause.

use std::time::{Duration, SystemTime};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use transship_oci::Backoff;

/// The longest single wait before its jitter.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// How often a request is tried again, and how long it waits.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// Number of retries after the first attempt.
    pub times: u32,
    /// Maximum total wait of a request.
    pub max_wait: Duration,
    /// The wait before the first retry; it doubles each time, and up to as much again is added by chance.
    pub first: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            times: 5,
            max_wait: Duration::from_mins(1),
            first: Duration::from_millis(200),
        }
    }
}

/// The waits of one request.
pub(crate) struct Waits {
    backoff: Backoff,
    made: u32,
    times: u32,
    left: Duration,
}

impl Retries {
    pub(crate) fn begin(&self) -> Waits {
        Waits {
            backoff: Backoff::doubling(self.first, WAIT_MAX),
            made: 0,
            times: self.times,
            left: self.max_wait,
        }
    }
}

impl Waits {
    /// The wait before the next retry; [`None`] if no retry is left, or if the wait is longer than the limit.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        if self.made == self.times {
            return None;
        }
        let own = self.backoff.wait(self.made);
        let own = own + own.mul_f64(fastrand::f64());
        let wait = asked.map_or(own, |asked| asked.max(own));
        self.left = self.left.checked_sub(wait)?;
        self.made += 1;
        Some(wait)
    }
}

/// True for temporary statuses. 499 is used by nginx, 520 to 524 by Cloudflare.
pub(crate) fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 425 | 429 | 499 | 500 | 502 | 503 | 504 | 520..=524
    )
}

/// `Retry-After` in seconds or as a date, limited to one day. A date is compared with the registry's own clock where it sends
/// its `Date`. [`None`] for an invalid value, and for 0 or a past date, which name no wait.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let asked = text(RETRY_AFTER)?;
    let until = |date: &str| {
        let theirs = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let until = httpdate::parse_http_date(date).ok()?;
        until.duration_since(theirs.unwrap_or(now)).ok()
    };
    let wait = asked
        .parse()
        .map_or_else(|_| until(asked), |seconds| Some(Duration::from_secs(seconds)))?;
    Some(wait.min(Duration::from_hours(24))).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_these_statuses_are_tried_again() {
        let temporary: Vec<u16> = (100..600)
            .filter(|code| is_temporary(StatusCode::from_u16(*code).unwrap()))
            .collect();
        assert_eq!(
            temporary,
            [408, 425, 429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524]
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_nonsense_is_nothing() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("20"), Some(Duration::from_secs(20)));
        assert_eq!(read("0"), None, "no wait is named");
        assert_eq!(read("1000000000"), Some(Duration::from_hours(24)));
        assert_eq!(
            read(&httpdate::fmt_http_date(now + Duration::from_secs(7))),
            Some(Duration::from_secs(7))
        );
        assert_eq!(read(&httpdate::fmt_http_date(now - Duration::from_secs(7))), None);
        for nonsense in ["-5", "soon", "", "1e9"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_date_is_read_by_the_clock_of_the_registry() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let theirs = now - Duration::from_mins(10);
        let mut headers = HeaderMap::new();
        headers.insert(DATE, httpdate::fmt_http_date(theirs).parse().unwrap());
        let until = httpdate::fmt_http_date(theirs + Duration::from_secs(7));
        headers.insert(RETRY_AFTER, until.parse().unwrap());
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_wait_of_nothing_grows_like_our_own() {
        let retries = Retries {
            times: 5,
            max_wait: Duration::from_mins(1),
            first: Duration::from_millis(100),
        };
        let mut waits = retries.begin();
        for shortest in [100, 200, 400, 800, 1600] {
            let wait = waits.next(Some(Duration::ZERO)).unwrap();
            assert!(wait >= Duration::from_millis(shortest), "{wait:?}");
        }
    }

    #[test]
    fn no_request_waits_longer_than_its_worker_may() {
        let retries = Retries {
            times: 100,
            max_wait: Duration::from_secs(2),
            first: Duration::from_millis(100),
        };
        let mut waits = retries.begin();
        let mut total = Duration::ZERO;
        while let Some(wait) = waits.next(None) {
            total += wait;
        }
        assert!(total <= Duration::from_secs(2));
        assert_eq!(retries.begin().next(Some(Duration::from_secs(3))), None);
        assert_eq!(
            retries.begin().next(Some(Duration::from_secs(1))),
            Some(Duration::from_secs(1))
        );
    }
}
