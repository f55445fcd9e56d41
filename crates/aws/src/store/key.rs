//! Keys as a listing tells them: encoded, because XML cannot hold every character a key may.

use transship_layout::Object;

/// An entry of a listing; [`None`] for a key that is no UTF-8, which nobody can ask for.
pub(super) fn object(entry: aws_sdk_s3::types::Object) -> Option<Object> {
    Some(Object {
        key: decoded(&entry.key?)?,
        size: entry.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        etag: entry.e_tag,
    })
}

/// As forms are encoded: `+` is a space. Decoded once.
fn decoded(text: &str) -> Option<String> {
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
