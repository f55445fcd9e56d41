//! Parses a manifest from raw bytes.
//!
//! The bytes are kept and copied unchanged; parsing only finds descriptors. Unknown fields, key order and white space are
//! therefore preserved. Rejected: schema 1, a body that is both image and index (CVE-2021-41190), a `mediaType` that
//! contradicts its sender, too many descriptors, and invalid sizes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::descriptor::null_is_default;
use crate::error::{Code, Error, shown};
use crate::media_type::{self, MediaType};
use crate::{Descriptor, Digest};

/// Maximum size of a manifest in bytes. Registries limit manifests to 4 MiB (distribution, zot); the specification requires
/// support for at least 4 MB.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of descriptors in a manifest.
pub const MAX_DESCRIPTORS: usize = 20_000;

/// A manifest with its bytes and its descriptors.
#[derive(Debug, Clone)]
pub struct Manifest {
    bytes: Bytes,
    digest: Digest,
    media_type: MediaType,
    body: Body,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per manifest, and images are the common case"
)]
enum Body {
    Image {
        config: Option<Descriptor>,
        layers: Vec<Descriptor>,
    },
    Index {
        manifests: Vec<Descriptor>,
    },
}

/// Kind of content, as in rules and events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container image, or an index of them.
    Image,
    /// A Helm chart.
    Chart,
    /// Anything else that is stored as a manifest.
    Artifact,
}

impl Kind {
    /// The name used in rules and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Chart => "chart",
            Self::Artifact => "artifact",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    blobs: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Parses `bytes`. `content_type` is the media type from the sender; without it the `mediaType` of the body, or its structure,
    /// determines the type.
    pub fn parse(bytes: Bytes, content_type: Option<&str>) -> Result<Self, Error> {
        let digest = Digest::sha256(&bytes);
        Self::parse_with_digest(bytes, content_type, digest)
    }

    /// Like [`Manifest::parse`], with `digest`, which must be the digest of `bytes` (it may be sha512).
    pub fn parse_with_digest(bytes: Bytes, content_type: Option<&str>, digest: Digest) -> Result<Self, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::refused(
                Code::ManifestTooLarge,
                format!("{} bytes; the limit is {MAX_BYTES}", bytes.len()),
            ));
        }
        let sent = content_type
            .map(MediaType::new)
            .filter(|sent| sent.is_manifest() || sent.is_schema1());
        if sent.as_ref().is_some_and(MediaType::is_schema1) {
            return Err(schema1());
        }
        let raw: Raw =
            serde_json::from_slice(&bytes).map_err(|error| Error::refused(Code::ManifestInvalid, error.to_string()))?;
        if raw.schema_version == Some(1) || (raw.fs_layers.is_some() && raw.layers.is_none() && raw.manifests.is_none())
        {
            return Err(schema1());
        }
        let own = raw
            .media_type
            .as_deref()
            .filter(|own| !own.is_empty())
            .map(MediaType::new);
        if let (Some(sent), Some(own)) = (&sent, &own)
            && sent != own
        {
            return Err(Error::refused(
                Code::MediaTypeMismatch,
                format!("sent as {}, but its mediaType is {}", shown(&sent.0), shown(&own.0)),
            ));
        }
        let by_shape = if raw.manifests.is_some() {
            media_type::OCI_INDEX
        } else {
            media_type::OCI_MANIFEST
        };
        let media_type = own.or(sent).unwrap_or_else(|| by_shape.into());
        if media_type.is_schema1() {
            return Err(schema1());
        }
        if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some() || raw.blobs.is_some()) {
            return Err(Error::refused(
                Code::ManifestAmbiguous,
                "it has both manifests and layers or a config",
            ));
        }
        let body = if media_type.is_index() {
            Body::Index {
                manifests: raw
                    .manifests
                    .ok_or_else(|| Error::refused(Code::ManifestInvalid, "the index has no manifests"))?,
            }
        } else if media_type.is_image() {
            if raw.manifests.is_some() {
                return Err(Error::refused(
                    Code::ManifestAmbiguous,
                    format!("{media_type} has manifests"),
                ));
            }
            if raw.config.is_none() && media_type.as_str() != media_type::OCI_ARTIFACT {
                return Err(Error::refused(Code::ManifestInvalid, "the image has no config"));
            }
            Body::Image {
                config: raw.config,
                layers: raw.layers.or(raw.blobs).unwrap_or_default(),
            }
        } else {
            return Err(Error::refused(Code::ManifestUnsupported, shown(&media_type.0)));
        };
        let manifest = Self {
            bytes,
            digest,
            media_type,
            body,
            subject: raw.subject,
            artifact_type: raw.artifact_type,
            annotations: raw.annotations,
        };
        let count = manifest.children().len() + manifest.blobs().count();
        if count > MAX_DESCRIPTORS {
            return Err(Error::refused(
                Code::ManifestInvalid,
                format!("{count} descriptors; the limit is {MAX_DESCRIPTORS}"),
            ));
        }
        Ok(manifest)
    }

    /// The original bytes, which are written unchanged.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The digest.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// True if `digest` is a digest of this manifest, in whichever algorithm.
    pub fn is(&self, digest: &Digest) -> bool {
        self.digest == *digest
            || self.digest.algorithm() != digest.algorithm() && Digest::of(digest.algorithm(), &self.bytes) == *digest
    }

    /// The media type, which is sent as `Content-Type`.
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The manifests of an index, in its order; empty for an image.
    pub fn children(&self) -> &[Descriptor] {
        match &self.body {
            Body::Index { manifests } => manifests,
            Body::Image { .. } => &[],
        }
    }

    /// Config and layers, in order; empty for an index.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, layers) = match &self.body {
            Body::Image { config, layers } => (config.as_ref(), layers.as_slice()),
            Body::Index { .. } => (None, [].as_slice()),
        };
        config.into_iter().chain(layers)
    }

    /// The configuration of an image.
    pub const fn config(&self) -> Option<&Descriptor> {
        match &self.body {
            Body::Image { config, .. } => config.as_ref(),
            Body::Index { .. } => None,
        }
    }

    /// An index or a manifest list.
    pub const fn is_index(&self) -> bool {
        matches!(self.body, Body::Index { .. })
    }

    /// The subject, if this manifest is a referrer.
    pub const fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// A descriptor of this manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size())
    }

    /// The descriptor of this referrer in a list of referrers, with its artifact type and all its annotations.
    /// Source: distribution-spec, Pushing Manifests with Subject.
    pub fn referrer_descriptor(&self) -> Descriptor {
        let artifact_type = self
            .artifact_type
            .clone()
            .filter(|kind| !kind.is_empty())
            .or_else(|| self.config().map(|config| config.media_type.0.clone()));
        Descriptor {
            artifact_type,
            annotations: self.annotations.clone(),
            ..self.descriptor()
        }
    }

    /// The kind of content. An index has the kind of its artifact type, otherwise it is an image.
    pub fn kind(&self) -> Kind {
        if self.artifact_type.as_deref().is_some_and(|kind| !kind.is_empty()) {
            return Kind::Artifact;
        }
        match self.config().map(|config| config.media_type.as_str()) {
            Some(media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) => Kind::Image,
            Some(media_type::HELM_CONFIG) => Kind::Chart,
            None if self.is_index() => Kind::Image,
            _ => Kind::Artifact,
        }
    }
}

fn schema1() -> Error {
    Error::refused(
        Code::Schema1Unsupported,
        "push the image again with a current client, which writes schema 2",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, Error> {
        Manifest::parse(Bytes::copy_from_slice(text.as_bytes()), None)
    }

    fn blob(kind: &str) -> String {
        format!(
            r#"{{"mediaType":"{kind}","digest":"{}","size":3}}"#,
            Digest::sha256(b"abc")
        )
    }

    #[test]
    fn the_bytes_are_kept_and_the_edges_found() {
        let text = format!(
            "{{ \"schemaVersion\":2, \"x-unknown\":[1], \"config\":{}, \"layers\":[{},{}], \"annotations\":null }}\n",
            blob(media_type::OCI_CONFIG),
            blob("a/b"),
            blob("application/vnd.oci.image.layer.nondistributable.v1.tar")
        );
        let manifest = parse(&text).unwrap();
        assert_eq!(manifest.bytes(), text.as_bytes());
        assert_eq!(manifest.media_type().as_str(), media_type::OCI_MANIFEST);
        assert_eq!(manifest.blobs().count(), 3);
        assert!(manifest.blobs().last().unwrap().media_type.is_non_distributable());
        assert_eq!(manifest.kind(), Kind::Image);
    }

    #[test]
    fn kinds_are_told_by_the_config() {
        let with = |config: &str| {
            parse(&format!(
                r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
                blob(config)
            ))
            .unwrap()
            .kind()
        };
        assert_eq!(with(media_type::HELM_CONFIG), Kind::Chart);
        assert_eq!(with(media_type::DOCKER_CONFIG), Kind::Image);
        assert_eq!(with("application/vnd.oci.empty.v1+json"), Kind::Artifact);
        assert_eq!(
            parse(r#"{"schemaVersion":2,"manifests":[]}"#).unwrap().kind(),
            Kind::Image
        );
    }

    #[test]
    fn what_misleads_is_refused_with_its_code() {
        let both = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#,
            blob("a/b")
        );
        for (text, code) in [
            (both.as_str(), "MANIFEST_AMBIGUOUS"),
            (
                r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#,
                "MANIFEST_SCHEMA1_UNSUPPORTED",
            ),
            (r#"{"schemaVersion":2,"fsLayers":[]}"#, "MANIFEST_SCHEMA1_UNSUPPORTED"),
            (r#"{"schemaVersion":2,"layers":[]}"#, "MANIFEST_INVALID"),
            (
                r#"{"schemaVersion":2,"mediaType":"application/x","config":null}"#,
                "MANIFEST_UNSUPPORTED",
            ),
            ("[]", "MANIFEST_INVALID"),
            ("{", "MANIFEST_INVALID"),
            ("\u{feff}{}", "MANIFEST_INVALID"),
            ("<html>", "MANIFEST_INVALID"),
            (
                r#"{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:../..","size":1}}"#,
                "MANIFEST_INVALID",
            ),
            (
                r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:00","size":-1}]}"#,
                "MANIFEST_INVALID",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().code(), code, "{text}");
        }
        let index = Bytes::from_static(
            br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
        );
        assert_eq!(
            Manifest::parse(index.clone(), Some(media_type::OCI_MANIFEST))
                .unwrap_err()
                .code(),
            "MEDIA_TYPE_MISMATCH"
        );
        assert!(Manifest::parse(index, Some("application/vnd.oci.image.index.v1+json; charset=utf-8")).is_ok());
        assert_eq!(
            Manifest::parse(Bytes::from(vec![b' '; MAX_BYTES + 1]), None)
                .unwrap_err()
                .code(),
            "MANIFEST_TOO_LARGE"
        );
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        let text = format!(
            "{{\"schemaVersion\":2,\"x\":{}{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(parse(&text).unwrap_err().code(), "MANIFEST_INVALID");
    }
}
