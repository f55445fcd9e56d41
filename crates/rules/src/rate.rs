//! Parses bytes per second: `50MiB/s`, `200MB/s`, `-1` for no limit.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::error::shown;

/// The units, largest first, in bytes.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Rates that a limit may have, in bytes per second.
const BANDWIDTH_BYTES: RangeInclusive<u64> = 1024..=100 * 1024 * 1024 * 1024;

/// Parses a rate such as `50MiB/s`, as the document has it; [`None`] if it is not valid, or unlimited.
pub fn bytes_per_second(text: &str) -> Option<u64> {
    parse(text).ok().flatten().filter(|bytes| *bytes > 0)
}

/// A rate as it is in the document; checked by [`Rate::bytes_per_second`].
#[derive(Debug, Clone)]
pub(crate) struct Rate(String);

impl Rate {
    /// The rate in bytes per second; [`None`] is unlimited. The error is a sentence.
    pub(crate) fn bytes_per_second(&self) -> Result<Option<u64>, String> {
        parse(&self.0).map_err(|why| format!("{} {why}", shown(&self.0)))
    }

    /// The rate of a limit, which is within [`BANDWIDTH_BYTES`].
    pub(crate) fn bandwidth(&self) -> Result<Option<u64>, String> {
        match self.bytes_per_second()? {
            Some(bytes) if !BANDWIDTH_BYTES.contains(&bytes) => {
                Err("expected a rate from 1KiB/s to 100GiB/s, or -1 for unlimited".to_owned())
            }
            bytes => Ok(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RateVisitor;

        impl Visitor<'_> for RateVisitor {
            type Value = Rate;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a rate such as 50MiB/s, or -1 for unlimited")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Rate, E> {
                Ok(Rate(number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Rate, E> {
                Ok(Rate(number.to_string()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
                Ok(Rate(text.to_owned()))
            }
        }

        deserializer.deserialize_any(RateVisitor)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes per second with a unit, or -1 for unlimited.",
            "anyOf": [
                { "type": "string", "pattern": "^(-1|[0-9]+ ?([KMG]iB|[kMG]B|B)/s)$" },
                { "const": -1 }
            ],
            "examples": ["50MiB/s", -1]
        })
    }
}

/// Parses a rate in bytes per second; [`None`] is unlimited, written `-1`.
fn parse(text: &str) -> Result<Option<u64>, &'static str> {
    const FORM: &str = "is not a rate: expected a number with a unit, such as 50MiB/s or 200kB/s, or -1 for unlimited";
    let text = text.trim();
    if text == "-1" {
        return Ok(None);
    }
    let amount = text.strip_suffix("/s").ok_or(FORM)?.trim_end();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| amount.strip_suffix(name).map(|number| (number.trim_end(), *unit)))
        .ok_or(FORM)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FORM);
    }
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match bytes {
        None => Err("is too large: write -1 for unlimited"),
        Some(0) => Err("would block all transfers: write -1 for unlimited, or set enabled: false on the rules"),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_binary_and_decimal_units() {
        for (text, bytes) in [
            ("-1", None),
            ("50MiB/s", Some(50 << 20)),
            ("50 MiB/s", Some(50 << 20)),
            ("2GB/s", Some(2_000_000_000)),
            ("7kB/s", Some(7_000)),
            ("1B/s", Some(1)),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in [
            "",
            "50",
            "50MiB",
            "50Mb/s",
            "0MiB/s",
            "-2MiB/s",
            "1.5MiB/s",
            "+1MiB/s",
            "MiB/s",
            "99999999999GiB/s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
