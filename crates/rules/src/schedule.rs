//! A schedule: a cron expression of five fields in a time zone.
//!
//! Daylight saving follows Vixie cron, as croner implements it. A fixed time that the clock skips in spring is due at the first
//! moment after the gap; one that it repeats in autumn is due once, at the first of the two. An expression with `*` or `*/n` as
//! its minute or hour follows the clock: it has no time in the gap, and its times of the repeated hour are due twice.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// The number of fields of an expression.
const FIELDS: usize = 5;
/// Missed times are searched one by one for so long; before that only the last one is of interest.
const RECENT: SignedDuration = SignedDuration::from_hours(50);
/// A distance of time zone names up to which one is suggested for another.
const SUGGESTED_DISTANCE_MAX: usize = 3;
/// An expression that has no time within the 50 years after this one never has: leap years repeat within 40.
const SEARCH_FROM: i64 = 1_767_225_600;
const SEARCH_YEARS: i64 = 50;

/// When a rule is started.
#[derive(Clone)]
pub struct Schedule {
    expression: String,
    timezone: Option<String>,
    cron: Cron,
    zone: TimeZone,
}

/// Why a schedule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScheduleFault {
    /// The key of the document with the fault.
    pub(crate) key: &'static str,
    /// What is wrong, and what to write.
    pub(crate) sentence: String,
}

impl Schedule {
    /// Reads an expression, and the name of its time zone; [`None`]: UTC.
    pub(crate) fn parse(expression: &str, timezone: Option<&str>) -> Result<Self, ScheduleFault> {
        let fault = |sentence| ScheduleFault {
            key: "schedule",
            sentence,
        };
        let zone = match timezone {
            None => TimeZone::UTC,
            Some(name) => time_zone(name)?,
        };
        let fields = expression.split_whitespace().count();
        if fields != FIELDS {
            let sentence = format!(
                "{expression:?} has {fields} fields, but a schedule has five: minute, hour, day of the month, month, day of the week, such as \"0 3 * * *\""
            );
            return Err(fault(sentence));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(expression).map_err(|error| {
            fault(format!(
                "{expression:?} is not a schedule: {}; write minute, hour, day of the month, month, day of the week, such as \"0 3 * * *\"",
                lower(&error.to_string())
            ))
        })?;
        let schedule = Self {
            expression: expression.to_owned(),
            timezone: timezone.map(str::to_owned),
            cron,
            zone,
        };
        let from = Timestamp::from_second(SEARCH_FROM).unwrap_or(Timestamp::UNIX_EPOCH);
        let until = from.saturating_add(SignedDuration::from_hours(SEARCH_YEARS * 366 * 24));
        let until = until.unwrap_or(Timestamp::MAX);
        if schedule.next_after(from).is_none_or(|next| next > until) {
            let sentence = format!(
                "{expression:?} never has a time, because no month has such a day: change the day or the month"
            );
            return Err(fault(sentence));
        }
        Ok(schedule)
    }

    /// The first time after `after`; [`None`] if there is none that a calendar can hold.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp())
    }

    /// The last time after `after` and not after `now`; [`None`] if there is none.
    pub fn last_due(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let recent = now.checked_sub(RECENT).unwrap_or(Timestamp::MIN).max(after);
        let mut last = None;
        let mut at = recent;
        while let Some(next) = self.next_after(at).filter(|next| *next <= now) {
            last = Some(next);
            at = next;
        }
        if last.is_some() || recent == after {
            return last;
        }
        let before = recent.to_zoned(self.zone.clone());
        let previous = self.cron.find_previous_occurrence(&before, true).ok()?.timestamp();
        Some(previous).filter(|previous| *previous > after)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression && self.timezone == other.timezone
    }
}

impl Eq for Schedule {}

impl fmt::Debug for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Schedule({self})")
    }
}

/// The expression and its time zone: `0 3 * * * Asia/Shanghai`.
impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.timezone.as_deref().unwrap_or("UTC");
        write!(formatter, "{} {zone}", self.expression)
    }
}

/// The time zone of a name. The system's data is newer than the built-in data, but may lack names, or not exist.
fn time_zone(name: &str) -> Result<TimeZone, ScheduleFault> {
    let bundled = TimeZoneDatabase::bundled();
    let found = jiff::tz::db().get(name).or_else(|_| bundled.get(name));
    found.map_err(|_| {
        let distance = |known: &str| strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase());
        // People also write the city alone.
        let is_city = |known: &str| {
            let city = known.rsplit('/').next().unwrap_or(known);
            city.eq_ignore_ascii_case(&name.replace(' ', "_"))
        };
        let names: Vec<String> = bundled.available().map(|known| known.to_string()).collect();
        let city = names.iter().find(|known| is_city(known));
        let near = || {
            let known = names.iter().min_by_key(|known| distance(known))?;
            (distance(known) <= SUGGESTED_DISTANCE_MAX).then_some(known)
        };
        let advice = city.or_else(near).map_or_else(
            || "write a name of the IANA time zone database, such as Asia/Shanghai or Europe/Berlin".to_owned(),
            |known| format!("did you mean {known}?"),
        );
        ScheduleFault {
            key: "timezone",
            sentence: format!("there is no time zone {name:?}: {advice}"),
        }
    })
}

/// A sentence of the library inside one of ours.
fn lower(sentence: &str) -> String {
    let sentence = sentence.trim_end_matches('.');
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_ascii_lowercase(), letters.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(expression: &str, zone: &str) -> Schedule {
        Schedule::parse(expression, Some(zone)).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Every time after `from` and not after `until`.
    fn times(schedule: &Schedule, from: &str, until: &str) -> Vec<String> {
        let mut times = Vec::new();
        let mut now = at(from);
        while let Some(next) = schedule.next_after(now).filter(|next| *next <= at(until)) {
            times.push(next.to_string());
            now = next;
        }
        times
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let shanghai = schedule("0 3 * * *", "Asia/Shanghai");
        let found = times(&shanghai, "2026-01-01T00:00:00Z", "2026-01-02T23:00:00Z");
        assert_eq!(found, ["2026-01-01T19:00:00Z", "2026-01-02T19:00:00Z"]);
        let utc = Schedule::parse("30 3 * * 1", None).unwrap();
        assert_eq!(
            times(&utc, "2026-01-01T00:00:00Z", "2026-01-06T00:00:00Z"),
            ["2026-01-05T03:30:00Z"]
        );
    }

    /// In Berlin 02:00 becomes 03:00 on 29 March 2026, and 03:00 becomes 02:00 on 25 October 2026.
    #[test]
    fn a_time_that_the_clock_skips_or_repeats_is_due_once() {
        let berlin = schedule("30 2 * * *", "Europe/Berlin");
        let spring = times(&berlin, "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(
            spring,
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            "03:00 is the first moment after the gap"
        );
        let autumn = times(&berlin, "2026-10-23T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(
            autumn,
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
            "the first 02:30"
        );
        let new_york = schedule("0 3 * * *", "America/New_York");
        let spring = times(&new_york, "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z");
        assert_eq!(
            spring,
            ["2026-03-08T07:00:00Z", "2026-03-09T07:00:00Z"],
            "the time itself is not skipped"
        );
    }

    #[test]
    fn an_interval_follows_the_clock() {
        let hourly = schedule("0 * * * *", "Europe/Berlin");
        let spring = times(&hourly, "2026-03-28T23:30:00Z", "2026-03-29T02:30:00Z");
        assert_eq!(
            spring,
            ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]
        );
        let autumn = times(&hourly, "2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z");
        assert_eq!(
            autumn,
            ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]
        );
    }

    #[test]
    fn the_last_missed_time_is_found_however_long_ago() {
        let monthly = schedule("0 0 1 * *", "UTC");
        let last = monthly.last_due(at("2026-01-15T00:00:00Z"), at("2026-06-20T10:00:00Z"));
        assert_eq!(last, Some(at("2026-06-01T00:00:00Z")));
        assert_eq!(
            monthly.last_due(at("2026-06-01T00:00:00Z"), at("2026-06-20T10:00:00Z")),
            None
        );
        let minutely = schedule("* * * * *", "UTC");
        let last = minutely.last_due(at("2024-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"));
        assert_eq!(last, Some(at("2026-01-01T00:00:00Z")));
        assert_eq!(
            minutely.last_due(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:59Z")),
            None
        );
        assert_eq!(
            minutely.last_due(at("2026-01-02T00:00:00Z"), at("2026-01-01T00:00:00Z")),
            None,
            "a clock that was set back"
        );
    }

    #[test]
    fn what_cannot_be_used_says_what_to_write() {
        let sentence = |expression: &str, zone: Option<&str>| Schedule::parse(expression, zone).unwrap_err().sentence;
        for never in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert!(sentence(never, None).contains("never has a time"), "{never}");
        }
        assert!(Schedule::parse("0 0 29 2 *", None).is_ok(), "every four years");
        for (bad, why) in [
            ("", "0 fields"),
            ("0 3 * *", "4 fields"),
            ("0 0 3 * * *", "6 fields"),
            ("@daily", "1 fields"),
            ("61 3 * * *", "is not a schedule"),
            ("0 25 * * *", "is not a schedule"),
            ("a b c d e", "is not a schedule"),
            ("*/0 * * * *", "is not a schedule"),
            ("5-1 * * * *", "is not a schedule"),
        ] {
            assert!(sentence(bad, None).contains(why), "{bad}: {}", sentence(bad, None));
        }
        for (bad, meant) in [
            ("Asia/Shangai", "did you mean Asia/Shanghai?"),
            ("berlin", "did you mean Europe/Berlin?"),
            ("New York", "did you mean America/New_York?"),
            ("Mars/Olympus_Mons_Base", "such as Asia/Shanghai"),
        ] {
            let fault = Schedule::parse("0 3 * * *", Some(bad)).unwrap_err();
            assert_eq!(fault.key, "timezone");
            assert!(fault.sentence.contains(meant), "{bad}: {}", fault.sentence);
        }
    }
}
