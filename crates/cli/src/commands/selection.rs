//! Options of `executions` and `tasks` that limit what is listed.

use clap::Args;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Unit};
use transship_oci::Result;

/// Which executions or tasks are listed.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Limit to this rule or import
    #[arg(long, value_name = "NAME")]
    pub(super) rule: Option<String>,
    /// Limit to this repository, at the source or the destination: REPOSITORY or REGISTRY/REPOSITORY
    #[arg(long, value_name = "REPOSITORY")]
    pub(super) repository: Option<String>,
    /// Limit to what was created since then: 90m, 24h, 7d, a date, or a time such as 2026-11-28T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) since: Option<Timestamp>,
    /// Limit to what has not ended
    #[arg(long)]
    pub(super) open: bool,
}

impl Selection {
    /// True if a list is limited by more than its state.
    pub(super) const fn is_limited(&self) -> bool {
        self.rule.is_some() || self.repository.is_some() || self.since.is_some() || self.open
    }
}

/// A point in time, or how long ago it was.
fn since(text: &str) -> Result<Timestamp, &'static str> {
    since_at(text, Timestamp::now())
}

fn since_at(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    let refused = "expected how long ago (90m, 24h, 7d), a date (2026-11-28), or a time (2026-11-28T09:00:00Z)";
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<Date>() {
        let midnight = date.to_zoned(TimeZone::UTC);
        return midnight.map(|midnight| midnight.timestamp()).map_err(|_| refused);
    }
    let span: Span = text.parse().map_err(|_| refused)?;
    let seconds = span
        .total((Unit::Second, SpanRelativeTo::days_are_24_hours()))
        .map_err(|_| refused)?;
    if !(seconds.is_finite() && seconds >= 0.0) {
        return Err(refused);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds of a span that jiff accepts"
    )]
    let ago = jiff::SignedDuration::from_secs(seconds as i64);
    now.checked_sub(ago).map_err(|_| refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_point_or_how_long_ago_it_was() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let read = |text: &str| since_at(text, now).map(|time| time.to_string());
        for (text, expected) in [
            ("90m", "2026-11-28T10:30:00Z"),
            ("24h", "2026-11-27T12:00:00Z"),
            ("7d", "2026-11-21T12:00:00Z"),
            ("1d 1h", "2026-11-27T11:00:00Z"),
            ("2026-11-28", "2026-11-28T00:00:00Z"),
            ("2026-11-28T09:00:00+02:00", "2026-11-28T07:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["", "yesterday", "-1h", "7", "1mo", "2026-13-01"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
