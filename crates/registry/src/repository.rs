//! One repository of a registry, as a source and as a destination of copies.
//!
//! Each verb lives in the file of its object; this one holds them together and maps "not there" to what it means.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use transship_copy::{
    BlobSource, ByteStream, Destination, Error as CopyError, ErrorKind as CopyKind, Mount, Result as CopyResult,
    Sending, Source,
};
use transship_oci::{Descriptor, Digest, Manifest, Repository, Target};
use url::Url;

use crate::auth::Scope;
use crate::{Error, ErrorKind, Registry, Result};

/// One repository. Cheap to clone; clones count requests together.
#[derive(Clone)]
pub struct RemoteRepository {
    pub(crate) registry: Registry,
    pub(crate) repository: Repository,
    pub(crate) requests: Arc<AtomicU64>,
    is_written: bool,
}

impl RemoteRepository {
    pub(crate) fn new(registry: Registry, repository: Repository) -> Self {
        Self {
            registry,
            repository,
            requests: Arc::default(),
            is_written: false,
        }
    }

    /// The same, asking for tokens that may write.
    #[must_use]
    pub fn for_writing(self) -> Self {
        Self {
            is_written: true,
            ..self
        }
    }

    /// The registry it stands in.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Requests sent for it so far, redirects and replays among them, requests for tokens not.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn scope(&self) -> Scope {
        if self.is_written {
            Scope::Push(self.repository.clone())
        } else {
            Scope::Pull(self.repository.clone())
        }
    }

    /// `/v2/<repository>/<path>`. The parts were validated when they became names and digests.
    pub(crate) fn url(&self, path: &str) -> Result<Url> {
        let text = format!("{}/{path}", self.repository);
        self.registry
            .0
            .base
            .join(&text)
            .map_err(|error| Error::new(ErrorKind::Invalid(error.to_string()), format!("url {text}")))
    }

    pub(crate) fn operation(&self, verb: &str, target: &Target) -> String {
        format!(
            "{verb} {}/{}{}{target}",
            self.registry.host(),
            self.repository,
            target.separator()
        )
    }

    pub(crate) fn blob_operation(&self, verb: &str, digest: &Digest) -> String {
        format!("{verb} {}/{}@{digest}", self.registry.host(), self.repository)
    }
}

#[async_trait]
impl BlobSource for RemoteRepository {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> CopyResult<ByteStream> {
        self.read_blob(blob, offset)
            .await
            .map_err(|error| gone(error, &CopyKind::BlobNotFound))
    }
}

#[async_trait]
impl Source for RemoteRepository {
    fn name(&self) -> String {
        format!("{}/{}", self.registry.host(), self.repository)
    }

    async fn manifest_head(&self, target: &Target) -> CopyResult<Option<Descriptor>> {
        Ok(self.head_manifest(target).await?)
    }

    async fn manifest_get(&self, target: &Target) -> CopyResult<Manifest> {
        match self.get_manifest(target).await? {
            Some(manifest) => Ok(manifest),
            None => Err(CopyError::new(
                CopyKind::SourceNotFound,
                self.operation("manifest_get", target),
            )),
        }
    }

    async fn referrers(&self, subject: &Digest) -> CopyResult<Vec<Descriptor>> {
        Ok(self.list_referrers(subject).await?)
    }
}

#[async_trait]
impl Destination for RemoteRepository {
    fn name(&self) -> String {
        Source::name(self)
    }

    fn repository(&self) -> &Repository {
        &self.repository
    }

    async fn manifest_head(&self, target: &Target) -> CopyResult<Option<Descriptor>> {
        Ok(self.head_manifest(target).await?)
    }

    async fn manifest_get(&self, target: &Target) -> CopyResult<Option<Manifest>> {
        Ok(self.get_manifest(target).await?)
    }

    async fn manifest_put(&self, target: &Target, manifest: &Manifest) -> CopyResult<bool> {
        Ok(self.put_manifest(target, manifest).await?)
    }

    async fn blob_head(&self, blob: &Descriptor) -> CopyResult<bool> {
        Ok(self.head_blob(blob).await?)
    }

    async fn blob_mount(&self, blob: &Descriptor, from: &Repository) -> CopyResult<Mount> {
        Ok(self.mount_blob(blob, from).await?)
    }

    async fn blob_put(&self, blob: &Descriptor, source: &dyn BlobSource, sending: Sending<'_>) -> CopyResult<()> {
        self.upload_blob(blob, source, sending).await
    }

    async fn has_referrers_api(&self, subject: &Digest) -> CopyResult<bool> {
        Ok(self.probe_referrers_api(subject).await?)
    }
}

/// "Not there" under the name it has for a copy.
pub(crate) fn gone(error: Error, meaning: &CopyKind) -> CopyError {
    if error.is_not_found() {
        CopyError::new(meaning.clone(), error.operation)
    } else {
        error.into()
    }
}
