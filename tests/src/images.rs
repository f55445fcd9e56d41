//! Images of every shape a registry holds, from seeds: the same seed gives the same bytes and digests.
//!
//! They are kept whole in memory and can be pushed raw, or written as an OCI layout for skopeo. They are made here and
//! not taken from the product's own samples, so that product and test cannot share a misunderstanding.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use crate::push;
use crate::random::Random;

/// OCI image manifest.
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Bytes with their type and name.
#[derive(Debug, Clone)]
pub struct Content {
    /// The media type.
    pub media_type: String,
    /// `sha256:…`, or `sha512:…` where a sample asks for it.
    pub digest: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// An image: blobs, and manifests with children before parents, so that the last is the one a tag names.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// All blobs.
    pub blobs: Vec<Content>,
    /// All manifests.
    pub manifests: Vec<Content>,
}

impl Content {
    /// Names `bytes` by sha256.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{}", hex(&Sha256::digest(&bytes))),
            bytes,
        }
    }

    /// Names `bytes` by sha512.
    pub fn sha512(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: format!("sha512:{}", hex(&Sha512::digest(&bytes))),
            bytes,
        }
    }

    fn json(media_type: &str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

impl Image {
    /// The manifest a tag names.
    pub fn root(&self) -> &Content {
        self.manifests.last().expect("an image has a manifest")
    }

    /// A single image of layers of these sizes.
    pub fn single(seed: u64, layer_sizes: &[usize]) -> Self {
        let mut random = Random::new(seed);
        let layers = layer_sizes
            .iter()
            .map(|size| Content::new(LAYER_GZIP, random.bytes(*size)))
            .collect();
        Self::of_layers("amd64", layers, &json!({ "seed": seed.to_string() }))
    }

    /// An image of these layers for one architecture.
    pub fn of_layers(architecture: &str, layers: Vec<Content>, annotations: &Value) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.digest).collect();
        // One entry per layer, without which no client converts an image to Docker's schema 1.
        let history = vec![json!({ "created": "2026-01-02T03:04:05Z", "created_by": "the tests" }); layers.len()];
        let config = Content::json(
            CONFIG,
            &json!({ "architecture": architecture, "os": "linux", "config": {}, "history": history,
                     "rootfs": { "type": "layers", "diff_ids": diff_ids } }),
        );
        Self::manifest_of(config, layers, json!({ "annotations": annotations }))
    }

    /// A chart as Helm pushes it.
    pub fn chart(seed: u64) -> Self {
        let config = Content::json(
            "application/vnd.cncf.helm.config.v1+json",
            &json!({ "name": "chart", "version": format!("0.1.{seed}"), "apiVersion": "v2" }),
        );
        let archive = Random::new(seed).bytes(5000);
        let chart = Content::new("application/vnd.cncf.helm.chart.content.v1.tar+gzip", archive);
        Self::manifest_of(config, vec![chart], json!({}))
    }

    /// An artifact as ORAS pushes it: an empty config, an `artifactType`, a layer of its own type.
    pub fn artifact(seed: u64) -> Self {
        let layer = Content::new("application/vnd.example.data", Random::new(seed).bytes(3000));
        Self::manifest_of(
            empty_config(),
            vec![layer],
            json!({ "artifactType": "application/vnd.example.thing" }),
        )
    }

    /// An artifact about `subject`, such as a software bill of materials.
    pub fn referrer(seed: u64, subject: &Content) -> Self {
        let layer = Content::new("application/spdx+json", Random::new(seed).bytes(700));
        Self::manifest_of(
            empty_config(),
            vec![layer],
            json!({ "artifactType": "application/spdx+json", "subject": subject.descriptor() }),
        )
    }

    /// A layer that is not compressed, and one of no bytes at all.
    pub fn uncompressed_and_empty(seed: u64) -> Self {
        let layers = vec![
            Content::new(LAYER_TAR, vec![b'a'; 64 * 1024]),
            Content::new(LAYER_TAR, Vec::new()),
            Content::new(LAYER_TAR, Random::new(seed).bytes(1000)),
        ];
        Self::of_layers("amd64", layers, &json!({}))
    }

    /// A layer that stays where it is, beside one that travels; and fields no specification knows, in odd places.
    pub fn foreign_layer_and_unknown_fields(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let layer = Content::new(LAYER_GZIP, random.bytes(900));
        let foreign = Content::new(
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            random.bytes(10),
        );
        let mut elsewhere = foreign.descriptor();
        elsewhere["urls"] = json!(["https://layers.example/base.tar.gz"]);
        let config = Content::json(
            CONFIG,
            &json!({ "architecture": "amd64", "os": "windows", "x-unknown": [1, null] }),
        );
        let layers = [layer.descriptor(), elsewhere];
        let mut image = Self::manifest_of(config, vec![layer], json!({ "x-vendor": { "deep": [true, 1.50] } }));
        let mut manifest: Value = serde_json::from_slice(&image.root().bytes).expect("it was made of JSON");
        manifest["layers"] = json!(layers);
        // Spaces that any re-serialisation would lose.
        let spaced = serde_json::to_vec_pretty(&manifest).expect("JSON can be written");
        image.manifests = vec![Content::new(IMAGE, spaced)];
        image
    }

    /// A layer named by sha512.
    pub fn sha512_layer(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let layers = vec![
            Content::sha512(LAYER_GZIP, random.bytes(40_000)),
            Content::new(LAYER_GZIP, random.bytes(2000)),
        ];
        Self::of_layers("amd64", layers, &json!({}))
    }

    /// A manifest of about `size` bytes, filled with annotations.
    pub fn large_manifest(seed: u64, size: usize) -> Self {
        let note = "n".repeat(1000);
        let annotations: serde_json::Map<_, _> = (0..size / 1020)
            .map(|number| (format!("note-{number:05}"), Value::from(note.as_str())))
            .collect();
        let layer = Content::new(LAYER_GZIP, Random::new(seed).bytes(1000));
        Self::of_layers("amd64", vec![layer], &Value::Object(annotations))
    }

    /// An index of several platforms; one child carries a layer of its own, all share another.
    pub fn multi_platform(seed: u64, layer_size: usize) -> Self {
        let mut random = Random::new(seed);
        let shared = Content::new(LAYER_GZIP, random.bytes(layer_size));
        let children = ["amd64", "arm64", "s390x"].map(|architecture| {
            let layers = vec![shared.clone(), Content::new(LAYER_GZIP, random.bytes(layer_size / 2))];
            (Self::of_layers(architecture, layers, &json!({})), Some(architecture))
        });
        Self::index_of(children.into())
    }

    /// An index in an index.
    pub fn nested(seed: u64) -> Self {
        let inner = Self::multi_platform(seed, 2000);
        let beside = Self::single(seed + 1, &[1500]);
        Self::index_of(vec![(inner, None), (beside, Some("riscv64"))])
    }

    /// An index over other images.
    pub fn index_of(children: Vec<(Self, Option<&str>)>) -> Self {
        let mut image = Self::default();
        let mut descriptors = Vec::new();
        for (child, architecture) in children {
            let mut descriptor = child.root().descriptor();
            if let Some(architecture) = architecture {
                descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
            }
            descriptors.push(descriptor);
            image.blobs.extend(child.blobs);
            image.manifests.extend(child.manifests);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors });
        image.manifests.push(Content::json(INDEX, &index));
        image
    }

    fn manifest_of(config: Content, layers: Vec<Content>, more: Value) -> Self {
        let descriptors: Vec<_> = layers.iter().map(Content::descriptor).collect();
        let mut manifest =
            json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config.descriptor(), "layers": descriptors });
        if let (Value::Object(manifest), Value::Object(more)) = (&mut manifest, more) {
            manifest.extend(more);
        }
        let mut blobs = vec![config];
        blobs.extend(layers);
        Self {
            blobs,
            manifests: vec![Content::json(IMAGE, &manifest)],
        }
    }

    /// Pushes everything but the tag: blobs, then all manifests by digest except the last.
    pub fn push_parts(&self, host: &str, repository: &str) {
        for blob in &self.blobs {
            push::blob(host, repository, &blob.digest, &blob.bytes);
        }
        for child in &self.manifests[..self.manifests.len() - 1] {
            push::manifest(host, repository, &child.digest, &child.media_type, &child.bytes);
        }
    }

    /// Pushes the last manifest under `reference`, a tag or its own digest.
    pub fn push_root(&self, host: &str, repository: &str, reference: &str) {
        let root = self.root();
        push::manifest(host, repository, reference, &root.media_type, &root.bytes);
    }

    /// Pushes everything, the tag last.
    pub fn push(&self, host: &str, repository: &str, tag: &str) {
        self.push_parts(host, repository);
        self.push_root(host, repository, tag);
    }

    /// Writes an OCI layout into a new folder, with `name` as the reference.
    pub fn write_layout(&self, folder: &Path, name: &str) {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("the layout folder can be made");
        for content in self.blobs.iter().chain(&self.manifests) {
            let hex = content
                .digest
                .strip_prefix("sha256:")
                .expect("skopeo knows sha256 only");
            std::fs::write(blobs.join(hex), &content.bytes).expect("a blob can be written");
        }
        let mut root = self.root().descriptor();
        root["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [root] });
        std::fs::write(folder.join("index.json"), index.to_string()).expect("index.json can be written");
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("oci-layout can be written");
    }
}

/// The empty JSON object as a config (image specification, "guidance for an empty descriptor").
fn empty_config() -> Content {
    Content::new("application/vnd.oci.empty.v1+json", b"{}".to_vec())
}

/// An index that lists `referrers`, to be pushed under the fallback tag of their subject.
pub fn fallback_index(referrers: &[&Image]) -> Content {
    let entries: Vec<_> = referrers
        .iter()
        .map(|referrer| {
            let mut descriptor = referrer.root().descriptor();
            descriptor["artifactType"] = json!("application/spdx+json");
            descriptor
        })
        .collect();
    Content::json(
        INDEX,
        &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }),
    )
}
