//! References to images: `host/repository:tag@digest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, shown};
use crate::{Digest, RegistryHost, Repository, Tag};

/// A reference to an image: registry, repository, and a tag, a digest, or both (the digest then takes precedence).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The registry.
    pub host: RegistryHost,
    /// The repository.
    pub repository: Repository,
    /// The tag, if there is one.
    pub tag: Option<Tag>,
    /// The digest, if there is one.
    pub digest: Option<Digest>,
}

/// A tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A tag, which may move.
    Tag(Tag),
    /// A digest, which never changes.
    Digest(Digest),
}

impl Target {
    /// The tag, if it is one.
    pub const fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Digest(_) => None,
        }
    }

    /// The digest, if it is one.
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Tag(_) => None,
            Self::Digest(digest) => Some(digest),
        }
    }

    /// The separator between repository and target: `:` or `@`.
    pub const fn separator(&self) -> char {
        match self {
            Self::Tag(_) => ':',
            Self::Digest(_) => '@',
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(formatter),
            Self::Digest(digest) => fmt::Display::fmt(digest, formatter),
        }
    }
}

impl Reference {
    /// The target to request: the digest if there is one, otherwise the tag, otherwise `latest`.
    pub fn target(&self) -> Result<Target, Error> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Ok(Target::Digest(digest.clone())),
            (None, Some(tag)) => Ok(Target::Tag(tag.clone())),
            (None, None) => Ok(Target::Tag("latest".parse()?)),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Parses a reference as Docker does: the first component is a host if it contains a `.` or `:` or is `localhost`; otherwise
    /// the host is `docker.io`, and a single component is in `library/`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::refused(Code::InvalidReference, format!("{} {why}", shown(text)));
        if text.contains("://") {
            return Err(refuse("is a URL: expected host/repository:tag"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = match name.rfind(':') {
            Some(at) if !name[at..].contains('/') => (&name[..at], Some(name[at + 1..].parse::<Tag>()?)),
            _ => (name, None),
        };
        let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost" || first.starts_with('[');
        let (host, repository) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest.to_owned()),
            _ => ("docker.io", name.to_owned()),
        };
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        let repository = if host == "docker.io" && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        Ok(Self {
            host: host.parse()?,
            repository: repository.parse()?,
            tag,
            digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_parse_as_docker_parses_them() {
        for (text, canonical) in [
            ("nginx", "docker.io/library/nginx"),
            ("team/app:1", "docker.io/team/app:1"),
            ("localhost/app:1", "localhost/app:1"),
            ("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app"),
            ("[::1]:5000/app:x", "[::1]:5000/app:x"),
            ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), canonical);
            assert_eq!(canonical.parse::<Reference>().unwrap(), reference);
        }
        let digest = Digest::sha256(b"x");
        let both: Reference = format!("r.example/app:v1@{digest}").parse().unwrap();
        assert_eq!(both.target().unwrap(), Target::Digest(digest));
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for bad in [
            "",
            ":",
            "@",
            "r.example/",
            "r.example/a:",
            "r.example/A",
            "https://r.example/a",
            "r.example/a@sha256:00",
            "r.example/../a",
            "a b",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
