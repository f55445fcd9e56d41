//! Blobs that several images of one import share are sent to a registry once.
//!
//! Images are copied in parallel, each by a copy that does not know the others. Here a copy that needs a blob which another
//! one is sending waits for it, and then asks the registry to mount it from there. What must hold: a blob counts as present
//! only if the registry acknowledged it, in this very repository, in this import.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::Mutex as AsyncMutex;
use transship_copy::{BlobSource, Counts, Destination, Gate, Manifests, Mount, Report, UploadOptions, UploadSession};
use transship_oci::{Code, Descriptor, Digest, Manifest, Repository, Result, Target};

/// Repositories that a blob is taken from before it is sent.
const MOUNT_SOURCES_MAX: usize = 2;

/// Repositories that contain one blob. Locked by the copy that is sending it.
type Holders = Arc<AsyncMutex<Vec<Repository>>>;

/// What arrived at one registry. Clones share it.
#[derive(Clone, Default)]
pub struct SharedBlobs(Arc<Mutex<HashMap<Digest, Holders>>>);

impl SharedBlobs {
    fn holders(&self, digest: &Digest) -> Holders {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(blobs.entry(digest.clone()).or_default())
    }

    async fn forget(&self, digest: &Digest, repository: &Repository) {
        self.holders(digest).lock().await.retain(|holder| holder != repository);
    }
}

/// One repository as one copy writes to it, with what all copies of the import brought.
pub struct SharingDestination<D> {
    repository: D,
    shared: SharedBlobs,
    spared: Mutex<Spared>,
}

/// What a copy believes to have sent and did not need to.
#[derive(Debug, Clone, Copy, Default)]
struct Spared {
    blobs: Counts,
    bytes: Counts,
}

impl<D: Destination> SharingDestination<D> {
    /// `repository`, as one of the destinations of an import.
    pub fn new(repository: D, shared: SharedBlobs) -> Self {
        Self {
            repository,
            shared,
            spared: Mutex::default(),
        }
    }

    /// The report of the one copy that wrote here, told what did not need to be sent.
    #[must_use]
    pub fn corrected(&self, report: Report) -> Report {
        let spared = *self.spared.lock().unwrap_or_else(PoisonError::into_inner);
        Report {
            blobs: moved(report.blobs, spared.blobs),
            bytes: moved(report.bytes, spared.bytes),
            ..report
        }
    }

    fn spare(&self, blob: &Descriptor, how: impl Fn(&mut Counts) -> &mut u64) {
        let mut spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner);
        *how(&mut spared.blobs) += 1;
        *how(&mut spared.bytes) += blob.size;
    }

    /// Mounts the blob from where it arrived before, if `source` has it as well. If that cannot be, the session the registry
    /// opened instead.
    async fn mounted(&self, blob: &Descriptor, source: &dyn BlobSource, holders: &[Repository]) -> Result<Mount> {
        if holders.is_empty() || !self.repository.mounts() || !source.has_blob(blob).await {
            return Ok(Mount::NotMounted(None));
        }
        for from in holders.iter().take(MOUNT_SOURCES_MAX) {
            match self.repository.blob_mount(blob, from).await? {
                Mount::NotMounted(None) => {}
                done => return Ok(done),
            }
        }
        Ok(Mount::NotMounted(None))
    }
}

/// `counts` with what was spared taken from what was copied.
fn moved(counts: Counts, spared: Counts) -> Counts {
    Counts {
        copied: counts.copied.saturating_sub(spared.mounted + spared.skipped),
        mounted: counts.mounted + spared.mounted,
        skipped: counts.skipped + spared.skipped,
    }
}

#[async_trait]
impl<D: Destination> Manifests for SharingDestination<D> {
    fn name(&self) -> String {
        self.repository.name()
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.repository.manifest_head(target).await
    }

    async fn manifest_find(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.repository.manifest_find(target).await
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        self.repository.manifest_get(target).await
    }

    async fn has_referrers_api(&self, subject: &Digest) -> Result<bool> {
        self.repository.has_referrers_api(subject).await
    }
}

#[async_trait]
impl<D: Destination> Destination for SharingDestination<D> {
    fn repository(&self) -> &Repository {
        self.repository.repository()
    }

    fn mounts(&self) -> bool {
        self.repository.mounts()
    }

    async fn manifest_put(&self, target: &Target, manifest: &Manifest, gate: Option<&dyn Gate>) -> Result<bool> {
        let put = self.repository.manifest_put(target, manifest, gate).await;
        if let Err(error) = &put
            && error.is(Code::BlobUnknownAtDestination)
        {
            // The registry lost a blob that it acknowledged, so the location must not be used again.
            for blob in manifest.blobs() {
                self.shared.forget(&blob.digest, self.repository()).await;
            }
        }
        put
    }

    async fn blob_head(&self, blob: &Descriptor) -> Result<bool> {
        let holders = self.shared.holders(&blob.digest);
        let mut holders = holders.lock().await;
        if holders.contains(self.repository()) {
            return Ok(true);
        }
        let is_there = self.repository.blob_head(blob).await?;
        if is_there {
            holders.push(self.repository().clone());
        }
        Ok(is_there)
    }

    async fn blob_mount(&self, blob: &Descriptor, from: &Repository) -> Result<Mount> {
        let mount = self.repository.blob_mount(blob, from).await?;
        if matches!(mount, Mount::Mounted) {
            let holders = self.shared.holders(&blob.digest);
            holders.lock().await.push(self.repository().clone());
        }
        Ok(mount)
    }

    async fn blob_put(&self, blob: &Descriptor, source: &dyn BlobSource, sending: UploadOptions<'_>) -> Result<()> {
        let holders = self.shared.holders(&blob.digest);
        let mut holders = holders.lock().await;
        if holders.contains(self.repository()) {
            self.spare(blob, |counts| &mut counts.skipped);
            return Ok(());
        }
        // A session that is open already is what came of an attempt to mount.
        let session: Option<UploadSession> = match sending.session {
            Some(session) => Some(session),
            None => match self.mounted(blob, source, &holders).await? {
                Mount::Mounted => {
                    holders.push(self.repository().clone());
                    self.spare(blob, |counts| &mut counts.mounted);
                    return Ok(());
                }
                Mount::NotMounted(session) => session,
            },
        };
        let sending = UploadOptions { session, ..sending };
        self.repository.blob_put(blob, source, sending).await?;
        holders.push(self.repository().clone());
        Ok(())
    }
}
