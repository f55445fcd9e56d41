//! Archives with an OCI layout and, since Docker 25, `manifest.json` of `docker save` beside it.
//!
//! The layout has the manifests of registries, so its images are used. It may name less than the archive has, and more:
//!
//! - `manifest.json` names images that `index.json` does not: they are images as well (moby#51389, moby#47210).
//! - `index.json` names an index of which `docker pull` fetched one platform (moby#49473). The rest cannot arrive, because an
//!   archive is one object. The image that `manifest.json` has under the same name is used instead; without one, the entry fails
//!   with `ARCHIVE_PLATFORMS_MISSING`.

mod root;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;
use transship_copy::{BlobSource, ByteStream, Manifests, Source};
use transship_oci::{Code, Descriptor, Digest, Manifest, Result, Target};

use crate::docker_archive::{DockerArchive, Saved};
use crate::images::{self, Candidate, Images, Listing, Refused, conflict};
use crate::layout::{Broken, Layout};
use root::Root;

/// The images of both formats.
#[derive(Clone)]
pub(super) struct BothFormats {
    layout: Layout,
    /// The images that the layout does not have.
    docker: DockerArchive,
}

/// An image of `manifest.json`.
struct Listed {
    saved: Saved,
    /// The digest of its configuration, if it can be read.
    config: Option<Digest>,
}

/// What becomes of an entry of `index.json`.
enum Fate<'a> {
    /// It is an image.
    Image(&'a Descriptor),
    /// It is the image that `manifest.json` has under its name.
    Saved,
    /// It cannot be copied.
    Incomplete,
}

impl BothFormats {
    /// Compares the layout of an archive with the images of its `manifest.json`, which may be none.
    pub(super) async fn new(layout: Layout, docker: DockerArchive) -> Result<Self> {
        let mut saved = Vec::new();
        for one in docker.saved() {
            saved.push(Listed {
                config: docker.config_digest(one).await?,
                saved: one.clone(),
            });
        }
        let mut roots = Vec::new();
        for candidate in layout.listed() {
            roots.push(Root::read(&layout, candidate, !saved.is_empty()).await?);
        }
        let operation = docker.operation();
        let (mut images, mut broken) = (Vec::new(), Vec::new());
        for root in &roots {
            match fate(root, &saved) {
                Fate::Image(descriptor) => {
                    if descriptor.digest != root.candidate.descriptor.digest {
                        let why = root.platforms_missing(&operation);
                        tracing::warn!(code = why.code(), %why, used = %descriptor.digest, "an index is incomplete, and the image of manifest.json is used");
                    }
                    let image = Candidate {
                        names: root.candidate.names.clone(),
                        descriptor: descriptor.clone(),
                    };
                    images.push((root, image));
                }
                Fate::Saved => {}
                Fate::Incomplete => broken.push(Broken::of(&root.candidate, root.platforms_missing(&operation))),
            }
        }
        let (known, rest): (Vec<Listed>, Vec<Listed>) = saved
            .into_iter()
            .partition(|one| roots.iter().any(|root| root.image_of(one).is_some()));
        for one in &known {
            add_names(&mut images, &roots, one);
        }
        let images = images.into_iter().map(|(_, candidate)| candidate).collect();
        Ok(Self {
            layout: layout.with_entries(images, broken),
            docker: docker.only(rest.into_iter().map(|one| one.saved).collect()),
        })
    }

    /// The format that has `target`.
    async fn holder(&self, target: &Target) -> Result<&dyn Images> {
        let one = self.layout.manifest_head(target).await?;
        if self.docker.saved().is_empty() {
            return Ok(&self.layout);
        }
        let Some(one) = one else { return Ok(&self.docker) };
        if let (Ok(Some(other)), Target::Tag(tag)) = (self.docker.manifest_head(target).await, target)
            && other.digest != one.digest
        {
            let both = [one, other].map(|descriptor| Candidate::new(None, descriptor));
            return Err(conflict(tag.as_str(), both.iter(), &self.docker.operation()));
        }
        Ok(&self.layout)
    }
}

impl Root {
    /// The image of this entry that is `listed`.
    fn image_of(&self, listed: &Listed) -> Option<&Descriptor> {
        self.by_config.get(listed.config.as_ref()?)
    }
}

fn fate<'a>(root: &'a Root, saved: &[Listed]) -> Fate<'a> {
    let whole = || Fate::Image(&root.candidate.descriptor);
    if !root.lacks_children() && !root.is_absent() {
        return whole();
    }
    let is_named = |one: &&Listed| {
        let mut names = one.saved.names().iter();
        names.any(|name| root.candidate.is_named(name))
    };
    let mut matches: Vec<&Listed> = saved.iter().filter(is_named).collect();
    if matches.is_empty() {
        matches = saved.iter().filter(|one| root.image_of(one).is_some()).collect();
    }
    let images: BTreeMap<&Digest, &Descriptor> = matches
        .iter()
        .filter_map(|one| root.image_of(one))
        .map(|image| (&image.digest, image))
        .collect();
    let mut images = images.into_values();
    match (images.next(), images.next()) {
        (Some(only), None) => Fate::Image(only),
        (None, _) if !matches.is_empty() => Fate::Saved,
        _ if root.lacks_children() => Fate::Incomplete,
        // The copy reports that the manifest itself is missing.
        _ => whole(),
    }
}

/// Adds the names that `manifest.json` has for an image of the layout.
fn add_names<'a>(images: &mut Vec<(&'a Root, Candidate)>, roots: &'a [Root], listed: &Listed) {
    for name in listed.saved.names() {
        let has_it = |root: &Root| root.image_of(listed).is_some();
        let holder = images
            .iter_mut()
            .find(|(root, image)| has_it(root) && image.is_named(name));
        if let Some((_, image)) = holder {
            if !image.names.contains(name) {
                image.names.push(name.clone());
            }
            continue;
        }
        if roots.iter().any(|root| has_it(root) && root.candidate.is_named(name)) {
            // Its index is reported as incomplete.
            continue;
        }
        let whole = images.iter().find(|(root, _)| has_it(root));
        let whole = whole.map(|(root, image)| (*root, image.descriptor.clone()));
        let part = || {
            roots
                .iter()
                .find_map(|root| Some((root, root.image_of(listed)?.clone())))
        };
        if let Some((root, descriptor)) = whole.or_else(part) {
            images.push((root, Candidate::new(Some(name.clone()), descriptor)));
        }
    }
}

#[async_trait]
impl BlobSource for BothFormats {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        match self.layout.blob_get(blob, offset).await {
            Err(error) if error.is(Code::BlobNotFound) => self.docker.blob_get(blob, offset).await,
            found => found,
        }
    }

    async fn has_blob(&self, blob: &Descriptor) -> bool {
        self.layout.has_blob(blob).await || self.docker.has_blob(blob).await
    }
}

#[async_trait]
impl Manifests for BothFormats {
    fn name(&self) -> String {
        self.layout.name()
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.holder(target).await?.manifest_head(target).await
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        self.holder(target).await?.manifest_get(target).await
    }
}

#[async_trait]
impl Source for BothFormats {
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.layout.referrers(subject).await
    }
}

#[async_trait]
impl Images for BothFormats {
    async fn images(&self) -> Result<Listing> {
        let mut listing = self.layout.images().await?;
        if self.docker.saved().is_empty() {
            return Ok(listing);
        }
        let more = self.docker.images().await?;
        let operation = self.docker.operation();
        for image in more.images {
            let same = listing.images.iter().position(|known| known.target == image.target);
            match same.map(|at| (at, listing.images[at].descriptor.digest.clone())) {
                None => listing.images.push(image),
                Some((_, digest)) if digest == image.descriptor.digest => {}
                Some((at, _)) => {
                    let known = listing.images.remove(at);
                    let name = image.target.to_string();
                    let both = [known, image].map(|one| Candidate::new(one.name, one.descriptor));
                    let error = conflict(&name, both.iter(), &operation);
                    let digest = None;
                    listing.refused.push(Refused { name, digest, error });
                }
            }
        }
        // Named images first.
        listing.images.sort_by_key(|image| image.target.tag().is_none());
        listing.refused.extend(more.refused);
        Ok(listing)
    }

    async fn target_of(&self, reference: Option<&str>) -> Result<Target> {
        let (saved, not_assembled) = self.docker.candidates().await?;
        let candidates: Vec<Candidate> = self.layout.candidates().iter().chain(saved).cloned().collect();
        let mut refused = self.layout.refused();
        refused.extend(not_assembled.iter().cloned());
        let found = images::resolve(&candidates, &refused, reference, &self.docker.operation())?;
        Ok(Target::Digest(found.descriptor.digest.clone()))
    }
}
