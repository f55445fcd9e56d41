//! The manifest of a saved image.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Serialize;
use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result, Verb};

use super::layers::{Configuration, MAX_CONFIG_BYTES, layer};
use super::legacy;
use super::manifest_json::{Listed, Saved};
use crate::archive::{ArchiveFiles, entry_key};
use crate::read_all::read_all;

/// An image with its assembled manifest.
pub(super) struct Image {
    pub(super) manifest: Manifest,
    /// The file name of each blob in the archive.
    pub(super) blobs: HashMap<Digest, String>,
    /// Blobs that were created and have no file.
    pub(super) made: HashMap<Digest, Bytes>,
}

/// The fields of a manifest in the order in which they are written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
}

/// Assembles `saved`.
pub(super) async fn image(files: &ArchiveFiles, saved: &Saved) -> Result<Image> {
    match saved {
        Saved::Listed(listed) => from_list(files, listed).await,
        Saved::Legacy { id, .. } => legacy::image(files, id).await,
        Saved::Broken { why, .. } => Err(invalid(files, why.clone())),
    }
}

async fn from_list(files: &ArchiveFiles, listed: &Listed) -> Result<Image> {
    let key = entry_key(listed.config.as_bytes());
    let key = key.ok_or_else(|| invalid(files, "the name of its configuration leads out of the archive".into()))?;
    let bytes = read_all(files, &key, MAX_CONFIG_BYTES).await?;
    let bytes = bytes.ok_or_else(|| invalid(files, format!("its configuration {key} is missing")))?;
    let digest = Digest::sha256(&bytes);
    if said(&key).is_some_and(|said| Digest::of(said.algorithm(), &bytes) != said) {
        return Err(invalid(
            files,
            format!("the digest of its configuration {key} does not match the name"),
        ));
    }
    let diff_ids = Configuration::diff_ids(&bytes).map_err(|why| invalid(files, why))?;
    if diff_ids.len() != listed.layers.len() {
        let (said, has) = (diff_ids.len(), listed.layers.len());
        return Err(invalid(
            files,
            format!("its configuration names {said} layers, but there are {has}"),
        ));
    }
    let config = Descriptor::new(OCI_CONFIG.into(), digest.clone(), bytes.len() as u64);
    let mut blobs = HashMap::from([(digest, key)]);
    let mut layers = Vec::new();
    for (name, diff_id) in listed.layers.iter().zip(&diff_ids) {
        let (descriptor, key) = layer(files, name, Some(diff_id)).await?;
        blobs.insert(descriptor.digest.clone(), key);
        layers.push(descriptor);
    }
    Ok(Image {
        manifest: manifest(files, &config, &layers)?,
        blobs,
        made: HashMap::new(),
    })
}

/// The digest of the configuration of `saved`; [`None`] if it is missing or cannot be read, and for images before docker 1.10.
pub(super) async fn config_digest(files: &ArchiveFiles, saved: &Saved) -> Result<Option<Digest>> {
    let Saved::Listed(listed) = saved else { return Ok(None) };
    let Some(key) = entry_key(listed.config.as_bytes()) else {
        return Ok(None);
    };
    if let Some(said) = said(&key) {
        return Ok(Some(said));
    }
    match read_all(files, &key, MAX_CONFIG_BYTES).await {
        Ok(bytes) => Ok(bytes.map(|bytes| Digest::sha256(&bytes))),
        Err(error) if error.is_permanent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The digest in a configuration's key if it is a blob of a layout: `blobs/sha256/<hex>`. Any other name says nothing about the
/// content; tools name a configuration after an image id, or as they like.
fn said(key: &str) -> Option<Digest> {
    let (algorithm, hex) = key.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// The manifest of these blobs, which always has the same bytes.
pub(super) fn manifest(files: &ArchiveFiles, config: &Descriptor, layers: &[Descriptor]) -> Result<Manifest> {
    let written = Written {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        config,
        layers,
    };
    let bytes = serde_json::to_vec(&written).map_err(|error| invalid(files, error.to_string()))?;
    let manifest = Manifest::parse(Bytes::from(bytes), Some(OCI_MANIFEST));
    manifest.map_err(|error: Error| error.during(Verb::Assemble.on(files.name())))
}

pub(super) fn invalid(files: &ArchiveFiles, why: String) -> Error {
    Error::of(Code::DockerArchiveInvalid, Verb::Assemble.on(files.name())).because(why)
}
