//! The ports of a copy: source, destination, blob locations, replicas, leases and the clock.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::try_join_all;
use transship_oci::{
    AtSide as _, Code, Descriptor, Digest, Error, Manifest, Repository, Result, Side, Tag, Target, Verb,
};

use crate::graph::bare_below;
use crate::{Continuations, Flights, Owner, Progress, Selected, TimeBudget};

/// The bytes of a blob, in order, in chunks of any size. An error ends the stream.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Reads blobs. Separate from [`Source`] because a destination needs only this to fill an upload and to start it again.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// Opens a blob at `offset` bytes (0: from its start). The adapter resumes a read that fails; the stream ends
    /// early or with an error only if that did not help. The bytes are *not* verified yet: see [`crate::verify_stream`].
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream>;

    /// True if the source itself shows that it has the blob, in the size of the descriptor. One HEAD on a registry. False if that
    /// cannot be found out.
    async fn has_blob(&self, blob: &Descriptor) -> bool;

    /// The registry and repository under which it is remembered that the source has a blob; [`None`] if it is not remembered.
    fn identity(&self) -> Option<String> {
        None
    }
}

/// Manifests of one repository, or of one layout.
#[async_trait]
pub trait Manifests: Send + Sync {
    /// What the repository is called in messages: `registry.example/core/app`.
    fn name(&self) -> String;

    /// Type, digest and size of what `target` names now; [`None`] if it is not there. One HEAD on a registry.
    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>>;

    /// What `target` names now, where [`Manifests::manifest_head`] found nothing and that must be right: before a write that may
    /// not replace anything. One GET on a registry, because some registries answer HEAD with 404 for what they have.
    async fn manifest_find(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.manifest_head(target).await
    }

    /// What the digest tags `tags` of `subject` name now, in their order; [`None`] for those that are not there. The repository
    /// has `subject`. One HEAD for each tag; where none finds anything, a registry is asked once, about `subject`, whether its
    /// HEAD finds manifests at all.
    async fn digest_tag_heads(&self, tags: &[Tag], _subject: &Digest) -> Result<Vec<Option<Descriptor>>> {
        let heads = tags
            .iter()
            .map(|tag| async move { self.manifest_head(&Target::Tag(tag.clone())).await });
        try_join_all(heads).await
    }

    /// The manifest that `target` names now, its bytes proven against `target` if that is a digest; [`None`] if it is not
    /// there.
    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>>;

    /// True if referrers are listed without a fallback tag, as a layout does. A registry is asked once, about `subject`.
    async fn has_referrers_api(&self, _subject: &Digest) -> Result<bool> {
        Ok(true)
    }
}

/// One repository, or one layout, that images are read from.
#[async_trait]
pub trait Source: Manifests + BlobSource {
    /// The manifests whose subject is `subject`, by the API or by the fallback tag, whichever the source has. Each was
    /// listed, none was read. Empty if there are none.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>>;

    /// The manifests below `manifest` that belong to the image, with nothing but type, digest and size. All that it names, unless
    /// the index is sparse.
    fn below(&self, manifest: &Manifest) -> Vec<Descriptor> {
        bare_below(manifest)
    }
}

/// The manifest that `target` names at the source. `SOURCE_NOT_FOUND` if it is not there.
pub async fn source_manifest(source: &(impl Manifests + ?Sized), target: &Target) -> Result<Manifest> {
    source.manifest_get(target).await.at(Side::Source)?.ok_or_else(|| {
        let operation = Verb::ManifestGet.on_target(source.name(), target);
        Error::of(Code::SourceNotFound, operation)
    })
}

/// The result of a mount.
pub enum Mount {
    /// 201: the blob is there now.
    Mounted,
    /// 202 or any refusal: the blob must be uploaded, in this session if the registry opened one.
    NotMounted(Option<UploadSession>),
}

/// An open upload session. Its location is a capability: it is never logged and never leaves the process in the clear.
pub struct UploadSession {
    /// Where the next request of the session goes.
    pub location: String,
}

/// How a blob is sent.
pub struct UploadOptions<'a> {
    /// A session that is already open.
    pub session: Option<UploadSession>,
    /// The receiver of progress steps.
    pub progress: &'a Arc<dyn Progress>,
    /// The store of uploads that may outlive this worker.
    pub continuations: Option<&'a dyn Continuations>,
    /// The time that this worker has; [`None`]: unlimited.
    pub budget: Option<TimeBudget>,
    /// There was an earlier attempt, which did not end in its time.
    pub is_repeated: bool,
}

/// The right to write or delete a tag now.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Asked right before each request that writes, also before one that is repeated. Returns how long the request may take;
    /// [`None`]: as long as any. After an error nothing is sent.
    async fn pass(&self) -> Result<Option<Duration>>;
}

/// One repository that images are written to.
#[async_trait]
pub trait Destination: Manifests {
    /// The repository, as blob locations name it.
    fn repository(&self) -> &Repository;

    /// Writes the bytes of the manifest under `target` and verifies the response. Returns true if the destination processed a
    /// `subject` itself (`OCI-Subject`), so that no fallback tag is needed.
    /// `gate` is asked right before each time that the bytes are sent.
    async fn manifest_put(&self, target: &Target, manifest: &Manifest, gate: Option<&dyn Gate>) -> Result<bool>;

    /// True if the repository has the blob in the size of the descriptor.
    async fn blob_head(&self, blob: &Descriptor) -> Result<bool>;

    /// False if the registry mounts nothing, so that no mount is prepared.
    fn mounts(&self) -> bool {
        true
    }

    /// Mounts the blob from another repository of the same registry.
    async fn blob_mount(&self, blob: &Descriptor, from: &Repository) -> Result<Mount>;

    /// Uploads the blob, and reads it from `source` as often as needed. Returns when the destination acknowledged the whole
    /// blob under its digest. `SLOT_OVER` if the time ended between chunks: the acknowledged part is stored in [`UploadOptions::continuations`].
    async fn blob_put(&self, blob: &Descriptor, source: &dyn BlobSource, options: UploadOptions<'_>) -> Result<()>;
}

/// What is remembered of a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlobLocation {
    /// The repositories of the destination registry that hold it, best first.
    pub repositories: Vec<Repository>,
    /// The sources that have shown that they have it, by [`BlobSource::identity`]. A blob is mounted only for a source that has
    /// it: otherwise a manifest that names the digest of a confidential layer would make that layer readable.
    pub sources: Vec<String>,
}

impl BlobLocation {
    /// Adds what is known better, in front of the rest.
    pub(crate) fn learn(&mut self, better: Self) {
        let Self { repositories, sources } = better;
        self.repositories.retain(|known| !repositories.contains(known));
        self.repositories.splice(0..0, repositories);
        self.sources.retain(|known| !sources.contains(known));
        self.sources.splice(0..0, sources);
    }
}

/// A blob that a repository of the destination registry holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The blob.
    pub digest: Digest,
    /// The source that has shown that it has it: its bytes were read there and verified, or it answered a HEAD.
    pub source: Option<String>,
}

impl From<Digest> for Arrival {
    fn from(digest: Digest) -> Self {
        Self { digest, source: None }
    }
}

/// Stores which repositories of the destination registry hold a blob. Entries may be wrong or missing: a wrong entry costs one
/// request and is removed.
#[async_trait]
pub trait BlobLocations: Send + Sync {
    /// What is remembered of each of `digests`. Digests without a known location are absent.
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, BlobLocation>;

    /// Stores that `repository` holds `arrivals`.
    async fn add(&self, arrivals: &[Arrival], repository: &Repository);

    /// Removes the entry that `repository` holds `digest`.
    async fn remove(&self, digest: &Digest, repository: &Repository);

    /// The blobs that this process brings to the registry; [`None`]: copies do not wait for each other.
    fn flights(&self) -> Option<&Flights> {
        None
    }
}

/// No locations are known.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLocations;

#[async_trait]
impl BlobLocations for NoLocations {
    async fn find(&self, _: &[Digest]) -> HashMap<Digest, BlobLocation> {
        HashMap::new()
    }

    async fn add(&self, _: &[Arrival], _: &Repository) {}

    async fn remove(&self, _: &Digest, _: &Repository) {}
}

/// The result of [`Replicas::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagClaim {
    /// This copy may write the tag.
    Granted,
    /// Another worker may write the tag now.
    Busy,
    /// The tag belongs to a later push of another source.
    Superseded,
}

/// The record of what we wrote to tags of the destination repository.
#[async_trait]
pub trait Replicas: Send + Sync {
    /// The writer of `found`, which `tag` names now. [`Owner::Ours`] if it is what we wrote there last, or were about to write
    /// since.
    async fn owner(&self, tag: &Tag, found: &Digest) -> Result<Owner>;

    /// True if [`Replicas::owner`] can answer [`Owner::OtherSource`]. Then it is asked also where everything is replaced.
    fn knows_sources(&self) -> bool {
        false
    }

    /// What the image became that was copied to `tag`, if only some of its platforms were.
    async fn selected(&self, _tag: &Tag) -> Result<Option<Selected>> {
        Ok(None)
    }

    /// True if what is attached to the image `found`, which `tag` names on both sides, was compared before, and what is attached
    /// to it later is found another way. Then the source's referrers API is not asked.
    async fn is_attended(&self, _tag: &Tag, _found: &Digest) -> Result<bool> {
        Ok(false)
    }

    /// Takes the right to write `tag`, and records that we are about to write `digest` to it, so that the work of a worker
    /// that dies after the write is known as ours. The right is kept until the caller of the copy gives it back, with what the copy wrote. For an image it only saves work: two workers that
    /// both write still converge, because each checks the source again after its write.
    async fn claim(&self, tag: &Tag, digest: &Digest) -> Result<TagClaim>;

    /// Called right before each request that writes a tag. Returns how long the request may take. After an error the tag is not
    /// written.
    async fn admit(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Takes back what [`Replicas::claim`] recorded, because `digest` was not written and `tag` does not name it: if `tag` names
    /// it later, someone else wrote it. The right to write stays. Does nothing where nothing is recorded.
    async fn withdraw(&self, _tag: &Tag, _digest: &Digest) -> Result<()> {
        Ok(())
    }
}

/// No tag is ours.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReplicas;

#[async_trait]
impl Replicas for NoReplicas {
    async fn owner(&self, _: &Tag, _: &Digest) -> Result<Owner> {
        Ok(Owner::Unknown)
    }

    async fn claim(&self, _: &Tag, _: &Digest) -> Result<TagClaim> {
        Ok(TagClaim::Granted)
    }
}

/// The right to change one target of the destination repository, where [`Replicas::claim`] cannot be used, because the digest
/// is not known before: a list of referrers is read, extended and written. The lease prevents lost updates.
#[async_trait]
pub trait CommitLease: Send + Sync {
    /// Takes the lease of `target`. Returns false if another worker holds it.
    async fn acquire(&self, target: &Target) -> Result<bool>;

    /// Releases the lease. A failure has no effect, because the lease expires.
    async fn release(&self, target: &Target);
}

/// The time of day.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> SystemTime;
}

/// The system clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
