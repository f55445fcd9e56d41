//! The name of an object store, `scheme:rest`: `s3://bucket`. The scheme decides which adapter opens it.

use serde::{Deserialize, Serialize};

use transship_oci::Error;

use crate::import::store_unknown;

/// An object store that holds layouts and archives. Shown as it is written: `s3://bucket`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName {
    text: String,
    /// Length of the scheme in bytes.
    scheme: usize,
}

impl StoreName {
    /// The S3 bucket of this name.
    pub fn bucket(bucket: &str) -> Self {
        Self::new("s3", &format!("//{bucket}"))
    }

    /// A folder of this machine.
    pub fn folder(path: &str) -> Self {
        Self::new("file", path)
    }

    fn new(scheme: &str, rest: &str) -> Self {
        Self {
            text: format!("{scheme}:{rest}"),
            scheme: scheme.len(),
        }
    }

    /// The part that decides which adapter opens the store: `s3`.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme]
    }

    /// What the adapter of the scheme understands: `//bucket`.
    pub fn rest(&self) -> &str {
        &self.text[self.scheme + 1..]
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .chars()
            .all(|other| other.is_ascii_lowercase() || other.is_ascii_digit())
}

impl std::str::FromStr for StoreName {
    type Err = Error;

    /// `STORE_UNKNOWN` for a text without a scheme.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) && !rest.is_empty() => Ok(Self::new(scheme, rest)),
            _ => Err(store_unknown(text)),
        }
    }
}

impl TryFrom<String> for StoreName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<StoreName> for String {
    fn from(name: StoreName) -> Self {
        name.text
    }
}

impl std::fmt::Display for StoreName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_a_scheme_and_is_shown_as_it_was_written() {
        let store: StoreName = "s3://layouts".parse().unwrap();
        assert_eq!(store, StoreName::bucket("layouts"));
        assert_eq!((store.scheme(), store.rest()), ("s3", "//layouts"));
        assert_eq!(store.to_string(), "s3://layouts");
        assert_eq!(serde_json::to_string(&store).unwrap(), r#""s3://layouts""#);
        for wrong in ["", "layouts", ":layouts", "s3:", "/var/a:b", "S3://a"] {
            assert_eq!(
                wrong.parse::<StoreName>().unwrap_err().code(),
                "STORE_UNKNOWN",
                "{wrong}"
            );
        }
    }
}
