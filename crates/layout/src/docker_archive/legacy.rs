//! Images saved by docker before version 1.10: a chain of layers, each with its own configuration.
//!
//! Source: docker image-spec v1. These images have no configuration that names the layers. It is assembled from the
//! configuration of the newest layer, as docker did when it loaded such an archive: without the links of the chain, with the
//! layers' digests and the history. Nested values keep their bytes, so that the result is reproducible.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use transship_oci::media_type::OCI_CONFIG;
use transship_oci::{Descriptor, Digest, Result};

use super::assemble::{Image, invalid, manifest};
use super::layers::{MAX_CONFIG_BYTES, layer};
use crate::archive::ArchiveFiles;
use crate::read_all::read_all;

/// Maximum length of a chain that docker could create.
const MAX_LAYERS: usize = 128;
/// Fields that only have a meaning in the chain. Source: moby, image/v1, `MakeConfigFromV1Config`.
const OF_THE_CHAIN: [&str; 7] = [
    "id",
    "parent",
    "Size",
    "parent_id",
    "layer_id",
    "throwaway",
    "layer_digest",
];

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    container_config: Option<ContainerConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerConfig {
    #[serde(default)]
    cmd: Option<Vec<String>>,
}

#[derive(Serialize)]
struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    r#type: &'static str,
    diff_ids: &'a [Digest],
}

/// The image whose newest layer is `id`.
pub(super) async fn image(files: &ArchiveFiles, id: &str) -> Result<Image> {
    let (newest, chain) = chain(files, id).await?;
    let (mut layers, mut history) = (Vec::new(), Vec::new());
    let mut blobs = HashMap::new();
    for (id, link) in chain {
        let (descriptor, key) = layer(files, &format!("{id}/layer.tar"), None).await?;
        blobs.insert(descriptor.digest.clone(), key);
        layers.push(descriptor);
        history.push(link.history());
    }
    if layers.iter().any(|layer| layer.media_type.as_str().contains('+')) {
        return Err(invalid(
            files,
            "images in this old format must have plain layers".into(),
        ));
    }
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.digest.clone()).collect();
    let bytes = configuration(&newest, &diff_ids, &history).map_err(|why| invalid(files, why))?;
    let config = Descriptor::new(OCI_CONFIG.into(), Digest::sha256(&bytes), bytes.len() as u64);
    let manifest = manifest(files, &config, &layers)?;
    let made = HashMap::from([(config.digest, bytes)]);
    Ok(Image { manifest, blobs, made })
}

/// The configuration of `id`, and all links of its chain, the lowest first.
async fn chain(files: &ArchiveFiles, id: &str) -> Result<(Bytes, Vec<(String, Link)>)> {
    let (mut newest, mut links) = (None, Vec::new());
    let (mut next, mut seen) = (Some(id.to_owned()), HashSet::new());
    while let Some(id) = next {
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id || !seen.insert(id.clone()) || links.len() >= MAX_LAYERS {
            return Err(invalid(files, "its chain of layers is broken".into()));
        }
        let bytes = read_all(files, &format!("{id}/json"), MAX_CONFIG_BYTES).await?;
        let bytes = bytes.ok_or_else(|| invalid(files, format!("the configuration of layer {id} is missing")))?;
        let link: Link = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(files, format!("the configuration of layer {id}: {error}")))?;
        newest.get_or_insert(bytes);
        next = link.parent.clone().filter(|parent| !parent.is_empty());
        links.push((id, link));
    }
    links.reverse();
    Ok((newest.unwrap_or_default(), links))
}

impl Link {
    fn history(self) -> History {
        let text = |text: Option<String>| text.filter(|text| !text.is_empty());
        let command = self.container_config.and_then(|config| config.cmd).unwrap_or_default();
        History {
            created: text(self.created),
            author: text(self.author),
            created_by: text(Some(command.join(" "))),
            comment: text(self.comment),
        }
    }
}

fn configuration(newest: &Bytes, diff_ids: &[Digest], history: &[History]) -> std::result::Result<Bytes, String> {
    let said = |error: serde_json::Error| format!("its configuration: {error}");
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(newest).map_err(said)?;
    fields.retain(|name, _| !OF_THE_CHAIN.contains(&name.as_str()));
    let rootfs = RootFs {
        r#type: "layers",
        diff_ids,
    };
    fields.insert("rootfs".into(), to_raw_value(&rootfs).map_err(said)?);
    fields.insert("history".into(), to_raw_value(&history).map_err(said)?);
    serde_json::to_vec(&fields).map(Bytes::from).map_err(said)
}
