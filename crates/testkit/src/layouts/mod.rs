//! Files of OCI layouts and tar archives, made by hand so that a test can make them invalid.

#![expect(clippy::unwrap_used, reason = "equipment of tests")]

mod tar;

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{FutureExt, TryStreamExt};
use serde_json::{Value, json};
use transship_copy::{Source, source_manifest, verify_stream};
use transship_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Digest, Target};

pub use tar::{Tar, gzip};

/// The annotation of an entry's name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The media type of a layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The files of a layout.
#[derive(Debug, Default, Clone)]
pub struct Files {
    /// The files by their path in the layout.
    pub all: HashMap<String, Bytes>,
    /// The entries of `index.json`.
    pub entries: Vec<Value>,
}

impl Files {
    /// Adds a blob. Returns its digest and its size.
    pub fn put(&mut self, bytes: &[u8]) -> (Digest, usize) {
        let digest = Digest::sha256(bytes);
        let key = format!("blobs/sha256/{}", digest.hex());
        self.all.insert(key, Bytes::copy_from_slice(bytes));
        (digest, bytes.len())
    }

    /// Adds a manifest. Returns its descriptor.
    pub fn manifest(&mut self, manifest: &Value) -> Value {
        let (digest, size) = self.put(manifest.to_string().as_bytes());
        json!({"mediaType": manifest["mediaType"], "digest": digest, "size": size})
    }

    /// An image with a configuration and one layer, perhaps about another.
    pub fn image(&mut self, text: &str, subject: Option<&Value>) -> Value {
        let (config, config_size) = self.put(format!("{{\"text\":{text:?}}}").as_bytes());
        let (layer, layer_size) = self.put(format!("layer of {text}").repeat(500).as_bytes());
        let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config, "size": config_size},
            "layers": [{"mediaType": LAYER, "digest": layer, "size": layer_size}]});
        if let Some(subject) = subject {
            manifest["subject"] = subject.clone();
        }
        self.manifest(&manifest)
    }

    /// Adds an index of these manifests. Returns its descriptor.
    pub fn index(&mut self, children: &[Value]) -> Value {
        self.manifest(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}))
    }

    /// Adds an entry to `index.json`.
    pub fn list(&mut self, descriptor: &Value, name: Option<&str>) {
        let mut entry = descriptor.clone();
        if let Some(name) = name {
            entry["annotations"] = json!({REF_NAME: name});
        }
        self.entries.push(entry);
    }

    /// All files with marker and index, below `prefix`.
    pub fn finished(&self, prefix: &str) -> HashMap<String, Bytes> {
        let index = json!({"schemaVersion": 2, "manifests": self.entries}).to_string();
        let mut all = self.all.clone();
        all.entry("oci-layout".into())
            .or_insert_with(|| r#"{"imageLayoutVersion":"1.0.0"}"#.into());
        all.entry("index.json".into()).or_insert_with(|| index.into());
        all.into_iter()
            .map(|(key, bytes)| (format!("{prefix}{key}"), bytes))
            .collect()
    }
}

/// The digest in a descriptor.
///
/// # Panics
/// If there is none.
pub fn digest_of(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

/// Reads and verifies a whole image. Returns its digest and number of blobs, or a code.
pub async fn read_image(source: &dyn Source, target: &Target) -> Result<(Digest, usize), &'static str> {
    let manifest = source_manifest(source, target).await.map_err(|error| error.code())?;
    let mut count = 0;
    for blob in manifest.blobs() {
        let stream = source.blob_get(blob, 0).await.map_err(|error| error.code())?;
        let read = verify_stream(stream, blob)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await;
        read.map_err(|error| error.code())?;
        count += 1;
    }
    for child in manifest.children() {
        let target = Target::Digest(child.digest.clone());
        count += read_image(source, &target).boxed_local().await?.1;
    }
    Ok((manifest.digest().clone(), count))
}
