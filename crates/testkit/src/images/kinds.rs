//! The samples, one function per shape.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use transship_oci::media_type::{DOCKER_LIST, DOCKER_SCHEMA1, HELM_CONFIG, OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Algorithm, Digest};

use super::Sample;
use super::draft::{Dialect, Draft, LAYER, PLAIN_LAYER, descriptor, platform};

/// The two bytes of an empty configuration. Source: image-spec, Guidance for an empty descriptor.
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// One image with layers of these sizes, in bytes.
pub fn image(seed: u64, layer_sizes: &[usize]) -> Sample {
    let mut draft = Draft::new(seed);
    draft.image(Dialect::Oci, 0, &platform("amd64"), layer_sizes);
    draft.finish()
}

/// An index of two platforms, each with an attestation as `docker buildx` adds it.
pub fn multi_platform(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let mut children = Vec::new();
    for (part, architecture) in (0..).zip(["amd64", "arm64"]) {
        let child = draft.image(Dialect::Oci, part, &platform(architecture), &[40_000, 2_000]);
        let attestation = attestation(&mut draft, &child);
        children.extend([child, attestation]);
    }
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children }));
    draft.finish()
}

/// An index of one image for each of `platforms` (`linux/arm64/v8`, `windows(10.0.1)/amd64`), each with an attestation.
pub fn of_platforms(seed: u64, platforms: &[&str]) -> Sample {
    let mut draft = Draft::new(seed);
    let mut children = Vec::new();
    for (part, text) in (0..).zip(platforms) {
        let mut parts = text.split('/');
        let [os, architecture, variant] = [(); 3].map(|()| parts.next());
        let (os, version) = match os.unwrap_or_default().split_once('(') {
            Some((os, version)) => (os, Some(version.trim_end_matches(')'))),
            None => (os.unwrap_or_default(), None),
        };
        let mut platform = json!({ "os": os, "architecture": architecture });
        for (key, value) in [("variant", variant), ("os.version", version)] {
            if let Some(value) = value {
                platform[key] = value.into();
            }
        }
        let child = draft.image(Dialect::Oci, part, &platform, &[3_000, 200]);
        let attestation = attestation(&mut draft, &child);
        children.extend([child, attestation]);
    }
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children }));
    draft.finish()
}

fn attestation(draft: &mut Draft, about: &Value) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{ "name": "sample", "digest": about["digest"] }],
    });
    let layer = draft.json_blob("application/vnd.in-toto+json", &statement);
    let nowhere = json!({ "architecture": "unknown", "os": "unknown" });
    let config = draft.config(Dialect::Oci, &nowhere, std::slice::from_ref(&layer));
    let mut child = draft.manifest(&json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer],
    }));
    child["platform"] = nowhere;
    child["annotations"] = json!({
        "vnd.docker.reference.digest": about["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    });
    child
}

/// An index within an index, beside an image.
pub fn nested_index(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let first = draft.image(Dialect::Oci, 0, &platform("amd64"), &[5_000]);
    let second = draft.image(Dialect::Oci, 1, &platform("arm64"), &[6_000]);
    let inner = draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [first, second] }));
    let beside = draft.image(Dialect::Oci, 2, &platform("s390x"), &[7_000]);
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner, beside] }));
    draft.finish()
}

/// A Helm chart as `helm push` writes it.
pub fn helm_chart(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let config =
        json!({ "name": "demo", "version": "0.1.0", "apiVersion": "v2", "description": format!("seed {seed}") });
    let config = draft.json_blob(HELM_CONFIG, &config);
    let content = draft.random(1, 3_000);
    let content = draft.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", content);
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [content] }));
    draft.finish()
}

/// An artifact with its own type and no configuration.
pub fn artifact(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let config = draft.blob(EMPTY, Bytes::from_static(b"{}"));
    let content = draft.random(1, 1_234);
    let content = draft.blob("application/vnd.example.model.weights", content);
    draft.manifest(&json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.model",
        "config": config,
        "layers": [content],
        "annotations": { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" },
    }));
    draft.finish()
}

/// A Docker schema 2 image.
pub fn docker_image(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    draft.image(Dialect::Docker, 0, &platform("amd64"), &[20_000, 300]);
    draft.finish()
}

/// A Docker schema 2 manifest list.
pub fn docker_list(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let first = draft.image(Dialect::Docker, 0, &platform("amd64"), &[20_000]);
    let second = draft.image(Dialect::Docker, 1, &platform("arm64"), &[21_000]);
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [first, second] }));
    draft.finish()
}

/// An image with uncompressed layers, one of them empty.
pub fn empty_layers(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let plain = draft.random(1, 10_240);
    let layers = [
        draft.blob(PLAIN_LAYER, plain),
        draft.blob(PLAIN_LAYER, Bytes::new()),
        draft.blob(PLAIN_LAYER, Bytes::from_static(&[0; 1024])),
    ];
    let config = draft.config(Dialect::Oci, &platform("amd64"), &layers);
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers }));
    draft.finish()
}

/// A manifest of about 3.9 MB: 390 annotations of 10 kB.
pub fn large_manifest(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let layer = draft.random(1, 100);
    let layers = [draft.blob(LAYER, layer)];
    let config = draft.config(Dialect::Oci, &platform("amd64"), &layers);
    let text = |part: u64| -> String {
        let hex = Digest::sha256(&[seed.to_le_bytes(), part.to_le_bytes()].concat())
            .hex()
            .to_owned();
        hex.chars().cycle().take(10_000).collect()
    };
    let annotations: Map<String, Value> = (0..390)
        .map(|part| (format!("com.example.{part:03}"), text(part).into()))
        .collect();
    draft.manifest(&json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers, "annotations": annotations,
    }));
    draft.finish()
}

/// An image whose layer is named by sha512.
pub fn sha512_blob(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let layer = draft.random(1, 4_321);
    let layers = [draft.blob_by(Algorithm::Sha512, LAYER, layer)];
    let config = draft.config(Dialect::Oci, &platform("amd64"), &layers);
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers }));
    draft.finish()
}

/// An image with a non-distributable layer that no registry has.
pub fn non_distributable(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let absent = draft.random(9, 100);
    let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let mut foreign = descriptor(kind, &Digest::sha256(&absent), absent.len());
    foreign["urls"] = json!(["https://store.example.com/layer"]);
    let layer = draft.random(1, 2_000);
    let layers = [foreign, draft.blob(LAYER, layer)];
    let config = draft.config(Dialect::Oci, &platform("amd64"), &layers);
    draft.manifest(&json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers }));
    draft.finish()
}

/// An image whose manifest has unknown fields, unusual white space and an unusual order, so that only its exact bytes match
/// the digest.
pub fn unknown_fields(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let layer = draft.random(1, 500);
    let layers = [draft.blob(LAYER, layer)];
    let config = draft.config(Dialect::Oci, &platform("amd64"), &layers);
    let text = format!(
        "{{\n\t\"x-example\": {{ \"deep\": [1, 2.50, null, \"\\u00e9\"] }},\r\n  \"layers\" : [ {} ],\n\"config\":{config}, \
         \"mediaType\":\"{OCI_MANIFEST}\"  ,\"schemaVersion\": 2 }}\n\n",
        layers[0]
    );
    draft.manifest_text(OCI_MANIFEST, text);
    draft.finish()
}

/// A Docker schema 1 image, which is always rejected. It can be seeded, but not pushed.
pub fn schema1(seed: u64) -> Sample {
    let mut draft = Draft::new(seed);
    let layer = draft.random(1, 700);
    let layer = draft.blob(LAYER, layer);
    let manifest = json!({
        "schemaVersion": 1, "name": "sample", "tag": "v1", "architecture": "amd64",
        "fsLayers": [{ "blobSum": layer["digest"] }],
        "history": [{ "v1Compatibility": "{}" }],
    });
    draft.manifest_text(DOCKER_SCHEMA1, manifest.to_string());
    draft.finish()
}
