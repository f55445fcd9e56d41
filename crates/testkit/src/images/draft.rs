//! Builds a sample: blobs and manifests are added, and their descriptors are returned.

use bytes::Bytes;
use serde_json::{Value, json};
use transship_oci::media_type::{DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST};
use transship_oci::{Algorithm, Digest, Tag};

use super::{Sample, SampleManifest};
use transship_embedded_registry::VirtualBlob;

/// A gzipped OCI layer.
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An OCI layer that is not compressed.
pub(super) const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A Docker layer.
pub(super) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// The formats of an image.
#[derive(Clone, Copy)]
pub(super) enum Dialect {
    Oci,
    Docker,
}

impl Dialect {
    pub(super) const fn config(self) -> &'static str {
        match self {
            Self::Oci => OCI_CONFIG,
            Self::Docker => DOCKER_CONFIG,
        }
    }

    pub(super) const fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    const fn layer(self) -> &'static str {
        match self {
            Self::Oci => LAYER,
            Self::Docker => DOCKER_LAYER,
        }
    }
}

/// A sample without a root. Descriptors are JSON, so that a manifest can be written in any form.
pub(super) struct Draft {
    seed: u64,
    sample: Sample,
}

impl Draft {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            sample: Sample {
                blobs: [].into(),
                manifests: Vec::new(),
                root: Digest::sha256(b""),
            },
        }
    }

    /// Adds a blob of random bytes; `part` distinguishes the blobs of one seed.
    pub(super) fn random(&self, part: u64, size: usize) -> Bytes {
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(part);
        VirtualBlob::new(seed, size as u64).slice(0, size)
    }

    pub(super) fn blob(&mut self, media_type: &str, bytes: Bytes) -> Value {
        self.blob_by(Algorithm::Sha256, media_type, bytes)
    }

    pub(super) fn blob_by(&mut self, algorithm: Algorithm, media_type: &str, bytes: Bytes) -> Value {
        let digest = Digest::of(algorithm, &bytes);
        let descriptor = descriptor(media_type, &digest, bytes.len());
        self.sample.blobs.insert(digest, bytes);
        descriptor
    }

    pub(super) fn json_blob(&mut self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().into())
    }

    /// The configuration of an image for `platform`, with one entry per layer.
    pub(super) fn config(&mut self, dialect: Dialect, platform: &Value, layers: &[Value]) -> Value {
        let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": platform["architecture"],
            "os": platform["os"],
            "created": "2026-01-01T00:00:00Z",
            "author": format!("seed {}", self.seed),
            "config": { "Cmd": ["/app"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        self.json_blob(dialect.config(), &config)
    }

    /// Adds an image with random layers of these sizes in bytes. `part` distinguishes the images of one seed.
    pub(super) fn image(&mut self, dialect: Dialect, part: u64, platform: &Value, sizes: &[usize]) -> Value {
        let layers: Vec<Value> = (1..)
            .zip(sizes)
            .map(|(at, size)| {
                let bytes = self.random(part * 1000 + at, *size);
                self.blob(dialect.layer(), bytes)
            })
            .collect();
        let config = self.config(dialect, platform, &layers);
        let mut child = self.manifest(&json!({
            "schemaVersion": 2,
            "mediaType": dialect.manifest(),
            "config": config,
            "layers": layers,
        }));
        child["platform"] = platform.clone();
        child
    }

    /// Adds a manifest and returns its descriptor.
    pub(super) fn manifest(&mut self, value: &Value) -> Value {
        let media_type = value["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
        self.manifest_text(media_type, value.to_string())
    }

    pub(super) fn manifest_text(&mut self, media_type: &str, text: String) -> Value {
        self.push(media_type, text.into(), None)
    }

    pub(super) fn tagged_manifest(&mut self, value: &Value, tag: Option<Tag>) -> Value {
        let media_type = value["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
        self.push(media_type, value.to_string().into(), tag)
    }

    fn push(&mut self, media_type: &str, bytes: Bytes, tag: Option<Tag>) -> Value {
        let digest = Digest::sha256(&bytes);
        let descriptor = descriptor(media_type, &digest, bytes.len());
        self.sample.manifests.push(SampleManifest {
            media_type: media_type.into(),
            digest,
            bytes,
            tag,
        });
        descriptor
    }

    /// Continues from a finished sample.
    pub(super) const fn of(seed: u64, sample: Sample) -> Self {
        Self { seed, sample }
    }

    /// The sample whose root is the manifest added last.
    pub(super) fn finish(mut self) -> Sample {
        if let Some(last) = self.sample.manifests.last() {
            self.sample.root = last.digest.clone();
        }
        self.sample
    }

    /// The sample with the root it had.
    pub(super) fn finish_with_root(self) -> Sample {
        self.sample
    }
}

pub(super) fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

pub(super) fn platform(architecture: &str) -> Value {
    json!({ "architecture": architecture, "os": "linux" })
}
