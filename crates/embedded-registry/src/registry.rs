//! The registry: routes requests to endpoints, and lets tests inspect and change its content.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use transship_oci::{
    Algorithm, Descriptor, Digest, Manifest, MediaType, RegistryHost, Repository, Result, Tag, Target,
};

use crate::auth::{Access, Guard};
use crate::builder::Options;
use crate::faults::Faults;
use crate::notification::{Happening, Notifier};
use crate::refusal::{Answer, Refusal, answer};
use crate::route::Route;
use crate::server::{Handler, Server};
use crate::store::{Blob, Store, StoredManifest};
use crate::uploads::Uploads;
use crate::{Auth, Builder, RequestRecord, Traffic, VirtualBlob};

/// A registry on a loopback port of this process. Dropping it stops accepting connections.
pub struct EmbeddedRegistry {
    registry: Arc<Registry>,
    server: Server,
    host: RegistryHost,
}

/// The handler of requests.
pub(crate) struct Registry {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    guard: Guard,
    notifier: Option<Notifier>,
}

/// An authorized request without its body.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: SocketAddr,
    pub(crate) access: Access,
    query: Vec<(String, String)>,
}

/// An authorized request.
pub(crate) struct Call {
    pub(crate) head: Head,
    body: Body,
}

impl Head {
    /// The first value of a query parameter, decoded.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.query_all(name).into_iter().next()
    }

    pub(crate) fn query_all(&self, name: &str) -> Vec<String> {
        let values = self.query.iter().filter(|(key, _)| key == name);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// A header, if it is text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The host name that the client used.
    pub(crate) fn host(&self) -> &str {
        self.header(&header::HOST).unwrap_or_default()
    }
}

impl Call {
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.head.query(name)
    }

    pub(crate) fn query_digest(&self, name: &str) -> Result<Option<Digest>, Refusal> {
        self.query(name)
            .map(|text| text.parse())
            .transpose()
            .map_err(|error: transship_oci::Error| Refusal::bad_request("DIGEST_INVALID", error.to_string()))
    }

    pub(crate) fn into_parts(self) -> (Head, Body) {
        (self.head, self.body)
    }
}

impl Registry {
    pub(crate) fn new(options: Options, auth: Auth) -> Self {
        Self {
            options,
            store: Store::default(),
            uploads: Uploads::default(),
            guard: Guard::new(auth),
            notifier: None,
        }
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.guard.user()
    }

    pub(crate) fn notify_by(&mut self, notifier: Notifier) {
        self.notifier = Some(notifier);
    }

    pub(crate) fn tell(&self, happening: Happening, head: &Head) {
        if let Some(notifier) = &self.notifier {
            notifier.tell(happening, head);
        }
    }

    pub(crate) fn expect_deletes(&self) -> Result<(), Refusal> {
        if self.options.deletes {
            Ok(())
        } else {
            Err(Refusal::unsupported("this registry does not support deletes"))
        }
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let route = Route::parse(parts.uri.path())?;
        let access = self.guard.check(&route, &parts.method, &parts.headers)?;
        let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let peer = parts.extensions.get::<SocketAddr>().copied();
        let head = Head {
            query: query.into_owned().collect(),
            peer: peer.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()),
            method: parts.method,
            headers: parts.headers,
            access,
        };
        self.dispatch(route, Call { head, body }).await
    }

    async fn dispatch(&self, route: Route, call: Call) -> Answer {
        let method = call.head.method.clone();
        match (method.as_str(), &route) {
            ("GET" | "HEAD", Route::Ping) => Ok(answer(StatusCode::OK, [], Body::empty())),
            ("GET", Route::Token) => self.guard.token(&call.head),
            ("GET", Route::Catalog) => self.catalog(&call.head),
            ("GET", Route::Tags(repository)) => self.tags_list(repository, &call.head),
            ("GET", Route::Referrers(repository, digest)) => self.referrers_list(repository, digest, &call.head),
            ("GET" | "HEAD", Route::Manifest(repository, target)) => self.manifest_read(repository, target, &call.head),
            ("PUT", Route::Manifest(repository, target)) => self.manifest_write(repository, target, call).await,
            ("DELETE", Route::Manifest(repository, target)) => self.manifest_delete(repository, target, &call.head),
            ("GET" | "HEAD", Route::Blob(repository, digest)) => self.blob_read(repository, digest, &call.head),
            ("DELETE", Route::Blob(repository, digest)) => self.blob_delete(repository, digest, &call.head),
            ("POST", Route::UploadStart(repository)) => self.upload_start(repository, call).await,
            ("GET", Route::Upload(repository, id)) => self.upload_status(repository, id).await,
            ("PATCH", Route::Upload(repository, id)) => self.upload_chunk(repository, id, call).await,
            ("PUT", Route::Upload(repository, id)) => self.upload_commit(repository, id, call).await,
            ("DELETE", Route::Upload(repository, id)) => self.upload_cancel(repository, id),
            _ => Err(Refusal::unsupported(format!("{method} is not supported for this path"))),
        }
    }
}

#[async_trait]
impl Handler for Registry {
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let mut response = self.answer(request).await.unwrap_or_else(Refusal::into_response);
        response.headers_mut().insert(
            HeaderName::from_static("docker-distribution-api-version"),
            HeaderValue::from_static("registry/2.0"),
        );
        response
    }
}

impl EmbeddedRegistry {
    /// Options for a new registry.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) const fn new(registry: Arc<Registry>, server: Server, host: RegistryHost) -> Self {
        Self { registry, server, host }
    }

    /// Host and port: `127.0.0.1:<port>`.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// Base URL: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Whether the registry has the referrers API.
    pub fn lists_referrers(&self) -> bool {
        self.registry.options.referrers_api
    }

    /// Stops accepting connections, and returns when the open ones have ended.
    pub async fn stop(self) {
        self.server.stop().await;
    }

    /// All repositories, sorted.
    pub fn repositories(&self) -> Vec<Repository> {
        self.registry.store.lock().repositories.keys().cloned().collect()
    }

    /// All tags of a repository, sorted.
    pub fn tags(&self, repository: &Repository) -> Vec<Tag> {
        let content = self.registry.store.lock();
        let tags = content.repositories.get(repository).map(|content| content.tags.keys());
        tags.into_iter().flatten().cloned().collect()
    }

    /// The digests of all manifests of a repository, sorted.
    pub fn manifests(&self, repository: &Repository) -> Vec<Digest> {
        let content = self.registry.store.lock();
        let manifests = content
            .repositories
            .get(repository)
            .map(|content| content.manifests.keys());
        manifests.into_iter().flatten().cloned().collect()
    }

    /// Media type and bytes of a manifest.
    pub fn manifest(&self, repository: &Repository, target: &Target) -> Option<(MediaType, Bytes)> {
        let content = self.registry.store.lock();
        let (_, manifest) = content.manifest(repository, target)?;
        Some((manifest.media_type.clone(), manifest.bytes.clone()))
    }

    /// The digest that a tag names.
    pub fn digest(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        let content = self.registry.store.lock();
        content.repositories.get(repository)?.tags.get(tag).cloned()
    }

    /// The bytes of a blob in one piece; [`None`] also if they were discarded. Do not use it for virtual blobs larger than
    /// memory.
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> Option<Bytes> {
        let blob = self.registry.store.lock().blob(repository, digest)?.clone();
        let mut pieces = blob.read(0, blob.size())?;
        let first = pieces.next().unwrap_or_default();
        let mut whole = BytesMut::new();
        for piece in pieces {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&piece);
        }
        Some(if whole.is_empty() { first } else { whole.freeze() })
    }

    /// The size of a blob in bytes, stored or discarded; [`None`] if the repository does not have it.
    pub fn blob_size(&self, repository: &Repository, digest: &Digest) -> Option<u64> {
        Some(self.registry.store.lock().blob(repository, digest)?.size())
    }

    /// Number of open upload sessions.
    pub fn open_uploads(&self) -> usize {
        self.registry.uploads.count()
    }

    /// Every request since the start or the last reset, in order of arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.server.requests()
    }

    /// Sums over [`EmbeddedRegistry::requests`].
    pub fn traffic(&self) -> Traffic {
        Traffic::of(&self.requests())
    }

    /// Deletes the records of requests.
    pub fn reset_requests(&self) {
        self.server.reset_requests();
    }

    /// Sets the faults of future requests; [`None`] for no faults.
    pub fn set_faults(&self, faults: Option<Arc<dyn Faults>>) {
        self.server.set_faults(faults);
    }

    /// Revokes all tokens, as if they had expired.
    pub fn expire_tokens(&self) {
        self.registry.guard.expire_tokens();
    }

    /// Stores a blob without a request or a notification.
    pub fn seed_blob(&self, repository: &Repository, algorithm: Algorithm, bytes: Bytes) -> Digest {
        let digest = Digest::of(algorithm, &bytes);
        let mut content = self.registry.store.lock();
        content.add_blob(repository, digest.clone(), Blob::of(bytes));
        digest
    }

    /// Stores a virtual blob. Hashes it if that has not been done, which takes seconds per 10 GiB.
    pub fn seed_virtual_blob(&self, repository: &Repository, blob: &VirtualBlob) -> Descriptor {
        let descriptor = blob.descriptor();
        let mut content = self.registry.store.lock();
        content.add_blob(repository, descriptor.digest.clone(), Blob::Virtual(blob.clone()));
        descriptor
    }

    /// Stores a manifest under its sha256 digest without checks, so that tests can store invalid manifests.
    pub fn seed_manifest(&self, repository: &Repository, media_type: &MediaType, bytes: Bytes) -> Digest {
        let digest = Digest::sha256(&bytes);
        let understood = Manifest::parse(bytes.clone(), Some(media_type.as_str())).ok();
        let stored = StoredManifest {
            media_type: media_type.clone(),
            bytes,
            referrer: understood.and_then(|manifest| StoredManifest::of(&manifest).referrer),
        };
        let mut content = self.registry.store.lock();
        content.add_manifest(repository, digest.clone(), stored);
        digest
    }

    /// Sets a tag to `digest`, whether that manifest exists or not.
    pub fn tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) {
        let mut content = self.registry.store.lock();
        content.add_tag(repository, tag.clone(), digest.clone());
    }

    /// Removes a tag without a request or a notification. False if it is not there.
    pub fn untag(&self, repository: &Repository, tag: &Tag) -> bool {
        self.registry.store.lock().remove_tag(repository, tag)
    }

    /// Removes a manifest with its tags, or a blob, without a request or a notification, as if the registry had lost it.
    pub fn forget(&self, repository: &Repository, digest: &Digest) {
        let mut content = self.registry.store.lock();
        content.remove_manifest(repository, digest);
        content.remove_blob(repository, digest);
    }
}
