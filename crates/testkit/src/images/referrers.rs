//! Images with attachments: by `subject`, and by cosign's tags.

use bytes::Bytes;
use serde_json::json;
use transship_oci::Digest;
use transship_oci::media_type::OCI_MANIFEST;

use super::Sample;
use super::draft::{Dialect, Draft, descriptor, platform};
use super::kinds::{EMPTY, image};

/// An image and an SBOM that has the image as its subject. The SBOM has no tag.
pub fn with_referrer(seed: u64) -> Sample {
    let subject = image(seed, &[8_000, 900]);
    let size = subject.root_manifest().map_or(0, |root| root.bytes.len());
    let subject_descriptor = descriptor(OCI_MANIFEST, &subject.root, size);
    let mut draft = Draft::of(seed, subject);
    let config = draft.blob(EMPTY, Bytes::from_static(b"{}"));
    let sbom = json!({ "spdxVersion": "SPDX-2.3", "name": format!("seed {seed}") });
    let sbom = draft.json_blob("application/spdx+json", &sbom);
    draft.manifest(&json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/spdx+json",
        "config": config,
        "layers": [sbom],
        "subject": subject_descriptor,
        "annotations": { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" },
    }));
    draft.finish_with_root()
}

/// A referrer of the manifest `subject`, which has `size_bytes` bytes.
pub fn referrer_of(subject: &Digest, size_bytes: usize, seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let config = draft.blob(EMPTY, Bytes::from_static(b"{}"));
    let note = draft.json_blob("application/spdx+json", &json!({ "seed": seed }));
    draft.manifest(&json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/spdx+json",
        "config": config,
        "layers": [note],
        "subject": descriptor(OCI_MANIFEST, subject, size_bytes),
    }));
    draft.finish()
}

/// An image and its signature as cosign stores it: with the tag `sha256-<hex>.sig`, without a subject.
pub fn with_cosign_signature(seed: u64) -> Sample {
    let signed = image(seed, &[9_000]);
    let root = signed.root.clone();
    let mut draft = Draft::of(seed, signed);
    let payload = json!({ "critical": { "image": { "docker-manifest-digest": root }, "type": "cosign container image signature" } });
    let mut layer = draft.json_blob("application/vnd.dev.cosign.simplesigning.v1+json", &payload);
    layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": "bm90IGEgcmVhbCBzaWduYXR1cmU=" });
    let layers = [layer];
    let config = draft.config(Dialect::Oci, &platform(""), &layers);
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
    let tag = format!("{}-{}.sig", root.algorithm().as_str(), root.hex());
    draft.tagged_manifest(&manifest, tag.parse().ok());
    draft.finish_with_root()
}
