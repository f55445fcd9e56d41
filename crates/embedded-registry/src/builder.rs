//! What kind of registry it is to be. Without any option: all the specification offers, and no authentication.

use std::sync::Arc;

use transship_oci::RegistryHost;

use crate::faults::Faults;
use crate::notification::{Notifier, Notify};
use crate::registry::{EmbeddedRegistry, Registry};
use crate::server::Server;
use crate::{Auth, Error, ErrorKind, Notification, Result};

/// How a registry says in the answer to a chunk how much it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadRanges {
    /// `Range: 0-9`, as the specification has it.
    Plain,
    /// `Range: bytes=0-9`.
    WithUnit,
    /// Not at all; asked for its status, it says so.
    OnlyInStatus,
    /// Not at all.
    Never,
}

/// What a registry does and does not do.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an ability of its own, set by its own method"
)]
pub(crate) struct Options {
    pub(crate) referrers_api: bool,
    pub(crate) mounts: bool,
    pub(crate) deletes: bool,
    pub(crate) catalog: bool,
    pub(crate) page_size: usize,
    pub(crate) discard_blobs_above: u64,
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
    /// How clients prove who they are.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Calls `function` with every notification, before the request that caused it is answered.
    pub fn notify(mut self, function: Arc<dyn Fn(Notification) + Send + Sync>) -> Self {
        self.notify = Some(Notify::Call(function));
        self
    }

    /// Posts every notification to `url` (`http://…`) with `headers`, in order, each until it is accepted.
    pub fn notify_url(mut self, url: impl Into<String>, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        self.notify = Some(Notify::Post {
            url: url.into(),
            headers: headers.collect(),
        });
        self
    }

    /// Whether it lists referrers itself. Without: 404, and no `OCI-Subject`.
    pub const fn referrers_api(mut self, has: bool) -> Self {
        self.options.referrers_api = has;
        self
    }

    /// Whether it mounts. Without: a mount opens an upload, as the specification allows.
    pub const fn mounts(mut self, does: bool) -> Self {
        self.options.mounts = does;
        self
    }

    /// Whether it deletes. Without: 405.
    pub const fn delete(mut self, does: bool) -> Self {
        self.options.deletes = does;
        self
    }

    /// Whether it lists its repositories. Without: 401.
    pub const fn catalog(mut self, has: bool) -> Self {
        self.options.catalog = has;
        self
    }

    /// The most names on a page of tags or repositories, whatever is asked for.
    pub const fn page_size(mut self, names: usize) -> Self {
        self.options.page_size = names;
        self
    }

    /// Uploads larger than so many bytes are only hashed and counted. HEAD finds such a blob, GET does not.
    pub const fn discard_blobs_above(mut self, size_bytes: u64) -> Self {
        self.options.discard_blobs_above = size_bytes;
        self
    }

    /// Whether a session is over when the body of one of its chunks breaks off, as docker-registry 2.8.2 has it. Without: what
    /// arrived of the chunk stays.
    pub const fn forgets_cut_uploads(mut self, does: bool) -> Self {
        self.options.forgets_cut_uploads = does;
        self
    }

    /// How it says how much it has of an upload.
    pub const fn upload_ranges(mut self, form: UploadRanges) -> Self {
        self.options.upload_ranges = form;
        self
    }

    /// What it says it wants of every chunk but the last, in bytes: `OCI-Chunk-Min-Length`.
    pub const fn chunk_min(mut self, size_bytes: u64) -> Self {
        self.options.chunk_min = Some(size_bytes);
        self
    }

    /// The largest body of an upload it takes, as a proxy in front of it may have it: 413 for a larger one.
    pub const fn upload_body_max(mut self, size_bytes: u64) -> Self {
        self.options.upload_body_max = size_bytes;
        self
    }

    /// The faults requests suffer. They can be changed later: [`EmbeddedRegistry::set_faults`].
    pub fn faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Starts it on a free port of 127.0.0.1, on the running tokio runtime.
    pub async fn start(self) -> Result<EmbeddedRegistry> {
        let failed = |error| Error::new(ErrorKind::BindFailed, "bind 127.0.0.1:0").with_source(error);
        let bound = Server::bind().await.map_err(failed)?;
        let address = bound.address();
        let host: RegistryHost = address
            .to_string()
            .parse()
            .map_err(|error: transship_oci::Error| Error::new(ErrorKind::BindFailed, "bind").with_source(error))?;
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
