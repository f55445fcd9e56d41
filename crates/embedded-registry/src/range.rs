//! The two kinds of ranges in the protocol: of a blob read, and of a chunk in an upload.

/// The part of a blob that a `Range` header requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The whole blob: no header, or one that may be ignored (RFC 9110, 14.2).
    Whole,
    /// The bytes `first..=last`.
    Part { first: u64, last: u64 },
    /// A range outside the blob.
    Unsatisfiable,
}

/// Parses `bytes=0-9`, `bytes=10-` and `bytes=-5` for a blob of `size` bytes.
pub(crate) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = header
        .and_then(|header| header.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::Whole;
    };
    match (first.trim(), last.trim()) {
        ("", suffix) => match suffix.parse::<u64>() {
            Ok(0) => Wanted::Unsatisfiable,
            Ok(_) if size == 0 => Wanted::Unsatisfiable,
            Ok(length) => Wanted::Part {
                first: size.saturating_sub(length),
                last: size - 1,
            },
            Err(_) => Wanted::Whole,
        },
        (first, last) => match (first.parse::<u64>(), last) {
            (Ok(first), _) if first >= size => Wanted::Unsatisfiable,
            (Ok(first), "") => Wanted::Part { first, last: size - 1 },
            (Ok(first), last) => match last.parse::<u64>() {
                Ok(last) if last >= first => Wanted::Part {
                    first,
                    last: last.min(size - 1),
                },
                _ => Wanted::Whole,
            },
            (Err(_), _) => Wanted::Whole,
        },
    }
}

/// Parses `Content-Range: 0-9` of a chunk (without `bytes` and total). Source: distribution-spec, Pushing a blob in chunks.
pub(crate) fn chunk(header: &str) -> Option<(u64, u64)> {
    let (first, last) = header.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (header, size, expected) in [
            (None, 10, Wanted::Whole),
            (Some("bytes=0-"), 10, Wanted::Part { first: 0, last: 9 }),
            (Some("bytes=3-5"), 10, Wanted::Part { first: 3, last: 5 }),
            (Some("bytes=3-500"), 10, Wanted::Part { first: 3, last: 9 }),
            (Some("bytes=-4"), 10, Wanted::Part { first: 6, last: 9 }),
            (Some("bytes=-40"), 10, Wanted::Part { first: 0, last: 9 }),
            (Some("bytes=10-"), 10, Wanted::Unsatisfiable),
            (Some("bytes=-0"), 10, Wanted::Unsatisfiable),
            (Some("bytes=0-"), 0, Wanted::Unsatisfiable),
            (Some("bytes=5-3"), 10, Wanted::Whole),
            (Some("bytes=0-1,4-5"), 10, Wanted::Whole),
            (Some("lines=0-1"), 10, Wanted::Whole),
        ] {
            assert_eq!(wanted(header, size), expected, "{header:?} of {size}");
        }
    }

    #[test]
    fn chunks_name_first_and_last_byte_only() {
        assert_eq!(chunk("0-9"), Some((0, 9)));
        for bad in ["bytes 0-9/10", "9-0", "0-", "-9", "", "0-9/10"] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }
}
