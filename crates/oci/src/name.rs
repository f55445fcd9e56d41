//! The three parts of a reference: registry host, repository, tag.
//!
//! Source: distribution-spec, Pulling manifests; the grammar of hosts is that of the Docker reference package.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Code, Error, shown};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub const fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(why) => Err(Error::refused(Code::InvalidReference, format!("{} {why}", shown(text)))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// `host` or `host:port`; a DNS name, an IPv4 address, or an IPv6 address in brackets. At most 255 characters.
    RegistryHost,
    check_host
);
name!(
    /// Lower-case path components joined by `/`, at most 255 characters: `core/team/app`.
    Repository,
    check_repository
);
name!(
    /// 1 to 128 of letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`. Case matters.
    Tag,
    check_tag
);

impl RegistryHost {
    /// The host without its port, IPv6 in brackets.
    pub fn hostname(&self) -> &str {
        match self.0.rfind(':') {
            Some(at) if !self.0[at..].contains(']') => &self.0[..at],
            _ => &self.0,
        }
    }
}

fn check_host(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 255 {
        return Err("is not a host of 1 to 255 characters");
    }
    let (host, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    if port.is_some_and(|port| {
        port.is_empty() || port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err()
    }) {
        return Err("has a port that is not a number from 0 to 65535");
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner
            .parse::<std::net::Ipv6Addr>()
            .map(|_| ())
            .map_err(|_| "is not an IPv6 address in brackets");
    }
    let valid = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.split('.').all(valid) {
        Ok(())
    } else {
        Err("is not a host name")
    }
}

fn check_repository(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 255 {
        return Err("is not a repository name of 1 to 255 characters");
    }
    if text.split('/').all(is_component) {
        Ok(())
    } else {
        Err(
            "is not a repository name: lower-case letters and digits, joined by one of . _ __ - within a component and by / between components",
        )
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    bytes
        .split(|b| alphanumeric(*b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn check_tag(text: &str) -> Result<(), &'static str> {
    let mut bytes = text.bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.len() <= 128 && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || matches!(b, b'.' | b'-')) {
        Ok(())
    } else {
        Err("is not a tag: 1 to 128 of letters, digits, _ . -, not beginning with . or -")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_follow_the_grammar() {
        for good in [
            "a",
            "core/team/app",
            "a__b",
            "a-b",
            "a---b",
            "a.b/c_d",
            "0/1",
            &"a".repeat(255),
        ] {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a//b", "../a", "a/../b", "A", "a/", "/a", "a..b", "a___b", "-a", "a-", "a%2fb", "a b", "a\0",
            "é", "a:b", &long,
        ] {
            assert_eq!(
                bad.parse::<Repository>().unwrap_err().code(),
                "INVALID_REFERENCE",
                "{bad}"
            );
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        let (longest, too_long) = ("a".repeat(128), "a".repeat(129));
        for good in ["v1", "_", "Rel_1.0-RC.1", "3.10", &longest] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-x", "a:b", "sha256:00", "a/b", "a\n", "ä", &too_long] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        for (text, name) in [
            ("localhost", "localhost"),
            ("127.0.0.1:5000", "127.0.0.1"),
            ("[::1]:5000", "[::1]"),
            ("a-b.example.com:443", "a-b.example.com"),
        ] {
            assert_eq!(text.parse::<RegistryHost>().unwrap().hostname(), name);
        }
        for bad in [
            "",
            "a..b",
            "a:",
            "a:x",
            "a:99999",
            "user@host",
            "a/b",
            "-a.com",
            "[::1",
            "[zz]:1",
            "a.com.",
        ] {
            assert!(bad.parse::<RegistryHost>().is_err(), "{bad}");
        }
    }
}
