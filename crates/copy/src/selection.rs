//! Whether an image is of a kind and has the labels that are selected.
//!
//! The labels of an image are the annotations of its manifest and the labels of its configuration. Those of an index are its own
//! annotations and the labels of its first image.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use transship_oci::{AtSide as _, Descriptor, Manifest, Result, Side, Target};

use crate::ports::source_manifest;
use crate::{Options, Source, verify_stream};

/// The largest configuration that is read, in bytes. Nothing is read of one that is larger.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Why an image is not selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It is of another kind.
    Kind,
    /// It does not have the labels.
    Labels,
    /// It has none of the platforms.
    Platforms,
    /// It must have a referrer and has none yet.
    Referrers,
}

/// Why the image `root` is not selected; [`None`] if it is. Labels cost a request for the configuration, and for an index one
/// more for its first image.
pub(crate) async fn skip_reason(source: &dyn Source, root: &Manifest, options: &Options) -> Result<Option<SkipReason>> {
    if !options.kinds.is_empty() && !options.kinds.contains(&root.kind()) {
        return Ok(Some(SkipReason::Kind));
    }
    if options.labels.is_empty() || has_labels(source, root, &options.labels).await? {
        return Ok(None);
    }
    Ok(Some(SkipReason::Labels))
}

async fn has_labels(source: &dyn Source, root: &Manifest, wanted: &BTreeMap<String, String>) -> Result<bool> {
    let mut missing: BTreeMap<&str, &str> = wanted
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    remove(&mut missing, &root.annotations());
    if missing.is_empty() {
        return Ok(true);
    }
    let child = match root.children().iter().find(|child| is_image(child)) {
        Some(child) => Some(source_manifest(source, &Target::Digest(child.digest.clone())).await?),
        None => None,
    };
    if let Some(child) = &child {
        remove(&mut missing, &child.annotations());
    }
    let image = child.as_ref().unwrap_or(root);
    if let Some(config) = image.config().filter(|_| !missing.is_empty()) {
        remove(&mut missing, &config_labels(source, config).await?);
    }
    Ok(missing.is_empty())
}

fn remove(missing: &mut BTreeMap<&str, &str>, found: &BTreeMap<String, String>) {
    missing.retain(|name, value| found.get(*name).map(String::as_str) != Some(*value));
}

/// False for an attestation, which build tools list beside the images with the platform `unknown/unknown`.
fn is_image(child: &Descriptor) -> bool {
    child.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

#[derive(Default, Deserialize)]
struct ImageConfig {
    #[serde(default)]
    config: Option<ContainerConfig>,
}

#[derive(Default, Deserialize)]
struct ContainerConfig {
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

/// The labels of a configuration; none if it is not that of an image.
async fn config_labels(source: &dyn Source, config: &Descriptor) -> Result<BTreeMap<String, String>> {
    let parsed: ImageConfig = config_of(source, config).await?;
    Ok(parsed.config.and_then(|config| config.labels).unwrap_or_default())
}

/// What is read of a configuration; nothing if it is too large, or not that of an image. One request.
pub(crate) async fn config_of<T: Default + DeserializeOwned>(source: &dyn Source, config: &Descriptor) -> Result<T> {
    if config.size > CONFIG_BYTES_MAX {
        return Ok(T::default());
    }
    let stream = source.blob_get(config, 0).await.at(Side::Source)?;
    let bytes = verify_stream(stream, config).try_fold(Vec::new(), |mut bytes, chunk| async move {
        bytes.extend_from_slice(&chunk);
        Ok(bytes)
    });
    Ok(serde_json::from_slice(&bytes.await.at(Side::Source)?).unwrap_or_default())
}
