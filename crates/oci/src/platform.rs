//! Platforms: what an image runs on, and which of them are selected.
//!
//! Platforms are compared in their normal form, as containerd does (containerd/platforms `normalizeArch`): `linux/arm64` is
//! `linux/arm64/v8`, `linux/arm` is `linux/arm/v7`, `x86_64` is `amd64`. Two variants are two platforms: `linux/arm` does not
//! select `linux/arm/v6`, nor `linux/amd64` an image for `linux/amd64/v3`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::shown;

/// The platform of an image. Unknown fields are ignored, because manifests are copied as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Operating system, as in `GOOS`.
    pub os: String,
    /// Version of the operating system, such as `10.0.17763.4974`. Images of Windows have one.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Processor architecture, as in `GOARCH`.
    pub architecture: String,
    /// Variant of the architecture, such as `v8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// True if it names a platform. Build tools list attestations with the platform `unknown/unknown`.
    pub fn is_known(&self) -> bool {
        let is_known = |part: &str| !part.is_empty() && part != "unknown";
        is_known(&self.os) && is_known(&self.architecture)
    }

    /// The normal form of operating system, architecture and variant.
    fn normal(&self) -> (String, String, String) {
        let lower = |part: &str| part.to_ascii_lowercase();
        let os = match lower(&self.os).as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = lower(self.variant.as_deref().unwrap_or_default());
        let architecture = lower(&self.architecture);
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", String::new()),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", String::new()),
            ("x86_64" | "x86-64", _) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", String::new()),
            ("aarch64", _) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7".to_owned()),
            ("armel", _) => ("arm", "v6".to_owned()),
            ("arm", "5" | "6" | "8") => ("arm", format!("v{variant}")),
            (architecture, _) => (architecture, variant),
        };
        (os, architecture.to_owned(), variant)
    }

    /// True if an image of `other` is one of this platform. Without a version of the operating system it selects all of them;
    /// `10.0.17763` selects `10.0.17763.4974`.
    pub fn selects(&self, other: &Self) -> bool {
        let is_version = || match (&self.os_version, &other.os_version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(version)) => version
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        };
        self.normal() == other.normal() && is_version()
    }
}

/// As it is written in a document: `linux/arm64/v8`, `windows(10.0.17763)/amd64`.
impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.os)?;
        if let Some(version) = &self.os_version {
            write!(formatter, "({version})")?;
        }
        write!(formatter, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    /// A sentence.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            format!(
                "{} is not a platform: write os/architecture or os/architecture/variant, such as linux/amd64 or linux/arm64/v8",
                shown(text)
            )
        })
    }
}

fn parse(text: &str) -> Option<Platform> {
    let is_word = |part: &str| {
        let is_valid =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        !part.is_empty() && part.bytes().all(is_valid)
    };
    let mut parts = text.split('/');
    let (os, architecture, variant) = (parts.next()?, parts.next()?, parts.next());
    let (os, os_version) = match os.strip_suffix(')').and_then(|os| os.split_once('(')) {
        Some((os, version)) => (os, Some(version)),
        None => (os, None),
    };
    let words = [Some(os), os_version, Some(architecture), variant];
    let is_valid = parts.next().is_none() && words.into_iter().flatten().all(is_word);
    is_valid.then(|| Platform {
        os: os.to_owned(),
        os_version: os_version.map(str::to_owned),
        architecture: architecture.to_owned(),
        variant: variant.map(str::to_owned),
    })
}

/// The platforms that are copied. With none in `only`, all are copied, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Platforms {
    /// The platforms, each once.
    pub only: Vec<Platform>,
    /// An index is copied unchanged, with only these platforms.
    pub sparse: bool,
}

#[derive(Serialize, Deserialize)]
struct Written {
    only: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sparse: bool,
}

impl From<Platforms> for Written {
    fn from(platforms: Platforms) -> Self {
        Self {
            only: platforms.only.iter().map(ToString::to_string).collect(),
            sparse: platforms.sparse,
        }
    }
}

impl TryFrom<Written> for Platforms {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let only = written.only.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self {
            only,
            sparse: written.sparse,
        })
    }
}

impl Platforms {
    /// These platforms, each once: `linux/arm64` and `linux/arm64/v8` are one.
    pub fn new(all: impl IntoIterator<Item = Platform>, sparse: bool) -> Self {
        let mut only: Vec<Platform> = Vec::new();
        for platform in all {
            if !only
                .iter()
                .any(|other| other.selects(&platform) && platform.selects(other))
            {
                only.push(platform);
            }
        }
        Self { only, sparse }
    }

    /// True if every platform is copied.
    pub const fn is_all(&self) -> bool {
        self.only.is_empty()
    }

    /// The positions in `only` of those that select `platform`.
    pub fn selecting<'p>(&'p self, platform: &'p Platform) -> impl Iterator<Item = usize> + 'p {
        let all = self.only.iter().enumerate();
        all.filter(|(_, only)| only.selects(platform))
            .map(|(position, _)| position)
    }

    /// A text that is the same for the same selection.
    pub fn key(&self) -> String {
        let mut only: Vec<String> = self.only.iter().map(ToString::to_string).collect();
        only.sort_unstable();
        only.dedup();
        let sparse = if self.sparse { " sparse" } else { "" };
        format!("{}{sparse}", only.join(","))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn a_platform_has_two_or_three_parts() {
        let arm = platform("linux/arm64/v8");
        assert_eq!(
            (arm.os.as_str(), arm.architecture.as_str(), arm.variant.as_deref()),
            ("linux", "arm64", Some("v8"))
        );
        assert_eq!(platform("windows/amd64").variant, None);
        assert_eq!(
            platform("windows(10.0.17763)/amd64").os_version.as_deref(),
            Some("10.0.17763")
        );
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux//v8",
            "Linux/amd64",
            "linux/arm64/v8/x",
            "linux amd64",
            "windows()/amd64",
            "windows(1/amd64",
            "*/*",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn platforms_are_compared_in_their_normal_form() {
        for (wanted, other) in [
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/amd64", "linux/x86_64"),
            ("linux/amd64", "linux/amd64/v1"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("windows/amd64", "windows(10.0.20348.2)/amd64"),
            ("windows(10.0.20348)/amd64", "windows(10.0.20348.2)/amd64"),
        ] {
            assert!(platform(wanted).selects(&platform(other)), "{wanted} {other}");
        }
        for (wanted, other) in [
            ("linux/arm64", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v6"),
            ("linux/amd64", "linux/amd64/v3"),
            ("linux/amd64", "windows/amd64"),
            ("windows(10.0.2)/amd64", "windows(10.0.20348.2)/amd64"),
            ("windows(10.0.20348)/amd64", "windows/amd64"),
        ] {
            assert!(!platform(wanted).selects(&platform(other)), "{wanted} {other}");
        }
        let odd = Platform {
            os: "Linux".into(),
            architecture: "ARM64".into(),
            variant: Some("V8".into()),
            os_version: None,
        };
        assert!(platform("linux/arm64").selects(&odd));
    }

    proptest! {
        #[test]
        fn a_platform_is_read_as_it_is_shown(text in "[a-z]{1,5}(\\([0-9.]{1,5}\\))?/[a-z0-9_.-]{1,5}(/v[0-9])?") {
            let platform: Platform = text.parse().unwrap();
            prop_assert_eq!(platform.to_string(), text);
            prop_assert!(platform.selects(&platform));
            let platforms = Platforms { only: vec![platform], sparse: true };
            let written = serde_json::to_string(&platforms).unwrap();
            prop_assert_eq!(serde_json::from_str::<Platforms>(&written).unwrap(), platforms);
        }
    }
}
