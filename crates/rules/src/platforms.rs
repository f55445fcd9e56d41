//! The platforms that a rule copies.

use transship_oci::Platform;

use crate::error::shown;

/// The platforms that a rule copies. With none in `only`, all are copied, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Platforms {
    /// The platforms, each once.
    pub only: Vec<Platform>,
    /// The index is copied unchanged, with only these platforms.
    pub sparse: bool,
}

/// Parses `linux/amd64` or `linux/arm64/v8`. The error is a sentence.
pub(crate) fn platform(text: &str) -> Result<Platform, String> {
    let is_word = |part: &&str| {
        let is_valid =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        !part.is_empty() && part.bytes().all(is_valid)
    };
    let parts: Vec<&str> = text.split('/').filter(is_word).collect();
    let (os, architecture, variant) = match (parts.as_slice(), text.split('/').count()) {
        (&[os, architecture], 2) => (os, architecture, None),
        (&[os, architecture, variant], 3) => (os, architecture, Some(variant)),
        _ => {
            return Err(format!(
                "{} is not a platform: write os/architecture or os/architecture/variant, such as linux/amd64 or linux/arm64/v8",
                shown(text)
            ));
        }
    };
    Ok(Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_has_two_or_three_parts() {
        let arm = platform("linux/arm64/v8").unwrap();
        assert_eq!(
            (arm.os.as_str(), arm.architecture.as_str(), arm.variant.as_deref()),
            ("linux", "arm64", Some("v8"))
        );
        assert_eq!(platform("windows/amd64").unwrap().variant, None);
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux//v8",
            "Linux/amd64",
            "linux/arm64/v8/x",
            "linux amd64",
        ] {
            assert!(platform(text).is_err(), "{text}");
        }
    }
}
