//! Parses a manifest from raw bytes.
//!
//! The bytes are kept and copied unchanged; parsing only finds descriptors. Unknown fields, key order and white space are
//! therefore preserved. Rejected: schema 1, a body that is both image and index (CVE-2021-41190), a `mediaType` that
//! contradicts its sender, too many descriptors, and invalid sizes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::error::{Code, Error, shown};
use crate::media_type::{self, MediaType};
use crate::{Descriptor, Digest};

mod derived;
mod written;

pub use derived::{Replacement, SOURCE_DIGEST};
use written::Written;
pub(crate) use written::with_annotations;

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
    sent_as: Option<MediaType>,
    body: Body,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
}

#[derive(Debug, Clone)]
enum Body {
    Image {
        config: Box<Descriptor>,
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

impl Manifest {
    /// Parses `bytes`. `content_type` is the media type from the sender. The `mediaType` of the body outranks it, and without
    /// both the structure determines the type.
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
        let sent = content_type.map(MediaType::new).filter(MediaType::is_manifest);
        if let Some(sent) = &sent {
            check_supported(sent)?;
        }
        let written = Written::parse(&bytes)?;
        if written.is_schema1() {
            return Err(schema1());
        }
        let own = written.media_type()?;
        let media_type = decide_type(&written, own, sent.as_ref())?;
        check_supported(&media_type)?;
        if written.lists_manifests() && written.has_blobs() {
            return Err(Error::refused(
                Code::ManifestAmbiguous,
                "it has both manifests and layers or a config",
            ));
        }
        let body = if media_type.is_index() {
            let manifests = written.manifests()?;
            Body::Index {
                manifests: manifests
                    .ok_or_else(|| Error::refused(Code::ManifestInvalid, "the index has no manifests"))?,
            }
        } else if media_type.is_image() {
            if written.lists_manifests() {
                return Err(Error::refused(
                    Code::ManifestAmbiguous,
                    format!("{media_type} has manifests"),
                ));
            }
            let config = written.config()?;
            let config = config.ok_or_else(|| Error::refused(Code::ManifestInvalid, "the image has no config"))?;
            Body::Image {
                config: Box::new(config),
                layers: written.layers()?,
            }
        } else {
            return Err(Error::refused(Code::ManifestUnsupported, shown(&media_type.0)));
        };
        let (subject, artifact_type) = (written.subject()?, written.artifact_type());
        let sent_as = sent.filter(|sent| *sent != media_type);
        let manifest = Self {
            bytes,
            digest,
            media_type,
            sent_as,
            body,
            subject,
            artifact_type,
        };
        let count = manifest.children().len() + manifest.blobs().count();
        if count > MAX_DESCRIPTORS {
            return Err(too_many(count));
        }
        Ok(manifest)
    }

    /// The same manifest with a copy of its bytes. The bytes of a manifest that was just read may hold memory that readers share.
    #[must_use]
    pub fn with_own_bytes(self) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(&self.bytes),
            ..self
        }
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

    /// The media type that its sender called it, if the body says otherwise: then the sender is wrong.
    pub const fn sent_as(&self) -> Option<&MediaType> {
        self.sent_as.as_ref()
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

    /// [`Manifest::children`] with their annotations, which are read for this and not kept.
    pub fn annotated_children(&self) -> Vec<Descriptor> {
        let written = Written::parse(&self.bytes);
        let children = written.and_then(|written| written.annotated_manifests());
        children.unwrap_or_else(|_| self.children().to_vec())
    }

    /// Config and layers, in order; empty for an index.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, layers) = match &self.body {
            Body::Image { config, layers } => (Some(&**config), layers.as_slice()),
            Body::Index { .. } => (None, [].as_slice()),
        };
        config.into_iter().chain(layers)
    }

    /// The configuration of an image.
    pub fn config(&self) -> Option<&Descriptor> {
        match &self.body {
            Body::Image { config, .. } => Some(config),
            Body::Index { .. } => None,
        }
    }

    /// The annotations by key, which are read for this and not kept.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let annotations = Written::parse(&self.bytes).map(|written| written.annotations());
        annotations.unwrap_or_default()
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
            .or_else(|| self.config().map(|config| config.media_type.0.clone()));
        let annotations = Written::parse(&self.bytes).map(|written| written.annotations());
        Descriptor {
            artifact_type,
            annotations: annotations.unwrap_or_default(),
            ..self.descriptor()
        }
    }

    /// The kind of content. An index has the kind of its artifact type, otherwise it is an image.
    pub fn kind(&self) -> Kind {
        if self.artifact_type.is_some() {
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

impl Written<'_> {
    fn is_schema1(&self) -> bool {
        let is_1 = self.schema_version.is_some_and(|version| version.get() == "1");
        is_1 || self.fs_layers.is_some() && !self.lists_manifests() && !self.has_blobs()
    }
}

/// The type of a manifest that states `own` and was sent as `sent`. What the body says outranks the sender, unless one of them
/// says image and the other index.
fn decide_type(written: &Written<'_>, own: Option<MediaType>, sent: Option<&MediaType>) -> Result<MediaType, Error> {
    if let (Some(own), Some(sent)) = (&own, sent)
        && own != sent
        && !(own.is_image() && sent.is_image() || own.is_index() && sent.is_index())
    {
        return Err(Error::refused(
            Code::MediaTypeMismatch,
            format!("sent as {}, but its mediaType is {}", shown(&sent.0), shown(&own.0)),
        ));
    }
    if let Some(own) = own {
        return Ok(own);
    }
    // Docker's types require a mediaType in the body. Nexus sends every manifest as Docker's.
    let is_oci = match sent.map(MediaType::as_str) {
        Some(media_type::DOCKER_MANIFEST) => written.config()?.is_some_and(|config| !config.media_type.is_docker()),
        Some(media_type::DOCKER_LIST) => {
            let children = written.manifests()?.unwrap_or_default();
            !children.is_empty() && !children.iter().any(|child| child.media_type.is_docker())
        }
        _ => false,
    };
    Ok(match (sent, is_oci) {
        (Some(sent), false) => sent.clone(),
        (Some(sent), true) if sent.is_image() => media_type::OCI_MANIFEST.into(),
        (Some(_), true) => media_type::OCI_INDEX.into(),
        (None, _) if written.is_index() => media_type::OCI_INDEX.into(),
        (None, _) => media_type::OCI_MANIFEST.into(),
    })
}

/// Refuses the types that registries store and Transship does not copy, by their name.
fn check_supported(media_type: &MediaType) -> Result<(), Error> {
    if media_type.is_schema1() {
        return Err(schema1());
    }
    if media_type.is_retired_artifact() {
        let why = format!("{media_type}, an artifact manifest, was withdrawn from the OCI specification");
        return Err(Error::refused(Code::ManifestUnsupported, why));
    }
    Ok(())
}

fn too_many(count: usize) -> Error {
    Error::refused(
        Code::ManifestInvalid,
        format!("{count} descriptors; the limit is {MAX_DESCRIPTORS}"),
    )
}

fn schema1() -> Error {
    Error::refused(
        Code::Schema1Unsupported,
        "push the image again with a current client, which writes schema 2",
    )
}

#[cfg(test)]
mod tests;
