//! The requests of an upload: `POST`, `PATCH`, `GET`, `PUT`, `DELETE`, each sent once. `upload` owns the retries.
//!
//! Source: distribution-spec, Pushing blobs. Locations are capabilities: they are used unchanged, never logged, and never
//! cause credentials to be sent to another host.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use transship_copy::{Destination, UploadSession};
use transship_oci::{Algorithm, Code, Descriptor, Error, Result, Verb};
use url::Url;

use crate::RemoteRepository;
use crate::exchange::failure::stalled;
use crate::exchange::{Request, Response};
use crate::manifests::content_digest;
use crate::upload::throughput::IdleWatchdog;

/// The state of an upload session, as the registry reports it.
pub(crate) struct UploadStatus {
    /// The URL of the next request.
    pub(crate) location: Url,
    /// The `Range` header as it was received.
    pub(crate) range: Option<String>,
}

impl RemoteRepository {
    /// Opens a session, or uses the one that is already open.
    pub(crate) async fn upload_begin(&self, blob: &Descriptor, session: Option<UploadSession>) -> Result<Url> {
        let operation = self.blob_operation(Verb::BlobPost, &blob.digest);
        if let Some(location) = session.and_then(|session| Url::parse(&session.location).ok()) {
            return Ok(location);
        }
        let mut url = self.url("blobs/uploads/")?;
        if blob.digest.algorithm() != Algorithm::Sha256 {
            url.query_pairs_mut()
                .append_pair("digest-algorithm", blob.digest.algorithm().as_str());
        }
        let mut request = Request::new(operation, Method::POST, url, self.scope(), &self.requests);
        request.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let response = self.registry.send(request).await?;
        if !matches!(
            response.status(),
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::CREATED
        ) {
            return Err(match response.into_error().await {
                error if error.is(Code::NotFound) => Error::new(
                    Code::RegistryRefused,
                    error.operation(),
                    "the registry answered 404: the repository does not exist and is not created by a push",
                )
                .with_status(404),
                error => error,
            });
        }
        let location = self.location(&response)?;
        // The same for every session, so that a worker that resumes another worker's session knows it as well.
        if let Some(min) = number(response.headers(), "oci-chunk-min-length") {
            self.registry.0.chunk_min.store(min, Ordering::Relaxed);
        }
        response.drain().await;
        Ok(location)
    }

    /// Sends `length` bytes from the offset `first`. A missing session is `UPLOAD_SESSION_LOST`.
    pub(crate) async fn upload_chunk(
        &self,
        blob: &Descriptor,
        location: &Url,
        (first, length): (u64, u64),
        body: reqwest::Body,
        watchdog: &IdleWatchdog,
    ) -> Result<UploadStatus> {
        let mut request = Request::new(
            self.blob_operation(Verb::BlobPatch, &blob.digest),
            Method::PATCH,
            location.clone(),
            self.scope(),
            &self.requests,
        );
        // The format of the specification, which has no unit and no total, unlike RFC 9110.
        let range = format!("{first}-{}", first + length.saturating_sub(1));
        if let Ok(range) = HeaderValue::from_str(&range) {
            request.headers.insert(CONTENT_RANGE, range);
        }
        let response = self.send_bytes(request, length, body, watchdog).await?;
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => {
                self.session_status(response, location).await
            }
            StatusCode::NOT_FOUND => {
                let operation = response.operation.clone();
                response.drain().await;
                Err(Error::of(Code::UploadSessionLost, operation))
            }
            _ => Err(response.into_error().await),
        }
    }

    /// The state of the session; [`None`] if the registry does not know it or does not report it.
    pub(crate) async fn upload_status(&self, blob: &Descriptor, location: &Url) -> Result<Option<UploadStatus>> {
        let request = Request::new(
            self.blob_operation(Verb::BlobStatus, &blob.digest),
            Method::GET,
            location.clone(),
            self.scope(),
            &self.requests,
        );
        let response = self.registry.send(request).await?;
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED => {
                self.session_status(response, location).await.map(Some)
            }
            StatusCode::UNAUTHORIZED => Err(response.into_error().await),
            _ => {
                response.drain().await;
                Ok(None)
            }
        }
    }

    /// Ends the session with its last `length` bytes, and verifies the acknowledgement.
    pub(crate) async fn upload_commit(
        &self,
        blob: &Descriptor,
        location: &Url,
        length: u64,
        body: reqwest::Body,
        watchdog: &IdleWatchdog,
    ) -> Result<()> {
        let operation = self.blob_operation(Verb::BlobPut, &blob.digest);
        let mut url = location.clone();
        // `append_pair` keeps the registry's own query unchanged.
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let request = Request::new(operation.clone(), Method::PUT, url, self.scope(), &self.requests);
        let response = self.send_bytes(request, length, body, watchdog).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {}
            // A lost session is temporary, unlike other missing resources.
            StatusCode::NOT_FOUND => {
                response.drain().await;
                return Err(Error::of(Code::UploadSessionLost, operation));
            }
            _ => return Err(response.into_error().await),
        }
        let told = content_digest(response.headers());
        let is_acknowledged = response.status() == StatusCode::CREATED;
        response.drain().await;
        match told {
            Some(told) if told.algorithm() == blob.digest.algorithm() && told != blob.digest => {
                Err(Error::of(Code::DestinationVerifyFailed, operation).because(format!("{told} for {}", blob.digest)))
            }
            None if !is_acknowledged && !self.blob_head(blob).await? => {
                Err(Error::of(Code::DestinationVerifyFailed, operation).because("the blob is not there"))
            }
            _ => Ok(()),
        }
    }

    /// Cancels a session, with one request and without checking the response, because sessions expire by themselves.
    pub(crate) async fn upload_cancel(&self, blob: &Descriptor, location: Url) {
        let request = Request::new(
            self.blob_operation(Verb::BlobCancel, &blob.digest),
            Method::DELETE,
            location,
            self.scope(),
            &self.requests,
        );
        if let Ok(response) = self
            .registry
            .send_once(&request, || reqwest::Body::from(""), Duration::from_secs(5))
            .await
        {
            response.drain().await;
        }
    }

    /// Sends a request whose body is streamed. Only `watchdog` limits its time.
    async fn send_bytes(
        &self,
        mut request: Request<'_>,
        length: u64,
        body: reqwest::Body,
        watchdog: &IdleWatchdog,
    ) -> Result<Response> {
        request.is_streamed = true;
        request
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let mut body = Some(body);
        // After a 401 the stream is already consumed, so the repeated request fails as a broken body, and the owner of the retries
        // starts again with the new token. An empty body is never consumed.
        let again = || match length {
            0 => reqwest::Body::from(""),
            _ => reqwest::Body::wrap_stream(spent()),
        };
        let begin = Instant::now();
        let send = self
            .registry
            .send_once(&request, || body.take().unwrap_or_else(again), Duration::MAX);
        tokio::select! {
            response = send => {
                let response = response?;
                if response.status().is_success() {
                    self.registry.0.throughput.record(length, begin.elapsed());
                }
                Ok(response)
            }
            why = watchdog.watch(length) => {
                Err(stalled(why, &request.operation))
            }
        }
    }

    /// The session's state in a response. A response without a new location keeps the old one.
    async fn session_status(&self, response: Response, location: &Url) -> Result<UploadStatus> {
        let location = if response.headers().contains_key(LOCATION) {
            self.location(&response)?
        } else {
            location.clone()
        };
        let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok());
        let range = range.map(str::to_owned);
        response.drain().await;
        Ok(UploadStatus { location, range })
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn spent() -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> {
    futures_util::stream::once(async { Err(std::io::Error::other("the body was already sent")) })
}
