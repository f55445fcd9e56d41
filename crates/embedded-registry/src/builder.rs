//! Options of the registry. By default it supports everything in the specification, without authentication.

use std::sync::Arc;

use transship_oci::{Code, Error, RegistryHost, Result, Verb};

use crate::faults::Faults;
use crate::notification::{Notifier, Notify};
use crate::registry::{EmbeddedRegistry, Registry};
use crate::server::Server;
use crate::{Auth, Notification};

/// How a registry reports the received range in the response to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadRanges {
    /// `Range: 0-9`, as the specification defines.
    Plain,
    /// `Range: bytes=0-9`.
    WithUnit,
    /// Not in the response to a chunk; only in the response to a status request.
    OnlyInStatus,
    /// Never.
    Never,
}

/// Abilities of a registry.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a separate ability with its own method"
)]
pub(crate) struct Options {
    pub(crate) referrers_api: bool,
    pub(crate) mounts: bool,
    pub(crate) deletes: bool,
    pub(crate) catalog: bool,
    pub(crate) page_size: usize,
    pub(crate) discard_blobs_above: u64,
    pub(crate) sparse_indexes: bool,
    pub(crate) forgets_cut_uploads: bool,
    pub(crate) upload_ranges: UploadRanges,
    pub(crate) chunk_min: Option<u64>,
    pub(crate) upload_body_max: u64,
}

/// Builds an [`EmbeddedRegistry`].
#[must_use]
pub struct Builder {
    options: Options,
    auth: Auth,
    notify: Option<Notify>,
    faults: Option<Arc<dyn Faults>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            options: Options {
                referrers_api: true,
                mounts: true,
                deletes: true,
                catalog: true,
                page_size: usize::MAX,
                discard_blobs_above: u64::MAX,
                sparse_indexes: false,
                forgets_cut_uploads: false,
                upload_ranges: UploadRanges::Plain,
                chunk_min: None,
                upload_body_max: u64::MAX,
            },
            auth: Auth::None,
            notify: None,
            faults: None,
        }
    }
}

impl Builder {
    /// Sets how clients authenticate.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Calls `function` with every notification, before the response to the request that caused it.
    pub fn notify(mut self, function: Arc<dyn Fn(Notification) + Send + Sync>) -> Self {
        self.notify = Some(Notify::Call(function));
        self
    }

    /// Posts every notification to `url` (`http://…`) with `headers`, in order, and repeats each until it is accepted.
    pub fn notify_url(mut self, url: impl Into<String>, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        self.notify = Some(Notify::Post {
            url: url.into(),
            headers: headers.collect(),
        });
        self
    }

    /// Whether the registry has the referrers API. If not, it answers 404 and sends no `OCI-Subject`.
    pub const fn referrers_api(mut self, has: bool) -> Self {
        self.options.referrers_api = has;
        self
    }

    /// Whether the registry mounts blobs. If not, a mount request opens an upload session, as the specification allows.
    pub const fn mounts(mut self, does: bool) -> Self {
        self.options.mounts = does;
        self
    }

    /// Whether the registry deletes. If not, it answers 405.
    pub const fn delete(mut self, does: bool) -> Self {
        self.options.deletes = does;
        self
    }

    /// Whether the registry lists its repositories. If not, it answers 401.
    pub const fn catalog(mut self, has: bool) -> Self {
        self.options.catalog = has;
        self
    }

    /// Maximum number of names on a page of tags or repositories, regardless of the requested number.
    pub const fn page_size(mut self, names: usize) -> Self {
        self.options.page_size = names;
        self
    }

    /// Uploads larger than this number of bytes are only hashed and counted. HEAD finds such a blob, GET does not.
    pub const fn discard_blobs_above(mut self, size_bytes: u64) -> Self {
        self.options.discard_blobs_above = size_bytes;
        self
    }

    /// Whether the registry accepts an index that names manifests which it does not have, as CNCF Distribution 3 does with
    /// `validation.manifests.indexes.platforms: none`.
    pub const fn sparse_indexes(mut self, does: bool) -> Self {
        self.options.sparse_indexes = does;
        self
    }

    /// Whether a session is forgotten when the body of a chunk is cut off, as in docker-registry 2.8.2. If not, the received
    /// part of the chunk is kept.
    pub const fn forgets_cut_uploads(mut self, does: bool) -> Self {
        self.options.forgets_cut_uploads = does;
        self
    }

    /// Sets how the registry reports the received range of an upload.
    pub const fn upload_ranges(mut self, form: UploadRanges) -> Self {
        self.options.upload_ranges = form;
        self
    }

    /// Minimum size in bytes of every chunk except the last, sent as `OCI-Chunk-Min-Length`.
    pub const fn chunk_min(mut self, size_bytes: u64) -> Self {
        self.options.chunk_min = Some(size_bytes);
        self
    }

    /// Maximum body of an upload in bytes, as a proxy in front of a registry may enforce it. Larger bodies get 413.
    pub const fn upload_body_max(mut self, size_bytes: u64) -> Self {
        self.options.upload_body_max = size_bytes;
        self
    }

    /// Faults to inject into requests. They can be changed later by [`EmbeddedRegistry::set_faults`].
    pub fn faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Starts the registry on a free port of 127.0.0.1. Must be called within a tokio runtime.
    pub async fn start(self) -> Result<EmbeddedRegistry> {
        let failed = |error| Error::of(Code::BindFailed, Verb::Bind.on("127.0.0.1:0")).with_source(error);
        let bound = Server::bind().await.map_err(failed)?;
        let address = bound.address();
        let host: RegistryHost = address
            .to_string()
            .parse()
            .map_err(|error: Error| Error::of(Code::BindFailed, Verb::Bind).with_source(error))?;
        let mut registry = Registry::new(self.options, self.auth);
        if let Some(notify) = self.notify {
            let actor = registry.user().map(ToOwned::to_owned);
            registry.notify_by(Notifier::start(notify, address, actor)?);
        }
        let registry = Arc::new(registry);
        let server = bound.serve(Arc::clone(&registry) as _, self.faults);
        Ok(EmbeddedRegistry::new(registry, server, host))
    }
}
