//! One repository of a registry, as a source and as a destination of copies.
//!
//! Each port is implemented in the file of its object.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use transship_oci::{Code, Digest, Error, Operation, Repository, Result, Target, Verb};
use url::Url;

use crate::Registry;
use crate::auth::Scope;

/// One repository. Cheap to clone; clones share the request counter.
#[derive(Clone)]
pub struct RemoteRepository {
    pub(crate) registry: Registry,
    pub(crate) repository: Repository,
    pub(crate) requests: Arc<AtomicU64>,
    access: Access,
}

/// The access that tokens are requested for.
#[derive(Debug, Clone, Copy)]
enum Access {
    Read,
    Write,
    Delete,
}

impl RemoteRepository {
    pub(crate) fn new(registry: Registry, repository: Repository) -> Self {
        Self {
            registry,
            repository,
            requests: Arc::default(),
            access: Access::Read,
        }
    }

    /// The same repository with tokens for writing.
    #[must_use]
    pub fn for_writing(self) -> Self {
        Self {
            access: Access::Write,
            ..self
        }
    }

    /// The same repository with tokens for deleting tags.
    #[must_use]
    pub fn for_deleting(self) -> Self {
        Self {
            access: Access::Delete,
            ..self
        }
    }

    /// The registry of this repository.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Number of requests so far, including redirects and repeated requests, without token requests.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn scope(&self) -> Scope {
        match self.access {
            Access::Read => Scope::Pull(self.repository.clone()),
            Access::Write => Scope::Push(self.repository.clone()),
            Access::Delete => Scope::Delete(self.repository.clone()),
        }
    }

    /// `/v2/<repository>/<path>`. The parts were validated when they became names and digests.
    pub(crate) fn url(&self, path: &str) -> Result<Url> {
        let text = format!("{}/{path}", self.repository);
        self.registry
            .0
            .base
            .join(&text)
            .map_err(|error| Error::of(Code::ResponseInvalid, Verb::Url.on(text)).because(error))
    }

    pub(crate) fn operation(&self, verb: Verb, target: &Target) -> Operation {
        verb.on_target(format_args!("{}/{}", self.registry.host(), self.repository), target)
    }

    pub(crate) fn blob_operation(&self, verb: Verb, digest: &Digest) -> Operation {
        verb.on(format_args!("{}/{}@{digest}", self.registry.host(), self.repository))
    }
}
