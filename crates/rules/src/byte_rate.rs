//! Bytes per second as people write them: `50MiB/s`, `200MB/s`, `-1` for no limit.

/// The units, largest first, and what each stands for in bytes.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a rate in bytes per second; [`None`] is unlimited, written `-1`.
pub(crate) fn parse(text: &str) -> Result<Option<u64>, &'static str> {
    const FORM: &str = "is not a rate: write a number and a unit, such as 50MiB/s or 200kB/s, or -1 for unlimited";
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
        None => Err("is more than can be counted: write -1 for unlimited"),
        Some(0) => Err("lets nothing pass: write -1 for unlimited, or set enabled: false on the rules"),
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
