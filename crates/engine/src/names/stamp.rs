//! The text of the TXT record that makes an epoch visible: `epoch=7; site=hangzhou; by=ops@host`.

use std::fmt;

/// The most characters of `by`. The whole text fits into one string of a TXT record, which has at most 255.
const BY_CHARS_MAX: usize = 64;

/// Which switch wrote the records of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Rises with every switch of the zone.
    pub epoch: u64,
    /// The registry of the site that the records lead to.
    pub site: String,
    /// The operator that switched, for people.
    pub by: String,
}

impl Stamp {
    /// Characters of `by` that would end its field or need escapes are replaced by `_`.
    pub fn new(epoch: u64, site: impl Into<String>, by: &str) -> Self {
        let is_plain = |character: char| character.is_ascii_graphic() && !matches!(character, ';' | '"' | '\\' | '=');
        let by = by.chars().take(BY_CHARS_MAX);
        Self {
            epoch,
            site: site.into(),
            by: by
                .map(|character| if is_plain(character) { character } else { '_' })
                .collect(),
        }
    }

    /// Reads the text of a TXT record; [`None`] if it is not a stamp. Fields of newer versions are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Vec<(&str, &str)> = text
            .split(';')
            .filter_map(|field| field.trim().split_once('='))
            .collect();
        let field = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        Some(Self {
            epoch: field("epoch")?.parse().ok()?,
            site: field("site").filter(|site| !site.is_empty())?.to_owned(),
            by: field("by").unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "epoch={}; site={}; by={}", self.epoch, self.site, self.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp::new(7, "hangzhou", "ops@host; \"x\"=\\é");
        assert_eq!(stamp.to_string(), "epoch=7; site=hangzhou; by=ops@host___x____");
        assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp));
        assert_eq!(Stamp::parse("site=a;epoch=1;new=x").map(|stamp| stamp.epoch), Some(1));
        for text in [
            "",
            "epoch=7",
            "site=a",
            "epoch=-1; site=a",
            "epoch=x; site=a",
            "epoch=1; site=",
        ] {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
        let long = Stamp::new(u64::MAX, "a".repeat(128), &"b".repeat(500));
        assert!(long.to_string().len() <= 255);
    }
}
