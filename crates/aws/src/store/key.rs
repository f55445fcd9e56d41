//! Decodes the keys of listings and notifications, which are encoded because XML cannot contain every character.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_s3::primitives::DateTime;
use transship_layout::Object;

/// An entry of a listing; [`None`] for a key that is not UTF-8, which cannot be requested.
pub(super) fn object(entry: aws_sdk_s3::types::Object) -> Option<Object> {
    Some(Object {
        key: decoded(&entry.key?)?,
        size: entry.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        etag: entry.e_tag,
        written: entry.last_modified.and_then(written),
    })
}

/// When an object was written, in whole seconds: a look tells no more, and a listing must tell the same.
pub(super) fn written(time: DateTime) -> Option<SystemTime> {
    let seconds = u64::try_from(time.secs()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// As forms are encoded: `+` is a space. Decoded once.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let bytes = percent_encoding::percent_decode_str(&spaced);
    bytes.decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_decoded_once() {
        for (told, key) in [
            ("a+b", Some("a b")),
            ("a%20b", Some("a b")),
            ("a%2Bb", Some("a+b")),
            ("a%252Fb", Some("a%2Fb")),
            ("%E6%97%A5/%01", Some("日/\u{1}")),
            ("%FF", None),
        ] {
            assert_eq!(decoded(told).as_deref(), key, "{told}");
        }
    }
}
