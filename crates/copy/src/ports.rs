//! What a copy needs of the world: a source, a destination, a memory of blobs, a clock and a lease.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Repository, Result, Tag, Target, Verb};

use crate::{Continuations, Progress, Slot};

/// The bytes of a blob, in order, in chunks of any size. An error ends the stream.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Where blobs are read from. Split from [`Source`] because a destination needs only this to fill an upload,
/// and to begin again when an upload breaks.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// Opens a blob at `offset` bytes (0: from its start). A read that breaks is continued beneath; the stream ends
    /// early or with an error only when that did not help. The bytes are *not* yet proven: see [`crate::verified`].
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream>;
}

/// Manifests of one repository, or of one layout.
#[async_trait]
pub trait Manifests: Send + Sync {
    /// What the repository is called in messages: `registry.example/core/app`.
    fn name(&self) -> String;

    /// Type, digest and size of what `target` names now; [`None`] if it is not there. One HEAD on a registry.
    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>>;

    /// The manifest that `target` names now, its bytes proven against `target` if that is a digest; [`None`] if it is not
    /// there.
    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>>;
}

/// One repository, or one layout, that images are read from.
#[async_trait]
pub trait Source: Manifests + BlobSource {
    /// The manifests whose subject is `subject`, by the API or by the fallback tag, whichever the source has. Each was
    /// listed, none was read. Empty if there are none.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>>;
}

/// The manifest that `target` names at the source. `SOURCE_NOT_FOUND` if it is not there.
pub async fn source_manifest(source: &(impl Manifests + ?Sized), target: &Target) -> Result<Manifest> {
    source.manifest_get(target).await?.ok_or_else(|| {
        let operation = Verb::ManifestGet.on_target(source.name(), target);
        Error::of(Code::SourceNotFound, operation)
    })
}

/// What became of an attempt to mount.
pub enum Mount {
    /// 201: the blob is there now.
    Mounted,
    /// 202, or any refusal: carry on uploading, in this session if one was opened.
    NotMounted(Option<Upload>),
}

/// An open upload session. Its location is a capability: it is never logged and never leaves the process in the clear.
pub struct Upload {
    /// Where the next request of the session goes.
    pub location: String,
}

/// How a blob is sent.
pub struct Sending<'a> {
    /// A session that is open already.
    pub session: Option<Upload>,
    /// Who listens.
    pub progress: &'a Arc<dyn Progress>,
    /// Where the upload is remembered, if it may outlive this worker.
    pub continuations: Option<&'a dyn Continuations>,
    /// How long this worker has; [`None`]: as long as it takes.
    pub slot: Option<Slot>,
    /// An attempt was made before, and did not end in its time.
    pub is_repeated: bool,
}

/// One repository that images are written to.
#[async_trait]
pub trait Destination: Manifests {
    /// The repository, by the name under which blob locations know it.
    fn repository(&self) -> &Repository;

    /// Writes the manifest's bytes under `target` and proves the answer. True if the destination processed a
    /// `subject` by itself (`OCI-Subject`), so that no fallback tag is needed.
    async fn manifest_put(&self, target: &Target, manifest: &Manifest) -> Result<bool>;

    /// True if the repository has the blob, in the size the descriptor says.
    async fn blob_head(&self, blob: &Descriptor) -> Result<bool>;

    /// Asks for the blob to be mounted from another repository of the same registry.
    async fn blob_mount(&self, blob: &Descriptor, from: &Repository) -> Result<Mount>;

    /// Uploads the blob, reading it from `source` as often as it takes. Returns when the destination has acknowledged
    /// the whole blob under its digest; only then. `SLOT_OVER` if the time ran out in between chunks: what was acknowledged
    /// is remembered in [`Sending::continuations`].
    async fn blob_put(&self, blob: &Descriptor, source: &dyn BlobSource, sending: Sending<'_>) -> Result<()>;

    /// True if the registry lists referrers itself, told by asking it about `subject`; what it shows is remembered.
    async fn has_referrers_api(&self, subject: &Digest) -> Result<bool>;
}

/// The memory of which repositories of the destination registry hold a blob. It may be wrong or forget: a wrong entry
/// costs one request and is dropped.
#[async_trait]
pub trait BlobLocations: Send + Sync {
    /// Repositories known to hold each of `digests`, best first; digests nothing is known of are absent.
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, Vec<Repository>>;

    /// Remembers that `repository` holds `digests`.
    async fn add(&self, digests: &[Digest], repository: &Repository);

    /// Forgets that `repository` holds `digest`.
    async fn remove(&self, digest: &Digest, repository: &Repository);
}

/// A memory that holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLocations;

#[async_trait]
impl BlobLocations for NoLocations {
    async fn find(&self, _: &[Digest]) -> HashMap<Digest, Vec<Repository>> {
        HashMap::new()
    }

    async fn add(&self, _: &[Digest], _: &Repository) {}

    async fn remove(&self, _: &Digest, _: &Repository) {}
}

/// The memory of what we ourselves wrote to tags of the destination repository.
#[async_trait]
pub trait Replicas: Send + Sync {
    /// Everything that `tag` may name by our own hand: what we wrote last, and what we were about to write since.
    async fn written(&self, tag: &Tag) -> Result<Vec<Digest>>;

    /// We are about to let `tag` name `digest`. Remembered before the write, because a worker that dies after it must find
    /// its own work again and not take it for somebody else's.
    async fn intend(&self, tag: &Tag, digest: &Digest) -> Result<()>;
}

/// A memory of having written nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReplicas;

#[async_trait]
impl Replicas for NoReplicas {
    async fn written(&self, _: &Tag) -> Result<Vec<Digest>> {
        Ok(Vec::new())
    }

    async fn intend(&self, _: &Tag, _: &Digest) -> Result<()> {
        Ok(())
    }
}

/// The right to write one tag of the destination repository, held for the moment of the write. For an image it only saves
/// work: two workers that both believe to hold it still converge, because each looks at the source again after it wrote.
/// A list of referrers is read, added to and written; there it keeps workers from writing over each other.
#[async_trait]
pub trait CommitLease: Send + Sync {
    /// Takes that of `target`, or returns false if another worker holds it.
    async fn acquire(&self, target: &Target) -> Result<bool>;

    /// Gives it back. A failure is of no consequence: it expires.
    async fn release(&self, target: &Target);
}

/// The time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
