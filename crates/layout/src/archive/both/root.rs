//! What an archive has of an image that `index.json` names.

use std::collections::HashMap;

use async_trait::async_trait;
use transship_copy::graph::{Limits, MAX_DEPTH, Visitor, blobs_of, manifests_below, walk};
use transship_oci::{Code, Descriptor, Digest, DigestTag, Error, Operation, Result};

use crate::images::Candidate;
use crate::layout::Layout;

/// Maximum number of manifests of one image that are looked up.
const MANIFESTS_MAX: usize = 5_000;
/// Maximum number of manifests that are read at the same time; each may have 4 MiB.
const PARALLEL_MANIFESTS: usize = 4;

/// An entry of `index.json` with what the archive has of it.
pub(super) struct Root {
    pub(super) candidate: Candidate,
    /// The complete images of this entry, by the digest of their configuration; empty unless images are compared.
    pub(super) by_config: HashMap<Digest, Descriptor>,
    present: Vec<Descriptor>,
    absent: Vec<Descriptor>,
}

/// What the archive has of one manifest.
enum State {
    /// An index, or a manifest that cannot be read: the copy reports the reason.
    Other,
    Image {
        config: Option<Digest>,
    },
    Absent,
}

struct Reader<'a> {
    layout: &'a Layout,
    /// Images are read, too. Otherwise the archive only has to have them.
    reads_images: bool,
}

#[async_trait]
impl Visitor for Reader<'_> {
    type Visit = State;
    type Error = Error;

    async fn visit(&self, manifest: &Descriptor) -> Result<(State, Vec<Descriptor>)> {
        if !self.layout.may_have(&manifest.digest).await? {
            return Ok((State::Absent, Vec::new()));
        }
        if !self.reads_images && !manifest.media_type.is_index() {
            return Ok((State::Image { config: None }, Vec::new()));
        }
        let Some(found) = self.layout.manifest_if_good(&manifest.digest).await? else {
            return Ok((State::Other, Vec::new()));
        };
        if found.is_index() {
            return Ok((State::Other, manifests_below(&found)));
        }
        for blob in blobs_of(&found).filter(|blob| !blob.media_type.is_non_distributable()) {
            if !self.layout.may_have(&blob.digest).await? {
                return Ok((State::Absent, Vec::new()));
            }
        }
        let config = found.config().map(|config| config.digest.clone());
        Ok((State::Image { config }, Vec::new()))
    }
}

impl Root {
    /// Looks up what `layout` has of `candidate`; with `reads_images`, also the blobs of its images.
    pub(super) async fn read(layout: &Layout, candidate: &Candidate, reads_images: bool) -> Result<Self> {
        let mut root = Self {
            candidate: candidate.clone(),
            by_config: HashMap::new(),
            present: Vec::new(),
            absent: Vec::new(),
        };
        let descriptor = &candidate.descriptor;
        // A fallback tag lists referrers, which are not its children.
        let about = candidate.tag().and_then(|tag| DigestTag::of(&tag));
        let is_fallback = about.is_some_and(|about| about.is_fallback());
        if is_fallback || (!reads_images && !descriptor.media_type.is_index()) {
            return Ok(root);
        }
        let limits = Limits {
            levels: MAX_DEPTH + 1,
            manifests: MANIFESTS_MAX,
            parallel: PARALLEL_MANIFESTS,
        };
        let reader = Reader { layout, reads_images };
        let found = walk(vec![descriptor.clone()], limits, &reader).await?;
        for (manifest, state) in found.into_visited() {
            match state {
                State::Other => {}
                State::Absent => root.absent.push(manifest),
                State::Image { config } => {
                    if let Some(config) = config {
                        root.by_config.insert(config, manifest.clone());
                    }
                    root.present.push(manifest);
                }
            }
        }
        Ok(root)
    }

    /// True if the archive has the index and not all of its images.
    pub(super) fn lacks_children(&self) -> bool {
        self.absent
            .iter()
            .any(|absent| absent.digest != self.candidate.descriptor.digest)
    }

    /// True if the archive has nothing of the entry but its name.
    pub(super) fn is_absent(&self) -> bool {
        self.present.is_empty() && !self.absent.is_empty()
    }

    /// `ARCHIVE_PLATFORMS_MISSING`.
    pub(super) fn platforms_missing(&self, operation: &Operation) -> Error {
        let absent = platforms(&self.absent);
        let message = match platforms(&self.present).as_slice() {
            [] => format!(
                "the archive has the index {} and none of its platforms {}: pull the image for a platform before it is saved",
                self.candidate.shown(),
                absent.join(", ")
            ),
            present => format!(
                "the archive has only {} of {}, and not {}: save one platform (docker save --platform {}), or pull the others before the image is saved",
                present.join(", "),
                self.candidate.shown(),
                absent.join(", "),
                present.first().map_or("", String::as_str),
            ),
        };
        Error::new(Code::ArchivePlatformsMissing, operation, message)
    }
}

/// The platforms of `manifests`: `linux/arm64/v8`, or the digest of a manifest without one. Attestations of images are left out
/// if there is anything else.
fn platforms(manifests: &[Descriptor]) -> Vec<String> {
    let name = |manifest: &Descriptor| match &manifest.platform {
        Some(platform) => {
            let parts = [
                Some(&platform.os),
                Some(&platform.architecture),
                platform.variant.as_ref(),
            ];
            let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
            parts.map(String::as_str).collect::<Vec<_>>().join("/")
        }
        None => manifest.digest.to_string(),
    };
    let (others, images): (Vec<String>, Vec<String>) =
        manifests.iter().map(name).partition(|name| name == "unknown/unknown");
    if images.is_empty() { others } else { images }
}
