//! Layers of saved images: their files and digests.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use transship_oci::{Code, Descriptor, Digest, Error, Result, Verb};

use super::manifest_json::Saved;
use crate::archive::{ArchiveFiles, Compression, entry_key};
use crate::{ObjectStore, Part};

/// Maximum size of a configuration in bytes, of the same order as the 4 MiB that registries accept for manifests.
pub(super) const MAX_CONFIG_BYTES: usize = 4 * 1024 * 1024;
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// The parts of a configuration that are needed for the manifest.
#[derive(Deserialize)]
pub(super) struct Configuration {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

impl Configuration {
    /// The digests of the layers' plain tars, the lowest first. The error is a sentence.
    pub(super) fn diff_ids(bytes: &Bytes) -> std::result::Result<Vec<Digest>, String> {
        let configuration: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("its configuration: {error}"))?;
        Ok(configuration.rootfs.diff_ids)
    }
}

/// Finds the file with the layer of a `diff_id`.
///
/// If an image has a layer twice, docker writes it once, with a symbolic link for the other. Links are not followed; the layer
/// is found by its digest.
#[derive(Default)]
pub(super) struct Known(HashMap<Digest, String>);

impl Known {
    /// Collects the layers of all valid images of the archive.
    pub(super) async fn of(files: &ArchiveFiles, saved: &[Saved]) -> Result<Self> {
        let mut known = Self::default();
        for saved in saved {
            let Saved::Listed(listed) = saved else { continue };
            let layers: Vec<String> = listed
                .layers
                .iter()
                .filter_map(|name| entry_key(name.as_bytes()))
                .collect();
            // Only images with links need this, because reading a configuration may cost a pass.
            if !layers.iter().any(|key| files.is_unsafe(key)) {
                continue;
            }
            let Some(diff_ids) = diff_ids(files, &listed.config).await? else {
                continue;
            };
            let files_of = diff_ids
                .into_iter()
                .zip(layers)
                .filter(|(_, key)| !files.is_unsafe(key));
            known.0.extend(files_of);
        }
        Ok(known)
    }
}

async fn diff_ids(files: &ArchiveFiles, config: &str) -> Result<Option<Vec<Digest>>> {
    let Some(key) = entry_key(config.as_bytes()) else {
        return Ok(None);
    };
    match crate::read_all::read_all(files, &key, MAX_CONFIG_BYTES).await {
        Ok(bytes) => Ok(bytes.and_then(|bytes| Configuration::diff_ids(&bytes).ok())),
        Err(error) if error.is_permanent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The layer with the file name `name` and its position. If `diff_id` is known, it is the digest of the layer's plain tar.
pub(super) async fn layer(
    files: &ArchiveFiles,
    name: &str,
    diff_id: Option<&Digest>,
    known: &Known,
) -> Result<(Descriptor, String)> {
    let invalid = |why: String| {
        let operation = Verb::Read.on(format_args!("{name} in {}", files.name()));
        Error::of(Code::DockerArchiveInvalid, operation).because(why)
    };
    let climbs = || invalid("the name of a layer leads out of the archive".into());
    let mut key = entry_key(name.as_bytes()).ok_or_else(climbs)?;
    if files.is_unsafe(&key)
        && let Some(other) = diff_id.and_then(|diff_id| known.0.get(diff_id))
    {
        key.clone_from(other);
    }
    let span = files.span(&key).await?;
    let span = span.ok_or_else(|| invalid("a layer that it names is missing".into()))?;
    let head = match &span.seen {
        Some(seen) => seen.head.clone(),
        None => head(files, &key).await?,
    };
    let compression = Compression::of(&head).map_err(|error: Error| error.during(Verb::Read.on(name)))?;
    let media_type = match compression {
        None => PLAIN.to_owned(),
        Some(Compression::Gzip) => format!("{PLAIN}+gzip"),
        Some(Compression::Zstd) => format!("{PLAIN}+zstd"),
    };
    let digest = match (compression, diff_id, &span.seen) {
        (None, Some(diff_id), Some(seen)) if seen.digest != *diff_id && is_sha256(diff_id) => {
            return Err(invalid("a layer does not match the configuration".into()));
        }
        (None, Some(diff_id), _) => diff_id.clone(),
        _ => files.digest(&key, span).await?,
    };
    let descriptor = Descriptor::new(media_type.as_str().into(), digest, span.size);
    Ok((descriptor, key))
}

fn is_sha256(digest: &Digest) -> bool {
    digest.algorithm() == transship_oci::Algorithm::Sha256
}

async fn head(files: &ArchiveFiles, key: &str) -> Result<Bytes> {
    let part = Part {
        offset: 0,
        length: Some(8),
        etag: None,
    };
    match files.get(key, part).await? {
        Some(stream) => crate::read_all::collected(stream, key, 8).await,
        None => Ok(Bytes::new()),
    }
}
