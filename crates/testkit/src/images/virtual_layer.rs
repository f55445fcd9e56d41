//! An image whose one layer is as large as a test needs and takes no memory.

use bytes::Bytes;
use serde_json::json;
use transship_embedded_registry::{EmbeddedRegistry, VirtualBlob};
use transship_oci::media_type::OCI_MANIFEST;
use transship_oci::{Algorithm, Descriptor, Digest, Repository, Tag};

/// Puts an image whose layer is `layer` into a registry of this process. Returns the descriptor of the layer and the digest of
/// the manifest.
pub fn seed_virtual_layer(
    registry: &EmbeddedRegistry,
    repository: &Repository,
    tag: &Tag,
    layer: &VirtualBlob,
) -> (Descriptor, Digest) {
    let layer = registry.seed_virtual_blob(repository, layer);
    let config = Bytes::from_static(br#"{"architecture":"amd64","os":"linux"}"#);
    let config_digest = registry.seed_blob(repository, Algorithm::Sha256, config.clone());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.digest, "size": layer.size }],
    });
    let root = registry.seed_manifest(repository, &OCI_MANIFEST.into(), manifest.to_string().into());
    registry.tag(repository, tag, &root);
    (layer, root)
}
