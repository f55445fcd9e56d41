//! The table of contents of a docker archive.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use transship_oci::manifest::MAX_BYTES;

use crate::archive::ArchiveFiles;
use crate::read_all::read_all;
use transship_oci::{Code, Error, Result, Verb};

const MANIFEST: &str = "manifest.json";
const REPOSITORIES: &str = "repositories";

/// One saved image.
#[derive(Debug, Clone)]
pub(crate) enum Saved {
    /// Of `manifest.json`.
    Listed(Listed),
    /// Of `repositories`: the id of its newest layer.
    Legacy { names: Vec<String>, id: String },
    /// An invalid entry of `manifest.json` with its error.
    Broken { names: Vec<String>, why: String },
}

/// An entry of `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    /// File name of the configuration.
    pub(super) config: String,
    /// `name:tag`, any number.
    #[serde(default, deserialize_with = "without_nulls")]
    pub(super) repo_tags: Vec<String>,
    /// File names of the layers, the lowest first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) layers: Vec<String>,
}

/// The writers are Go programs, in which null is an empty list or map.
fn null_is_empty<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A null among the names of an image names nothing.
fn without_nulls<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    let names: Vec<Option<String>> = null_is_empty(deserializer)?;
    Ok(names.into_iter().flatten().filter(|name| !name.is_empty()).collect())
}

/// The parts of an invalid entry that identify it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Glimpse {
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

impl Saved {
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Listed(listed) => &listed.repo_tags,
            Self::Legacy { names, .. } | Self::Broken { names, .. } => names,
        }
    }
}

/// All images in the table of contents. `ARCHIVE_WITHOUT_IMAGES` if there is none; `ARCHIVE_TRUNCATED` or
/// `ARCHIVE_INVALID` if it may be in the missing rest or under a name that is not read.
pub(super) async fn read(files: &ArchiveFiles) -> Result<Vec<Saved>> {
    let invalid = |why: String| {
        let operation = Verb::Read.on(files.name());
        Error::of(Code::DockerArchiveInvalid, operation).because(why)
    };
    if let Some(listed) = listed_in(files).await? {
        return Ok(listed);
    }
    if let Some(repositories) = optional(files, REPOSITORIES).await? {
        let written: Option<BTreeMap<String, Option<BTreeMap<String, String>>>> =
            serde_json::from_slice(&repositories).map_err(|error| invalid(format!("repositories: {error}")))?;
        return Ok(legacy(written.unwrap_or_default()));
    }
    if files.is_cut() {
        return Err(Error::of(Code::ArchiveTruncated, Verb::Read.on(files.name())));
    }
    if files.has_other_names() {
        let why = "it has no image under the names that are read, and others that are absolute or lead out of it; write it with relative names";
        return Err(Error::of(Code::ArchiveInvalid, Verb::Read.on(files.name())).because(why));
    }
    Err(Error::of(Code::ArchiveWithoutImages, Verb::Read.on(files.name())))
}

/// The images of `manifest.json`; [`None`] if the archive does not have it.
pub(super) async fn listed_in(files: &ArchiveFiles) -> Result<Option<Vec<Saved>>> {
    let Some(manifest) = optional(files, MANIFEST).await? else {
        return Ok(None);
    };
    match serde_json::from_slice::<Option<Vec<&RawValue>>>(&manifest) {
        Ok(entries) => Ok(Some(entries.unwrap_or_default().into_iter().map(listed).collect())),
        // Other formats have a file of this name too, such as browser extensions.
        Err(_) if is_object(&manifest) => Ok(None),
        Err(error) => {
            let operation = Verb::Read.on(files.name());
            Err(Error::of(Code::DockerArchiveInvalid, operation).because(format_args!("manifest.json: {error}")))
        }
    }
}

fn is_object(bytes: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, &RawValue>>(bytes).is_ok()
}

async fn optional(files: &ArchiveFiles, key: &str) -> Result<Option<bytes::Bytes>> {
    if files.has(key) {
        read_all(files, key, MAX_BYTES).await
    } else {
        Ok(None)
    }
}

fn listed(entry: &RawValue) -> Saved {
    match serde_json::from_str::<Listed>(entry.get()) {
        Ok(listed) => Saved::Listed(listed),
        Err(error) => Saved::Broken {
            names: serde_json::from_str::<Glimpse>(entry.get())
                .ok()
                .and_then(|glimpse| glimpse.repo_tags)
                .unwrap_or_default(),
            why: format!("manifest.json: {error}"),
        },
    }
}

fn legacy(repositories: BTreeMap<String, Option<BTreeMap<String, String>>>) -> Vec<Saved> {
    let mut by_id: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (repository, tags) in repositories {
        for (tag, id) in tags.unwrap_or_default() {
            by_id.entry(id).or_default().push(format!("{repository}:{tag}"));
        }
    }
    let saved = by_id.into_iter().map(|(id, names)| Saved::Legacy { names, id });
    saved.collect()
}
