//! Archives of `docker save` and compatible tools.
//!
//! Such an archive has no registry manifest, so one is assembled: an OCI manifest with the unchanged bytes of the configuration
//! and the layers, with a fixed order of fields and no white space. The same archive always gives the same manifest, and so
//! does the same image in another archive unless its layers are compressed differently. It is an OCI manifest and not Docker
//! schema 2, because the layers are plain tars, for which Docker's specification has no type. Docker's configuration is a valid
//! OCI configuration.
//!
//! The digest of a plain layer is its `diff_id` by definition (image-spec, config.md), so the layer need not be read; the copy
//! verifies it. Compressed layers are read once and hashed.
//!
//! Source: docker image-spec v1.2 (`manifest.json`) and v1 (`repositories`, `<id>/json`, `<id>/layer.tar`).

mod assemble;
mod layers;
mod legacy;
mod manifest_json;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;
use transship_copy::{BlobSource, ByteStream, Manifests, Source};
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Operation, Result, Target, Verb};

use crate::archive::ArchiveFiles;
use crate::images::{self, Called, Candidate, Images, Listing, Refused, called, conflict};
use crate::{ObjectStore, Part};
pub(crate) use manifest_json::Saved;

/// An archive of `docker save`.
#[derive(Clone)]
pub(crate) struct DockerArchive {
    files: Arc<ArchiveFiles>,
    saved: Arc<[Saved]>,
    /// What else of the archive cannot be read.
    refused: Arc<[(Vec<String>, Error)]>,
    /// Assembled when first needed.
    assembled: Arc<OnceCell<Assembled>>,
}

/// All images of an archive with their assembled manifests.
#[derive(Default)]
struct Assembled {
    candidates: Vec<Candidate>,
    manifests: HashMap<Digest, Manifest>,
    /// The file name of each blob in the archive.
    blobs: HashMap<Digest, String>,
    /// Blobs that were created with the manifests.
    made: HashMap<Digest, Bytes>,
    /// The images that cannot be assembled, with their names, or position, and error.
    refused: Vec<(Vec<String>, Error)>,
}

impl Assembled {
    fn add(&mut self, names: &[String], image: assemble::Image) {
        let descriptor = image.manifest.descriptor();
        let named = names.iter().map(|name| Some(name.clone()));
        let names = if names.is_empty() { vec![None] } else { named.collect() };
        let names = names.into_iter();
        self.candidates
            .extend(names.map(|name| Candidate::new(name, descriptor.clone())));
        self.manifests.insert(descriptor.digest, image.manifest);
        self.blobs.extend(image.blobs);
        self.made.extend(image.made);
    }
}

impl DockerArchive {
    /// Reads `manifest.json`, or `repositories` of older archives. `ARCHIVE_WITHOUT_IMAGES` if there is neither.
    pub(crate) async fn open(files: Arc<ArchiveFiles>) -> Result<Self> {
        let saved = manifest_json::read(&files).await?;
        Ok(Self::of(files, saved))
    }

    /// The images of `manifest.json` in an archive that is a layout as well; none if it has no such file, or another of this name.
    pub(crate) async fn beside_layout(files: Arc<ArchiveFiles>) -> Result<Self> {
        let saved = manifest_json::listed_in(&files).await?.unwrap_or_default();
        Ok(Self::of(files, saved))
    }

    /// All images, assembled or not.
    pub(crate) fn saved(&self) -> &[Saved] {
        &self.saved
    }

    /// The same archive with only these images.
    pub(crate) fn only(&self, saved: Vec<Saved>) -> Self {
        Self::of(Arc::clone(&self.files), saved)
    }

    /// The same images, and a part of the archive that cannot be read.
    pub(crate) fn with_refused(self, name: &str, error: Error) -> Self {
        Self {
            refused: [(vec![name.to_owned()], error)].into(),
            ..self
        }
    }

    fn of(files: Arc<ArchiveFiles>, saved: Vec<Saved>) -> Self {
        Self {
            files,
            saved: saved.into(),
            refused: Arc::default(),
            assembled: Arc::default(),
        }
    }

    /// The digest of the configuration of `saved`; [`None`] if it cannot be read.
    pub(crate) async fn config_digest(&self, saved: &Saved) -> Result<Option<Digest>> {
        assemble::config_digest(&self.files, saved).await
    }

    /// The images that were assembled, and the names and errors of the others.
    pub(crate) async fn candidates(&self) -> Result<(&[Candidate], &[(Vec<String>, Error)])> {
        let assembled = self.assembled().await?;
        Ok((&assembled.candidates, &assembled.refused))
    }

    pub(crate) fn operation(&self) -> Operation {
        Operation::of(self.files.name())
    }

    /// Assembles all images. An invalid image is reported separately; an error of the store fails all of them.
    async fn assembled(&self) -> Result<&Assembled> {
        self.assembled.get_or_try_init(|| self.assemble_all()).await
    }

    async fn assemble_all(&self) -> Result<Assembled> {
        let mut assembled = Assembled {
            refused: self.refused.to_vec(),
            ..Assembled::default()
        };
        for (at, saved) in self.saved.iter().enumerate() {
            let names = saved.names();
            match assemble::image(&self.files, saved).await {
                Ok(image) => assembled.add(names, image),
                Err(error) if error.is_permanent() => {
                    let names = match names {
                        [] => vec![format!("image {at} of {}", self.files.name())],
                        names => names.to_vec(),
                    };
                    assembled.refused.push((names, error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(assembled)
    }

    async fn manifest_of(&self, target: &Target) -> Result<Option<Manifest>> {
        let assembled = self.assembled().await?;
        let digest = match target {
            Target::Digest(digest) => Some(digest.clone()),
            Target::Tag(tag) => {
                let named = assembled
                    .candidates
                    .iter()
                    .filter(|one| one.tag().as_ref() == Some(tag));
                let named: Vec<&Candidate> = named.collect();
                if named
                    .windows(2)
                    .any(|pair| pair[0].descriptor.digest != pair[1].descriptor.digest)
                {
                    return Err(conflict(tag.as_str(), named.into_iter(), &self.operation()));
                }
                let is_it = |name: &String| called(name) == Called::Tag(tag.clone());
                if let Some((_, why)) = assembled.refused.iter().find(|(names, _)| names.iter().any(is_it))
                    && named.is_empty()
                {
                    return Err(why.clone());
                }
                named.first().map(|one| one.descriptor.digest.clone())
            }
        };
        Ok(digest.and_then(|digest| assembled.manifests.get(&digest).cloned()))
    }
}

#[async_trait]
impl BlobSource for DockerArchive {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let operation = Verb::BlobGet.on(format_args!("{}@{}", self.files.name(), blob.digest));
        let missing = || Error::of(Code::BlobNotFound, &operation);
        let assembled = self.assembled().await?;
        if let Some(made) = assembled.made.get(&blob.digest) {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(made.len());
            return Ok(stream::iter([Ok(made.slice(offset..))]).boxed());
        }
        let key = assembled.blobs.get(&blob.digest).ok_or_else(missing)?;
        self.files.get(key, Part::from(offset)).await?.ok_or_else(missing)
    }

    /// The digests of an archive are computed from its bytes.
    async fn has_blob(&self, blob: &Descriptor) -> bool {
        let digest = &blob.digest;
        let assembled = self.assembled().await;
        assembled.is_ok_and(|images| images.made.contains_key(digest) || images.blobs.contains_key(digest))
    }
}

#[async_trait]
impl Manifests for DockerArchive {
    fn name(&self) -> String {
        format!("docker-archive:{}", self.files.name())
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        let manifest = self.manifest_of(target).await?;
        Ok(manifest.map(|manifest| manifest.descriptor()))
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        self.manifest_of(target).await
    }
}

#[async_trait]
impl Source for DockerArchive {
    /// Docker saves no referrers.
    async fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Images for DockerArchive {
    async fn images(&self) -> Result<Listing> {
        let assembled = self.assembled().await?;
        let mut listing = images::listing(&assembled.candidates, |_| false, &self.operation());
        let refused = assembled.refused.iter();
        listing.refused.extend(refused.map(|(names, why)| Refused {
            name: names.first().cloned().unwrap_or_default(),
            digest: None,
            error: why.clone(),
        }));
        Ok(listing)
    }

    async fn target_of(&self, reference: Option<&str>) -> Result<Target> {
        let assembled = self.assembled().await?;
        let operation = self.operation();
        let found = images::resolve(&assembled.candidates, &assembled.refused, reference, &operation)?;
        Ok(Target::Digest(found.descriptor.digest.clone()))
    }
}
