//! The walk over one repository: from a reference down to every child and blob, each proven once.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fetch::{Manifest, Registry};

/// Layers that need not be in a registry.
const NOT_DISTRIBUTED: [&str; 2] = ["nondistributable", "foreign"];

/// What was proven in one repository so far.
pub(super) struct Walk<'a> {
    registry: &'a Registry,
    /// Digests of the manifests seen.
    pub(super) manifests: BTreeSet<String>,
    blobs: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self {
            registry,
            manifests: BTreeSet::new(),
            blobs: BTreeSet::new(),
        }
    }

    /// Proves the whole graph below a tag or digest; the digest of its manifest.
    pub(super) fn tag(&mut self, tag: &str) -> Result<String, String> {
        let manifest = self
            .registry
            .manifest(tag)?
            .ok_or_else(|| format!("no manifest {tag}"))?;
        let digest = match tag.split_once(':') {
            Some((algorithm, _)) => manifest.file.hash(algorithm)?,
            None => manifest.file.hash("sha256")?,
        };
        if tag.contains(':') && digest != tag {
            return Err(format!("the manifest served as {tag} hashes to {digest}"));
        }
        self.manifest(&digest, &manifest)?;
        Ok(digest)
    }

    fn manifest(&mut self, digest: &str, manifest: &Manifest) -> Result<(), String> {
        if !self.manifests.insert(digest.to_owned()) {
            return Ok(());
        }
        let content = manifest.file.json()?;
        for child in list(&content, "manifests") {
            self.child(child)
                .map_err(|reason| format!("child of {digest}: {reason}"))?;
        }
        let config = content.get("config").filter(|config| !config.is_null());
        for blob in config
            .into_iter()
            .chain(list(&content, "layers"))
            .chain(list(&content, "blobs"))
        {
            self.blob(blob)
                .map_err(|reason| format!("blob of {digest}: {reason}"))?;
        }
        Ok(())
    }

    fn child(&mut self, descriptor: &Value) -> Result<(), String> {
        let digest = text(descriptor, "digest")?;
        if self.manifests.contains(digest) {
            return Ok(());
        }
        let manifest = self
            .registry
            .manifest(digest)?
            .ok_or_else(|| format!("no manifest {digest}"))?;
        manifest.file.prove(digest)?;
        same_size(descriptor, manifest.file.size()?)?;
        self.manifest(digest, &manifest)
    }

    fn blob(&mut self, descriptor: &Value) -> Result<(), String> {
        let digest = text(descriptor, "digest")?;
        let media_type = text(descriptor, "mediaType")?;
        if NOT_DISTRIBUTED.iter().any(|word| media_type.contains(word)) || !self.blobs.insert(digest.to_owned()) {
            return Ok(());
        }
        let blob = self.registry.blob(digest)?.ok_or_else(|| format!("no blob {digest}"))?;
        blob.prove(digest)?;
        same_size(descriptor, blob.size()?)
    }
}

fn same_size(descriptor: &Value, size: u64) -> Result<(), String> {
    match descriptor["size"].as_u64() {
        Some(stated) if stated == size => Ok(()),
        stated => Err(format!(
            "{} has {size} bytes, its descriptor says {stated:?}",
            descriptor["digest"]
        )),
    }
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str, String> {
    value[key]
        .as_str()
        .ok_or_else(|| format!("a descriptor has no {key}: {value}"))
}
