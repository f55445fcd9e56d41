//! Parses a path into an endpoint. Names are validated here, before they are used for a lookup.
//!
//! Source: distribution-spec, Endpoints. Repository names contain slashes, so a path is parsed from its end.

use percent_encoding::percent_decode_str;
use transship_oci::{Digest, Repository, Result, Target};

use crate::refusal::Refusal;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Token,
    Catalog,
    Tags(Repository),
    Manifest(Repository, Target),
    Blob(Repository, Digest),
    UploadStart(Repository),
    Upload(Repository, String),
    Referrers(Repository, Digest),
}

impl Route {
    /// The endpoint of a percent-encoded `path`.
    pub(crate) fn parse(path: &str) -> Result<Self, Refusal> {
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| Refusal::bad_request("NAME_INVALID", "the path is not valid UTF-8"))?;
        if path == "/token" {
            return Ok(Self::Token);
        }
        let Some(rest) = path.strip_prefix("/v2") else {
            return Err(Refusal::not_found("UNSUPPORTED", "this path"));
        };
        let segments: Vec<&str> = rest.trim_matches('/').split('/').collect();
        match segments.as_slice() {
            [""] => Ok(Self::Ping),
            ["_catalog"] => Ok(Self::Catalog),
            [name @ .., "tags", "list"] => Ok(Self::Tags(repository(name)?)),
            [name @ .., "blobs", "uploads"] => Ok(Self::UploadStart(repository(name)?)),
            [name @ .., "blobs", "uploads", id] => Ok(Self::Upload(repository(name)?, (*id).to_owned())),
            [name @ .., "blobs", hash] => Ok(Self::Blob(repository(name)?, digest(hash)?)),
            [name @ .., "manifests", reference] => Ok(Self::Manifest(repository(name)?, target(reference)?)),
            [name @ .., "referrers", hash] => Ok(Self::Referrers(repository(name)?, digest(hash)?)),
            _ => Err(Refusal::not_found("UNSUPPORTED", "this path")),
        }
    }

    /// The repository of the endpoint, if it has one.
    pub(crate) const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Ping | Self::Token | Self::Catalog => None,
            Self::Tags(repository)
            | Self::Manifest(repository, _)
            | Self::Blob(repository, _)
            | Self::UploadStart(repository)
            | Self::Upload(repository, _)
            | Self::Referrers(repository, _) => Some(repository),
        }
    }
}

fn repository(segments: &[&str]) -> Result<Repository, Refusal> {
    segments
        .join("/")
        .parse()
        .map_err(|error: transship_oci::Error| Refusal::bad_request("NAME_INVALID", error.to_string()))
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|error: transship_oci::Error| Refusal::bad_request("DIGEST_INVALID", error.to_string()))
}

fn target(text: &str) -> Result<Target, Refusal> {
    if text.contains(':') {
        return digest(text).map(Target::Digest);
    }
    text.parse()
        .map(Target::Tag)
        .map_err(|error: transship_oci::Error| Refusal::bad_request("TAG_INVALID", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Route {
        Route::parse(path).unwrap()
    }

    #[test]
    fn a_path_is_read_from_its_end() {
        let hash = Digest::sha256(b"x");
        let name = |text: &str| text.parse::<Repository>().unwrap();
        assert_eq!(parse("/v2/"), Route::Ping);
        assert_eq!(parse("/v2"), Route::Ping);
        assert_eq!(parse("/v2/_catalog"), Route::Catalog);
        assert_eq!(parse("/v2/a/tags/list"), Route::Tags(name("a")));
        assert_eq!(
            parse("/v2/blobs/uploads/manifests/v1"),
            Route::Manifest(name("blobs/uploads"), Target::Tag("v1".parse().unwrap()))
        );
        assert_eq!(parse("/v2/a/b/blobs/uploads/"), Route::UploadStart(name("a/b")));
        assert_eq!(parse("/v2/a/b/blobs/uploads/7"), Route::Upload(name("a/b"), "7".into()));
        assert_eq!(
            parse(&format!("/v2/a/blobs/{}", hash.to_string().replace(':', "%3A"))),
            Route::Blob(name("a"), hash.clone())
        );
        assert_eq!(
            parse(&format!("/v2/a/referrers/{hash}")),
            Route::Referrers(name("a"), hash)
        );
    }

    #[test]
    fn names_that_break_the_grammar_name_no_endpoint() {
        for bad in [
            "/v2/A/tags/list",
            "/v2/../tags/list",
            "/v2/a%2f..%2fb/tags/list",
            "/v2/tags/list",
            "/v2/a/blobs/sha256:00",
            "/v2/a/manifests/-x",
            "/v2/a/b",
            "/v1/a",
        ] {
            assert!(Route::parse(bad).is_err(), "{bad}");
        }
    }
}
