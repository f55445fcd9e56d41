//! Layers of saved images: their files and digests.

use bytes::Bytes;
use serde::Deserialize;
use transship_oci::{Code, Descriptor, Digest, Error, Result, Verb};

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
    /// Null for an image without layers.
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

impl Configuration {
    /// The digests of the layers' plain tars, the lowest first. The error is a sentence.
    pub(super) fn diff_ids(bytes: &Bytes) -> std::result::Result<Vec<Digest>, String> {
        let configuration: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("its configuration: {error}"))?;
        Ok(configuration.rootfs.diff_ids.unwrap_or_default())
    }
}

/// The layer with the file name `name` and its position. If `diff_id` is known, it is the digest of the layer's plain tar.
pub(super) async fn layer(files: &ArchiveFiles, name: &str, diff_id: Option<&Digest>) -> Result<(Descriptor, String)> {
    let invalid = |why: String| {
        let operation = Verb::Read.on(format_args!("{name} in {}", files.name()));
        Error::of(Code::DockerArchiveInvalid, operation).because(why)
    };
    let climbs = || invalid("the name of a layer leads out of the archive".into());
    let key = entry_key(name.as_bytes()).ok_or_else(climbs)?;
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
