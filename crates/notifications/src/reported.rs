//! The repository as a delivery names it.
//!
//! Alibaba Cloud reports names of old repositories with capital letters, which no repository of the specification has.
//! Such an event is shown as it came and matches no rule: a name in lower case could be another repository.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use transship_oci::{Error, Repository};

/// The name of a repository, valid except perhaps for capital letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedRepository(Name);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Valid(Repository),
    WithCapitals(String),
}

impl ReportedRepository {
    /// Reads a name that may contain capital letters.
    ///
    /// # Errors
    /// `INVALID_REFERENCE` if the name is not valid in lower case either.
    pub fn with_capitals(name: &str) -> Result<Self, Error> {
        let lower: Repository = name.to_ascii_lowercase().parse()?;
        Ok(Self(if lower.as_str() == name {
            Name::Valid(lower)
        } else {
            Name::WithCapitals(name.to_owned())
        }))
    }

    /// The repository; [`None`] if its name has capital letters.
    pub const fn valid(&self) -> Option<&Repository> {
        match &self.0 {
            Name::Valid(repository) => Some(repository),
            Name::WithCapitals(_) => None,
        }
    }

    /// The name as reported.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Valid(repository) => repository.as_str(),
            Name::WithCapitals(name) => name,
        }
    }
}

impl From<Repository> for ReportedRepository {
    fn from(repository: Repository) -> Self {
        Self(Name::Valid(repository))
    }
}

impl fmt::Display for ReportedRepository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for ReportedRepository {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ReportedRepository {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::with_capitals(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_capitals_is_shown_and_is_not_a_repository() {
        let capitals = ReportedRepository::with_capitals("team/App").unwrap();
        assert_eq!((capitals.as_str(), capitals.valid()), ("team/App", None));
        let valid = ReportedRepository::with_capitals("team/app").unwrap();
        assert_eq!(valid.valid().unwrap().as_str(), "team/app");
        for name in ["", "../App", "a b", "Ä", "team/\u{212a}app"] {
            assert!(ReportedRepository::with_capitals(name).is_err(), "{name}");
        }
    }
}
