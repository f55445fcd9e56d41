//! The source of a copy, as far as its platforms are selected.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Error, Manifest, Platform, Platforms, Result, Side, Tag};
use transship_oci::{Target, Verb};

use super::image::{has_platform, platform_of};
use super::index::{Found, IndexReader, Part};
use super::{Selected, Selection};
use crate::graph::bare_below;
use crate::ports::source_manifest;
use crate::{BlobSource, ByteStream, Manifests, Replicas, Source};

/// A source whose image `from` has only the selected platforms. Everything else is as it is.
pub(crate) struct SelectedSource<'a> {
    source: &'a dyn Source,
    from: &'a Target,
    to: &'a Target,
    platforms: &'a Platforms,
    replicas: &'a dyn Replicas,
    remembered: OnceCell<Option<Selected>>,
    state: Mutex<State>,
}

/// What was read so far.
#[derive(Default)]
struct State {
    /// What the source named last, and what the destination is to name.
    last: Option<Pair>,
    /// What an image of the source becomes, by its digest there.
    wanted: HashMap<Digest, Pair>,
    /// The indexes that the source does not have: what each is derived from.
    derived: HashMap<Digest, Descriptor>,
    /// What a sparse index names and is not copied.
    absent: HashSet<Digest>,
    missing: Vec<Platform>,
}

/// An image of the source, and what the destination is to name.
#[derive(Clone)]
struct Pair {
    original: Descriptor,
    wanted: Descriptor,
    /// The image was not read, because what becomes of it is remembered.
    is_remembered: bool,
}

/// What the destination is to name.
enum Wanted {
    /// A manifest that was read or derived.
    Whole(Box<Manifest>),
    /// A manifest that the index names.
    Child(Box<Descriptor>),
}

impl Wanted {
    fn descriptor(&self) -> Descriptor {
        match self {
            Self::Whole(manifest) => manifest.descriptor(),
            Self::Child(child) => Descriptor::clone(child),
        }
    }
}

impl<'a> SelectedSource<'a> {
    pub(super) fn new(
        source: &'a dyn Source,
        from: &'a Target,
        to: &'a Target,
        platforms: &'a Platforms,
        replicas: &'a dyn Replicas,
    ) -> Self {
        Self {
            source,
            from,
            to,
            platforms,
            replicas,
            remembered: OnceCell::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the source named last; [`None`] if it was not read.
    pub(crate) fn original(&self) -> Option<Descriptor> {
        self.state().last.as_ref().map(|last| last.original.clone())
    }

    /// What was found out; [`None`] if the source was not read.
    pub(crate) fn selection(&self) -> Option<Selection> {
        let state = self.state();
        let last = state.last.as_ref()?;
        Some(Selection {
            selected: Selected {
                source: last.original.digest.clone(),
                platforms: self.platforms.key(),
                digest: last.wanted.digest.clone(),
            },
            missing: state.missing.clone(),
        })
    }

    /// True if the destination may lack a selected manifest of an index that it has: a sparse index does not prove that what it
    /// names is there, unless the record says that it was copied with these platforms.
    pub(crate) fn may_lack_parts(&self) -> bool {
        self.platforms.sparse && !self.state().last.as_ref().is_some_and(|last| last.is_remembered)
    }

    /// True if `index` names manifests that are left out.
    pub(crate) fn is_sparse(&self, index: &Manifest) -> bool {
        let state = self.state();
        index
            .children()
            .iter()
            .any(|child| state.absent.contains(&child.digest))
    }

    async fn remembered(&self) -> Result<Option<&Selected>> {
        let Target::Tag(tag) = self.to else { return Ok(None) };
        let remembered = self.remembered.get_or_try_init(async || {
            let remembered = self.replicas.selected(tag).await?;
            Ok::<_, Error>(remembered.filter(|remembered| remembered.platforms == self.platforms.key()))
        });
        Ok(remembered.await?.as_ref())
    }

    fn note(&self, pair: Pair) {
        let mut state = self.state();
        state.wanted.insert(pair.original.digest.clone(), pair.clone());
        state.last = Some(pair);
    }

    /// Reads the image, and finds out what becomes of it. [`None`] if the source has no such image.
    async fn read(&self) -> Result<Option<Wanted>> {
        self.read_at(self.from).await
    }

    async fn read_at(&self, target: &Target) -> Result<Option<Wanted>> {
        let Some(image) = self.source.manifest_get(target).await? else {
            return Ok(None);
        };
        let original = image.descriptor();
        let wanted = self.select(image).await?;
        self.note(Pair {
            original,
            wanted: wanted.descriptor(),
            is_remembered: false,
        });
        Ok(Some(wanted))
    }

    async fn select(&self, image: Manifest) -> Result<Wanted> {
        if !image.media_type().is_index() {
            return self.select_single(image).await;
        }
        let original = image.descriptor();
        let reader = IndexReader {
            source: self.source,
            platforms: self.platforms,
        };
        let mut found = Found::default();
        let index = image.with_own_bytes();
        let part = reader.part(&index, 0, &mut found).await.at(Side::Source)?;
        if !found.has_platforms() {
            return Ok(Wanted::Whole(Box::new(index)));
        }
        if !found.has_any() {
            return Err(self.missing(&original.digest, &found.named()));
        }
        {
            let mut state = self.state();
            state.missing = found.missing(self.platforms);
            if self.platforms.sparse {
                state.absent.extend(found.absent().cloned());
                return Ok(Wanted::Whole(Box::new(index)));
            }
        }
        if let ([image], 1) = (found.images.as_slice(), self.platforms.only.len()) {
            return Ok(Wanted::Child(Box::new(image.clone())));
        }
        let mut state = self.state();
        state.derived.extend(found.derived);
        Ok(match part {
            Part::Derived(derived) => {
                state.derived.insert(derived.digest().clone(), original);
                Wanted::Whole(derived)
            }
            Part::Whole | Part::Nothing => Wanted::Whole(Box::new(index)),
        })
    }

    /// An image without an index: its configuration decides. Where its digest is written, it was chosen before.
    async fn select_single(&self, image: Manifest) -> Result<Wanted> {
        if self.to.tag().is_none() || !has_platform(&image) {
            return Ok(Wanted::Whole(Box::new(image)));
        }
        let image = image.with_own_bytes();
        let platform = platform_of(self.source, &image).await?;
        let is_selected = |platform: &Platform| self.platforms.selecting(platform).next().is_some();
        match platform {
            Some(platform) if is_selected(&platform) => Ok(Wanted::Whole(Box::new(image))),
            Some(platform) => Err(self.missing(image.digest(), &platform.to_string())),
            None => Err(self.missing(image.digest(), "no platform")),
        }
    }

    fn missing(&self, image: &Digest, has: &str) -> Error {
        let only: Vec<String> = self.platforms.only.iter().map(ToString::to_string).collect();
        let why = format!("it has {has}; selected are {}", only.join(", "));
        let operation = Verb::Copy.on_target(self.source.name(), self.from);
        tracing::debug!(%image, "{why}");
        Error::of(Code::PlatformMissing, operation).because(why)
    }

    /// The manifest that is wanted.
    async fn manifest_of(&self, wanted: Wanted) -> Result<Manifest> {
        match wanted {
            Wanted::Whole(manifest) => Ok(*manifest),
            Wanted::Child(child) => source_manifest(self.source, &Target::Digest(child.digest)).await,
        }
    }

    /// The derived index `digest`, derived again from the index `original`.
    async fn derived_again(&self, digest: &Digest, original: &Descriptor) -> Result<Option<Manifest>> {
        let index = source_manifest(self.source, &Target::Digest(original.digest.clone())).await?;
        let index = index.with_own_bytes();
        let reader = IndexReader {
            source: self.source,
            platforms: self.platforms,
        };
        Ok(match reader.part(&index, 0, &mut Found::default()).await? {
            Part::Derived(derived) if derived.digest() == digest => Some(*derived),
            Part::Derived(_) | Part::Whole | Part::Nothing => None,
        })
    }

    /// What `digest`, which the source does not have, is derived from.
    fn derived_from(&self, digest: &Digest) -> Option<Descriptor> {
        let state = self.state();
        let last = state.last.as_ref();
        let remembered = last.filter(|last| last.wanted.digest == *digest && last.original.digest != *digest);
        state
            .derived
            .get(digest)
            .or(remembered.map(|last| &last.original))
            .cloned()
    }

    fn is_derived(&self, digest: &Digest) -> bool {
        self.state().derived.contains_key(digest)
    }

    /// The image that becomes `digest`, if that is remembered and the image was not read since.
    fn unread(&self, digest: &Digest) -> Option<Target> {
        let state = self.state();
        let last = state.last.as_ref();
        let last = last.filter(|last| last.is_remembered && last.wanted.digest == *digest);
        last.map(|last| Target::Digest(last.original.digest.clone()))
    }

    /// What the source names now, and what becomes of it. The image itself is read unless that is known.
    async fn head(&self) -> Result<Option<Descriptor>> {
        let remembered = self.remembered().await?;
        if remembered.is_some() || !self.state().wanted.is_empty() {
            let original = match self.from {
                Target::Digest(digest) => self.state().wanted.get(digest).map(|pair| pair.original.clone()),
                tag @ Target::Tag(_) => match self.source.manifest_head(tag).await? {
                    Some(original) => Some(original),
                    None => return Ok(None),
                },
            };
            if let Some(original) = original {
                let known = self.state().wanted.get(&original.digest).cloned();
                let pair = known.or_else(|| {
                    let remembered = remembered.filter(|remembered| remembered.source == original.digest)?;
                    Some(Pair {
                        wanted: Descriptor {
                            digest: remembered.digest.clone(),
                            ..original.clone()
                        },
                        original,
                        is_remembered: true,
                    })
                });
                if let Some(pair) = pair {
                    let wanted = pair.wanted.clone();
                    self.note(pair);
                    return Ok(Some(wanted));
                }
            }
        }
        Ok(self.read().await?.map(|wanted| wanted.descriptor()))
    }
}

#[async_trait]
impl BlobSource for SelectedSource<'_> {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        self.source.blob_get(blob, offset).await
    }

    async fn has_blob(&self, blob: &Descriptor) -> bool {
        self.source.has_blob(blob).await
    }

    fn identity(&self) -> Option<String> {
        self.source.identity()
    }
}

#[async_trait]
impl Manifests for SelectedSource<'_> {
    fn name(&self) -> String {
        self.source.name()
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        if target == self.from {
            return self.head().await;
        }
        self.source.manifest_head(target).await
    }

    async fn manifest_find(&self, target: &Target) -> Result<Option<Descriptor>> {
        if target == self.from {
            return Ok(self.read().await?.map(|wanted| wanted.descriptor()));
        }
        self.source.manifest_find(target).await
    }

    async fn digest_tag_heads(&self, tags: &[Tag], subject: &Digest) -> Result<Vec<Option<Descriptor>>> {
        // The source has nothing of an index that it does not have.
        if self.is_derived(subject) {
            return Ok(vec![None; tags.len()]);
        }
        self.source.digest_tag_heads(tags, subject).await
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        if target == self.from {
            return match self.read().await? {
                Some(wanted) => self.manifest_of(wanted).await.map(Some),
                None => Ok(None),
            };
        }
        let Target::Digest(digest) = target else {
            return self.source.manifest_get(target).await;
        };
        // What is below the image depends on what it names.
        if let Some(original) = self.unread(digest)
            && let Some(wanted) = self.read_at(&original).await?
            && wanted.descriptor().digest == *digest
        {
            return self.manifest_of(wanted).await.map(Some);
        }
        let original = self.state().derived.get(digest).cloned();
        match original {
            Some(original) => self.derived_again(digest, &original).await,
            None => self.source.manifest_get(target).await,
        }
    }

    async fn has_referrers_api(&self, subject: &Digest) -> Result<bool> {
        match self.derived_from(subject) {
            Some(original) => self.source.has_referrers_api(&original.digest).await,
            None => self.source.has_referrers_api(subject).await,
        }
    }
}

#[async_trait]
impl Source for SelectedSource<'_> {
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        if self.is_derived(subject) {
            return Ok(Vec::new());
        }
        self.source.referrers(subject).await
    }

    fn below(&self, manifest: &Manifest) -> Vec<Descriptor> {
        let mut below = bare_below(manifest);
        let state = self.state();
        below.retain(|child| !state.absent.contains(&child.digest));
        below
    }
}
