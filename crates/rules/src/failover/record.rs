//! Host names and the record of a site.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

/// The most characters of a host name without its final dot. Source: RFC 1035, section 2.3.4.
const HOSTNAME_CHARS_MAX: usize = 253;
/// The most characters of a label of a host name.
const LABEL_CHARS_MAX: usize = 63;

/// A host name: lower case, at least one label, without the final dot. It is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(String);

/// The text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a host name: write labels of letters, digits and -, separated by dots")]
pub struct NotAHostname;

impl Hostname {
    /// The name without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if this name is `zone` or below it, by whole labels.
    pub fn is_in(&self, zone: &Self) -> bool {
        let rest = self.0.strip_suffix(&zone.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name `label` in front of this one; [`None`] if it would be too long.
    pub fn below(&self, label: &str) -> Option<Self> {
        let name = format!("{label}.{}", self.0);
        (name.len() <= HOSTNAME_CHARS_MAX).then_some(Self(name))
    }
}

impl FromStr for Hostname {
    type Err = NotAHostname;

    /// A final dot is accepted and removed. Underscores are accepted, because targets of CNAME records have them.
    fn from_str(text: &str) -> Result<Self, NotAHostname> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_label = |label: &str| {
            (1..=LABEL_CHARS_MAX).contains(&label.len())
                && label.bytes().all(|byte| word(byte) || byte == b'-')
                && label.bytes().next().is_some_and(word)
                && label.bytes().next_back().is_some_and(word)
        };
        let is_numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        // A last label of digits is an address to some readers. Source: WHATWG URL, "ends in a number".
        let is_name = name.len() <= HOSTNAME_CHARS_MAX
            && name.split('.').all(is_label)
            && !name.rsplit('.').next().is_none_or(is_numeric);
        if is_name { Ok(Self(name)) } else { Err(NotAHostname) }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The type of a record that leads clients to a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
pub enum RecordKind {
    /// An alias: the value is a host name.
    #[serde(rename = "CNAME")]
    Cname,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    #[serde(rename = "AAAA")]
    Aaaa,
}

impl RecordKind {
    /// Every kind, in order.
    pub const ALL: [Self; 3] = [Self::Cname, Self::A, Self::Aaaa];

    /// The type as it is written: `CNAME`, `A` or `AAAA`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cname => "CNAME",
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }

    /// The kind that is written `text`.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// `value` in the one form that compares equal to itself however a server writes it: a host name in lower case without its
    /// final dot, an address in its shortest form. The error is a sentence about the value.
    pub fn canonical(self, value: &str) -> Result<String, &'static str> {
        match self {
            Self::Cname if value.parse::<IpAddr>().is_ok() => {
                Err("is an address, and a CNAME names a host: write type: A or type: AAAA")
            }
            Self::Cname => value
                .parse::<Hostname>()
                .map(|name| name.0)
                .map_err(|_| "is not a host name: write labels of letters, digits and -, separated by dots"),
            Self::A => value
                .parse::<Ipv4Addr>()
                .map(|address| address.to_string())
                .map_err(|_| match value.parse::<Ipv6Addr>() {
                    Ok(_) => "is an IPv6 address: write type: AAAA",
                    Err(_) => "is not an IPv4 address: write one such as 10.0.8.4, or type: CNAME for a host name",
                }),
            Self::Aaaa => value
                .parse::<Ipv6Addr>()
                .map(|address| address.to_string())
                .map_err(|_| match value.parse::<Ipv4Addr>() {
                    Ok(_) => "is an IPv4 address: write type: A",
                    Err(_) => "is not an IPv6 address: write one such as fd00::8, or type: CNAME for a host name",
                }),
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The record that leads clients to a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRecord {
    /// The type.
    pub kind: RecordKind,
    /// The values in their canonical form, sorted, without repetition; one for a CNAME, one or more addresses otherwise.
    pub values: Vec<String>,
}

impl SiteRecord {
    /// The addresses in it; none for a CNAME.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.values.iter().filter_map(|value| value.parse().ok())
    }
}

impl fmt::Display for SiteRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_has_one_form() {
        for (text, name) in [
            ("Images.Example.COM.", "images.example.com"),
            ("a", "a"),
            ("_x.a-b.c1", "_x.a-b.c1"),
        ] {
            assert_eq!(text.parse::<Hostname>().unwrap().as_str(), name);
        }
        let long = format!("{}.com", "a.".repeat(125));
        for text in [
            "", ".", "a..b", "-a.b", "a-.b", "a b", "10.0.8.4", "1", "a.1", "fd00::8", "*.a.b", "ä.b", &long,
        ] {
            assert!(text.parse::<Hostname>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_in_a_zone_by_whole_labels() {
        let name = |text: &str| text.parse::<Hostname>().unwrap();
        for (host, zone, is_in) in [
            ("a.example.com", "example.com", true),
            ("example.com", "example.com", true),
            ("notexample.com", "example.com", false),
            ("example.com", "a.example.com", false),
        ] {
            assert_eq!(name(host).is_in(&name(zone)), is_in, "{host} {zone}");
        }
    }

    #[test]
    fn a_value_has_one_form() {
        assert_eq!(RecordKind::Aaaa.canonical("FD00:0:0::8"), Ok("fd00::8".to_owned()));
        assert_eq!(RecordKind::Cname.canonical("B.Example."), Ok("b.example".to_owned()));
        assert!(RecordKind::A.canonical("fd00::8").unwrap_err().contains("AAAA"));
        assert!(RecordKind::Cname.canonical("10.0.0.1").unwrap_err().contains("type: A"));
    }
}
