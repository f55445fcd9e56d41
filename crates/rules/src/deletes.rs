//! What a rule does when an image is deleted at its source.

use std::time::Duration;

use crate::error::shown;

/// What a rule does when an image is deleted at its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deletes {
    /// Nothing.
    #[default]
    Ignore,
    /// The tag is deleted at the destination, too.
    Propagate {
        /// The limit; [`None`] for none.
        at_most: Option<DeleteLimit>,
    },
}

/// The number of deletes in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteLimit {
    /// The number of deletes, at least 1.
    pub count: u32,
    /// The period.
    pub per: Duration,
}

impl DeleteLimit {
    /// Parses `10 per hour`. The error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const PERIODS: [(&str, Duration); 4] = [
            ("second", Duration::from_secs(1)),
            ("minute", Duration::from_mins(1)),
            ("hour", Duration::from_hours(1)),
            ("day", Duration::from_hours(24)),
        ];
        let why = || {
            let text = shown(text);
            format!(
                "{text} is not a limit of deletes: write a number and a period, such as \"10 per hour\" (second, minute, hour, day)"
            )
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [count, "per", period] = words.as_slice() else {
            return Err(why());
        };
        let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(why)?;
        let named = PERIODS.iter().find(|(name, _)| name == period);
        let (_, per) = named.ok_or_else(why)?;
        Ok(Self { count, per: *per })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_and_a_period() {
        let limit = DeleteLimit::parse("10 per hour").unwrap();
        assert_eq!((limit.count, limit.per), (10, Duration::from_hours(1)));
        for text in [
            "",
            "10",
            "0 per hour",
            "-1 per hour",
            "10 per week",
            "10/hour",
            "ten per hour",
            "10 per hour now",
        ] {
            assert!(DeleteLimit::parse(text).is_err(), "{text}");
        }
    }
}
