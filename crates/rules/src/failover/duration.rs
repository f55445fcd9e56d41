//! Parses durations of the document: `90s`, `15m`, `1h30m`.

use std::time::Duration;

use crate::error::shown;

/// The units, largest first, in seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// The longest duration.
const DURATION_MAX: Duration = Duration::from_hours(24 * 365);

/// Parses numbers with units, each unit at most once and the larger before the smaller. The error is a sentence.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let why = || match text.parse::<u64>() {
        Ok(number) => format!("{number} has no unit: write {number}s or {number}m"),
        Err(_) => format!("{} is not a duration: write one such as 90s, 15m or 1h30m", shown(text)),
    };
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, size) in UNITS {
        let Some((number, after)) = rest.split_once(unit) else {
            continue;
        };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(why());
        }
        let number: u64 = number.parse().map_err(|_| why())?;
        let part = number.checked_mul(size).ok_or_else(why)?;
        seconds = seconds.checked_add(part).ok_or_else(why)?;
        rest = after;
    }
    let duration = Duration::from_secs(seconds);
    if !rest.is_empty() || text.is_empty() {
        return Err(why());
    }
    if duration.is_zero() || duration > DURATION_MAX {
        return Err(format!("{} is out of range: write 1s to 365d", shown(text)));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5_400), ("2d", 172_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "15",
            "m",
            "15 m",
            "-1s",
            "1.5h",
            "30m1h",
            "1m1m",
            "0s",
            "366d",
            "99999999999999999999d",
            "15min",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("15").unwrap_err().contains("15m"));
    }
}
