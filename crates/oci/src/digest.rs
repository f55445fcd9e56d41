//! Content digests: `sha256:…` and `sha512:…`, and the incremental hash that verifies them.
//!
//! Source: OCI image-spec, descriptor.md, section Digests. Other algorithms are rejected by name (`DIGEST_UNSUPPORTED`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

use crate::error::{Code, Error, shown};

/// Maximum number of hexadecimal digits of a digest in a fallback tag, because a tag has a maximum length.
pub(crate) const FALLBACK_HEX_LEN: usize = 64;

/// The registered algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// 32 bytes, 64 hexadecimal digits.
    Sha256,
    /// 64 bytes, 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A valid digest. Safe as part of a URL or a path: lower-case hexadecimal of the right length only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The sha256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal part.
    pub const fn hex(&self) -> &str {
        &self.hex
    }

    /// The referrers fallback tag, `<algorithm>-<hex>`, truncated to 32 and 64 characters.
    /// Source: distribution-spec, Referrers Tag Schema.
    pub fn fallback_tag(&self) -> String {
        let hex = self.hex.get(..FALLBACK_HEX_LEN).unwrap_or(&self.hex);
        format!("{}-{hex}", self.algorithm.as_str())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Err(Error::refused(Code::InvalidDigest, format!("{} {why}", shown(text))));
        let (algorithm, hex) = match text.split_once(':') {
            Some(("sha256", hex)) => (Algorithm::Sha256, hex),
            Some(("sha512", hex)) => (Algorithm::Sha512, hex),
            Some((other, encoded)) if is_algorithm(other) && !encoded.is_empty() => {
                return Err(Error::refused(Code::DigestUnsupported, shown(other)));
            }
            Some(_) => return refuse("does not begin with an algorithm such as sha256"),
            None => return refuse("has no algorithm"),
        };
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return refuse(match algorithm {
                Algorithm::Sha256 => "does not have 64 lower-case hexadecimal digits",
                Algorithm::Sha512 => "does not have 128 lower-case hexadecimal digits",
            });
        }
        Ok(Self {
            algorithm,
            hex: hex.into(),
        })
    }
}

/// True for the name of an algorithm, supported or not. Source: image-spec, descriptor.md, Digests.
fn is_algorithm(text: &str) -> bool {
    let mut components = text.split(['+', '.', '_', '-']);
    components.all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// An incremental hash.
#[derive(Debug, Clone)]
pub enum Hasher {
    /// Incremental sha256.
    Sha256(sha2::Sha256),
    /// Incremental sha512.
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hash before the first byte.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The state, for [`Hasher::restore`] in another process of the same version of this software. It has about a hundred bytes
    /// and contains up to one block of the hashed bytes, so it is as confidential as the content.
    pub fn save(&self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.serialize().to_vec(),
            Self::Sha512(hasher) => hasher.serialize().to_vec(),
        }
    }

    /// Restores a saved state. `INVALID_DIGEST` if it is not valid.
    pub fn restore(algorithm: Algorithm, state: &[u8]) -> Result<Self, Error> {
        let refuse = || Error::refused(Code::InvalidDigest, "the saved state of the hash is not valid");
        match algorithm {
            Algorithm::Sha256 => {
                let state = SerializedState::<sha2::Sha256>::try_from(state).map_err(|_| refuse())?;
                sha2::Sha256::deserialize(&state)
                    .map(Self::Sha256)
                    .map_err(|_| refuse())
            }
            Algorithm::Sha512 => {
                let state = SerializedState::<sha2::Sha512>::try_from(state).map_err(|_| refuse())?;
                sha2::Sha512::deserialize(&state)
                    .map(Self::Sha512)
                    .map_err(|_| refuse())
            }
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest {
                algorithm: Algorithm::Sha256,
                hex: hex(&hasher.finalize()),
            },
            Self::Sha512(hasher) => Digest {
                algorithm: Algorithm::Sha512,
                hex: hex(&hasher.finalize()),
            },
        }
    }
}

fn hex(bytes: &[u8]) -> Box<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char])
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests_are_computed() {
        assert_eq!(
            Digest::sha256(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(
            Digest::of(Algorithm::Sha512, b"abc")
                .to_string()
                .starts_with("sha512:ddaf35a193617abacc417349ae204131")
        );
    }

    #[test]
    fn a_digest_that_could_climb_or_mislead_is_refused() {
        let hex = "0".repeat(64);
        let cases = [
            "sha256:../../x".into(),
            "sha256:".into(),
            hex.clone(),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256:{}A", &hex[1..]),
            format!("sha256:%2e%2e{}", &hex[6..]),
            format!("sha256:{}\u{0660}", &hex[2..]),
            format!("SHA256:{hex}"),
            format!("sha512:{hex}"),
            format!("sha256: {}", &hex[1..]),
            format!("sha256:{hex}\n"),
        ];
        for case in cases {
            assert_eq!(case.parse::<Digest>().unwrap_err().code(), "INVALID_DIGEST", "{case}");
        }
    }

    #[test]
    fn an_algorithm_that_is_not_supported_is_named() {
        for algorithm in ["blake3", "md5", "sha384", "multihash+base58"] {
            let error = format!("{algorithm}:{}", "0".repeat(64)).parse::<Digest>().unwrap_err();
            assert_eq!(error.code(), "DIGEST_UNSUPPORTED");
            assert!(error.message().contains(algorithm), "{error}");
        }
    }

    #[test]
    fn a_hash_goes_on_where_another_process_left_it() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let data: Vec<u8> = (0..1000_u32).flat_map(u32::to_be_bytes).collect();
            for cut in [0, 1, 63, 64, 127, 128, 129, data.len()] {
                let mut first = Hasher::new(algorithm);
                first.update(&data[..cut]);
                let mut second = Hasher::restore(algorithm, &first.save()).unwrap();
                second.update(&data[cut..]);
                assert_eq!(
                    second.finish(),
                    Digest::of(algorithm, &data),
                    "{algorithm:?} cut at {cut}"
                );
            }
            for nonsense in [&[][..], &[0; 7], &[255; 105]] {
                assert!(Hasher::restore(algorithm, nonsense).is_err());
            }
        }
    }

    #[test]
    fn the_fallback_tag_is_cut_to_what_a_tag_may_be() {
        let digest = Digest::of(Algorithm::Sha512, b"abc");
        assert_eq!(digest.fallback_tag().len(), "sha512-".len() + 64);
    }
}
