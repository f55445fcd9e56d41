//! Lenient types for JSON fields: a value that cannot be used counts as absent and never fails its event.
//!
//! Senders add fields, change types between versions and send `""` for missing values. Only fields that are used have a type
//! here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny};
use serde_json::value::RawValue;
use transship_oci::Error;

use crate::error::{invalid, not_json};

/// Maximum length of names of users and events in bytes, to limit the size of entries in the ledger.
const MAX_WORD_BYTES: usize = 256;

/// A text; anything else, and the empty text, is [`None`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Text(Option<String>);

impl From<Option<&str>> for Text {
    fn from(text: Option<&str>) -> Self {
        Self(text.filter(|text| !text.is_empty()).map(str::to_owned))
    }
}

impl Text {
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The text, if its length and characters allow showing and storing it.
    pub(crate) fn word(&self) -> Option<String> {
        self.get()
            .filter(|text| text.len() <= MAX_WORD_BYTES && !text.chars().any(char::is_control))
            .map(str::to_owned)
    }

    /// The text in lower case, for senders that report names in another case than the registry uses.
    pub(crate) fn lower(&self) -> Option<String> {
        self.get().map(str::to_lowercase)
    }

    /// The text parsed as `T`, if it is valid.
    pub(crate) fn parse<T: std::str::FromStr>(&self) -> Option<T> {
        self.get()?.parse().ok()
    }

    /// The text as a time. Go writes "no time" as a time in the year 1.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.parse::<Timestamp>()
            .filter(|time| time.as_second() > Timestamp::UNIX_EPOCH.as_second())
    }
}

/// Unix seconds, as a number or as digits; anything else is [`None`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seconds(Option<i64>);

impl Seconds {
    pub(crate) fn time(self) -> Option<Timestamp> {
        self.0
            .filter(|seconds| *seconds > 0)
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = serde_json::from_str::<String>(raw.get()).ok();
        Ok(Self(text.filter(|text| !text.is_empty())))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(seconds(raw.get().trim_matches('"'))))
    }
}

/// Whole seconds of a number in any notation of JSON; Docker Hub writes some as `1.417566161e+09`.
fn seconds(number: &str) -> Option<i64> {
    if let Ok(whole) = number.parse() {
        return Some(whole);
    }
    let seconds: f64 = number.parse().ok()?;
    // Every whole number of this range is exact in 64 bits, and a later time than the year 9999 is not a time.
    #[expect(clippy::cast_possible_truncation, reason = "fractions of a second are not needed")]
    let whole = (seconds.is_finite() && seconds.abs() < 1e12).then_some(seconds as i64);
    whole
}

/// An object that is a valid `T`; anything else is [`None`].
#[derive(Debug, Clone)]
pub(crate) struct Table<T>(pub(crate) Option<T>);

/// Names: the texts of a list, or the keys of an object; anything else is [`None`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(pub(crate) Option<Vec<Text>>);

/// A list of valid `T`; anything else is [`None`].
#[derive(Debug, Clone)]
pub(crate) struct List<T>(pub(crate) Option<Vec<T>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        // A derived type would also accept an array as its fields in order, which no sender intends.
        let is_object = is_object(raw.get().as_bytes());
        Ok(Self(is_object.then(|| serde_json::from_str(raw.get()).ok()).flatten()))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        if is_object(raw.get().as_bytes()) {
            let keys: Option<BTreeMap<String, IgnoredAny>> = serde_json::from_str(raw.get()).ok();
            return Ok(Self(
                keys.map(|keys| keys.into_keys().map(|key| Text(Some(key))).collect()),
            ));
        }
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

/// The body of a delivery: an object. A derived type would also accept an array as its fields in order.
///
/// # Errors
/// `DELIVERY_INVALID`.
pub(crate) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    if is_object(body) {
        serde_json::from_slice(body).map_err(not_json)
    } else {
        Err(invalid("it is not a JSON object"))
    }
}

/// True if the JSON text is an object.
pub(crate) fn is_object(text: &[u8]) -> bool {
    text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_a_field_it_is_read_or_absent() {
        for (json, text) in [
            ("\"x\"", Some("x")),
            ("\"\"", None),
            ("null", None),
            ("3.10", None),
            ("true", None),
            ("1e999", None),
            ("\"\\ud800\"", None),
            ("[\"x\",{}]", None),
            ("{\"x\":[1]}", None),
        ] {
            assert_eq!(serde_json::from_str::<Text>(json).unwrap().get(), text, "{json}");
        }
        for (json, time) in [
            ("1586922308", Some("2020-04-15T03:45:08Z")),
            ("1586922308.9", Some("2020-04-15T03:45:08Z")),
            ("\"1586922308\"", Some("2020-04-15T03:45:08Z")),
            ("1.586922308e+09", Some("2020-04-15T03:45:08Z")),
            ("1586922308.9e0", Some("2020-04-15T03:45:08Z")),
            ("0", None),
            ("-5", None),
            ("1e300", None),
            ("{}", None),
        ] {
            let read = serde_json::from_str::<Seconds>(json).unwrap().time();
            assert_eq!(read.map(|time| time.to_string()).as_deref(), time, "{json}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_none() {
        let time = |text: &str| Text(Some(text.into())).time().map(|time| time.to_string());
        assert_eq!(
            time("2023-01-25T14:45:54.17327+11:00").as_deref(),
            Some("2023-01-25T03:45:54.17327Z")
        );
        assert_eq!(
            time("2020-04-05T21:49:44.219+0000").as_deref(),
            Some("2020-04-05T21:49:44.219Z")
        );
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
        assert_eq!(time("2016-11-29 12:25:46"), None);
        assert_eq!(time("2023-02-29T00:00:00Z"), None);
    }

    #[test]
    fn words_are_short_and_printable() {
        assert_eq!(
            Text(Some("robot$ci+builder".into())).word().as_deref(),
            Some("robot$ci+builder")
        );
        assert_eq!(Text(Some("a\u{1b}[2J".into())).word(), None);
        assert_eq!(Text(Some("x".repeat(257))).word(), None);
    }
}
