//! Writes samples as an OCI image layout. Source: image-spec, image-layout.md.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use transship_oci::Digest;
use transship_oci::media_type::OCI_INDEX;

use super::draft::descriptor;
use super::{Sample, SampleManifest};
use crate::{Error, ErrorKind, Result};

impl Sample {
    /// Adds the sample to the layout in `folder`, which is created if necessary; its other content is kept. The root is listed
    /// with `reference_name`, referrers without a name, and cosign signatures with their tag.
    pub fn write_layout(&self, folder: &Path, reference_name: &str) -> Result<()> {
        write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for (digest, bytes) in &self.blobs {
            write(&blob_path(folder, digest), bytes)?;
        }
        for manifest in &self.manifests {
            write(&blob_path(folder, &manifest.digest), &manifest.bytes)?;
        }
        let mut listed = listed(folder);
        let children: Vec<Digest> = self
            .understood()
            .flat_map(|manifest| manifest.children().to_vec())
            .map(|child| child.digest)
            .collect();
        for manifest in &self.manifests {
            if !children.contains(&manifest.digest) {
                listed.push(self.entry(manifest, reference_name));
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed });
        write(&folder.join("index.json"), index.to_string().as_bytes())
    }

    fn entry(&self, manifest: &SampleManifest, reference_name: &str) -> Value {
        let mut entry = descriptor(manifest.media_type.as_str(), &manifest.digest, manifest.bytes.len());
        let name = if manifest.digest == self.root {
            Some(reference_name)
        } else {
            manifest.tag.as_ref().map(AsRef::as_ref)
        };
        if let Some(name) = name {
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        }
        entry
    }
}

fn listed(folder: &Path) -> Vec<Value> {
    fs::read(folder.join("index.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .and_then(|index| index["manifests"].as_array().cloned())
        .unwrap_or_default()
}

fn blob_path(folder: &Path, digest: &Digest) -> std::path::PathBuf {
    folder
        .join("blobs")
        .join(digest.algorithm().as_str())
        .join(digest.hex())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error| Error::new(ErrorKind::FileFailed, path.display().to_string()).with_source(error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::{image, with_cosign_signature, with_referrer};
    use super::*;

    #[test]
    fn a_layout_lists_every_root_and_holds_every_blob() {
        let folder = tempfile::tempdir().unwrap();
        let samples = [image(1, &[10]), with_referrer(2), with_cosign_signature(3)];
        for (at, sample) in samples.iter().enumerate() {
            sample.write_layout(folder.path(), &format!("v{at}")).unwrap();
        }
        let names: Vec<Value> = listed(folder.path())
            .iter()
            .map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].clone())
            .collect();
        let signature = samples[2].manifests[1].tag.as_ref().unwrap();
        assert_eq!(
            names,
            [json!("v0"), json!("v1"), Value::Null, json!("v2"), json!(signature)]
        );
        for (digest, bytes) in samples.iter().flat_map(|sample| &sample.blobs) {
            assert_eq!(fs::read(blob_path(folder.path(), digest)).unwrap(), bytes.as_ref());
        }
    }
}
