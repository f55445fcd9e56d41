//! The image of the demo, as a layout in memory: two platforms, a signature with a cosign tag, and an SBOM that refers to
//! the image. Every release has new application layers on the same base.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use transship_layout::{Layout, MemoryStore};
use transship_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Digest, Result, Tag};

use super::fixture::TAG;
use crate::failure::{Exit, Failure};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
const BASE_BYTES: usize = 8 * 1024 * 1024;
const APPLICATION_BYTES: usize = 1024 * 1024;

/// One release of the image.
pub(super) struct Release {
    /// Digest of the index.
    pub(super) root: Digest,
    /// Bytes of the index.
    pub(super) root_bytes: Bytes,
    /// The tag of the signature.
    pub(super) signature_tag: Tag,
    /// The manifest of the SBOM.
    pub(super) sbom: Digest,
    /// Total size of the image's blobs in bytes.
    pub(super) size: u64,
    files: HashMap<String, Bytes>,
    /// Entries of the layout's index: the image, its signature, its SBOM.
    entries: [Value; 3],
}

/// How much of a release exists when it is pushed, in the order of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Only the image.
    Built = 1,
    /// The image and its signature.
    Signed = 2,
    /// The image, its signature and its SBOM.
    Documented = 3,
}

impl Release {
    /// Release `number`, which always has the same bytes.
    pub(super) fn new(number: u64) -> Result<Self, Failure> {
        let mut draft = Draft::default();
        let children: Vec<Value> = (1..)
            .zip(ARCHITECTURES)
            .map(|(platform, architecture)| draft.platform(number, platform, architecture))
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children });
        let root = draft.add(OCI_INDEX, index.to_string().into());
        let (root_digest, size) = (digest_of(&root)?, draft.size);
        let signature_tag = format!("sha256-{}.sig", root_digest.hex());
        let signature_tag: Tag = signature_tag
            .parse()
            .map_err(|error: transship_oci::Error| Failure::of(Exit::Failed, &error))?;
        let signature = draft.signature(&root_digest);
        let sbom = draft.sbom(number, &root);
        let sbom_digest = digest_of(&sbom)?;
        let entries = [named(root, TAG), named(signature, signature_tag.as_str()), sbom];
        draft.mark();
        Ok(Self {
            root_bytes: index.to_string().into(),
            root: root_digest,
            signature_tag,
            sbom: sbom_digest,
            size,
            files: draft.files,
            entries,
        })
    }

    /// The release as a source of copies, as far as it is built.
    pub(super) async fn layout(&self, stage: Stage) -> Result<Layout, Failure> {
        let mut files = self.files.clone();
        let index = json!({ "schemaVersion": 2, "manifests": &self.entries[..stage as usize] });
        files.insert("index.json".into(), index.to_string().into());
        Ok(Layout::open(Arc::new(MemoryStore::new(files)), "").await?)
    }

    /// `linux/amd64 and linux/arm64`.
    pub(super) fn platforms() -> String {
        ARCHITECTURES
            .map(|architecture| format!("linux/{architecture}"))
            .join(" and ")
    }
}

/// Builds a layout.
#[derive(Default)]
struct Draft {
    files: HashMap<String, Bytes>,
    /// Size of blobs and manifests so far, in bytes.
    size: u64,
}

impl Draft {
    /// Adds content and returns its descriptor.
    fn add(&mut self, media_type: &str, bytes: Bytes) -> Value {
        let digest = Digest::sha256(&bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.size += bytes.len() as u64;
        self.files.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
        descriptor
    }

    fn manifest(&mut self, config: &Value, layers: &[Value], more: Value) -> Value {
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
        if let (Some(manifest), Value::Object(more)) = (manifest.as_object_mut(), more) {
            manifest.extend(more);
        }
        self.add(OCI_MANIFEST, manifest.to_string().into())
    }

    fn platform(&mut self, release: u64, platform: u64, architecture: &str) -> Value {
        let layers = [
            self.add(LAYER, noise(platform, BASE_BYTES)),
            self.add(LAYER, noise(100 * release + platform, APPLICATION_BYTES)),
        ];
        let config = json!({
            "architecture": architecture, "os": "linux", "config": { "Labels": { "release": release.to_string() } },
            "rootfs": { "type": "layers", "diff_ids": [layers[0]["digest"], layers[1]["digest"]] },
        });
        let config = self.add(OCI_CONFIG, config.to_string().into());
        let mut child = self.manifest(&config, &layers, json!({}));
        child["platform"] = json!({ "architecture": architecture, "os": "linux" });
        child
    }

    /// A signature in cosign's format, without a valid signature.
    fn signature(&mut self, about: &Digest) -> Value {
        let payload = json!({ "critical": {
            "image": { "docker-manifest-digest": about }, "type": "cosign container image signature",
        }});
        let payload = payload.to_string().into();
        let layer = self.add("application/vnd.dev.cosign.simplesigning.v1+json", payload);
        let config =
            json!({ "architecture": "", "os": "", "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] } });
        let config = self.add(OCI_CONFIG, config.to_string().into());
        self.manifest(&config, &[layer], json!({}))
    }

    fn sbom(&mut self, release: u64, subject: &Value) -> Value {
        let config = self.add("application/vnd.oci.empty.v1+json", Bytes::from_static(b"{}"));
        let sbom = json!({ "spdxVersion": "SPDX-2.3", "name": format!("web release {release}") });
        let layer = self.add("application/spdx+json", sbom.to_string().into());
        let more = json!({ "artifactType": "application/spdx+json", "subject": subject });
        self.manifest(&config, &[layer], more)
    }

    /// Adds the `oci-layout` file.
    fn mark(&mut self) {
        let marker = Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#);
        self.files.insert("oci-layout".into(), marker);
    }
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ REF_NAME: name });
    descriptor
}

fn digest_of(descriptor: &Value) -> Result<Digest, Failure> {
    let text = descriptor["digest"].as_str().unwrap_or_default();
    text.parse()
        .map_err(|error: transship_oci::Error| Failure::of(Exit::Failed, &error))
}

/// Incompressible bytes, always the same for a seed (splitmix64).
fn noise(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_release_is_a_layout_of_an_image_its_signature_and_its_sbom() {
        let release = Release::new(1).unwrap();
        let layout = release.layout(Stage::Documented).await.unwrap();
        let digest = |name: &str| layout.resolve(Some(name)).unwrap().descriptor.digest.clone();
        assert_eq!(digest(TAG), release.root);
        assert_eq!(Digest::sha256(&release.root_bytes), release.root);
        assert_ne!(digest(release.signature_tag.as_str()), release.root);
        let referrers = transship_copy::Source::referrers(&layout, &release.root).await.unwrap();
        assert_eq!(
            referrers.into_iter().map(|found| found.digest).collect::<Vec<_>>(),
            [release.sbom]
        );
    }

    #[test]
    fn releases_share_their_base_and_nothing_else_of_size() {
        let (first, second) = (Release::new(1).unwrap(), Release::new(2).unwrap());
        let shared: usize = first
            .files
            .iter()
            .filter(|(name, bytes)| second.files.get(*name) == Some(bytes) && bytes.len() > 100)
            .map(|(_, bytes)| bytes.len())
            .sum();
        assert_eq!(shared, 2 * BASE_BYTES);
        assert_ne!(first.root, second.root);
    }
}
