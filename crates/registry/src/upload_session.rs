//! The requests of an upload: `POST`, `PATCH`, `GET`, `PUT`, `DELETE`, each sent once.
//!
//! Source: distribution-spec, Pushing blobs. Locations are capabilities: they are followed as they are, never logged, and
//! never carry credentials to another host. Repeating is the business of `upload`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use transship_copy::{Destination, UploadSession};
use transship_oci::{Algorithm, Code, Descriptor, Error, Result, Verb};
use url::Url;

use crate::RemoteRepository;
use crate::exchange::{Answer, Call};
use crate::failure::timed_out;
use crate::manifests::content_digest;
use crate::pulse::Pulse;

/// Where a session stands, as the registry says.
pub(crate) struct Standing {
    /// Where the next request goes.
    pub(crate) location: Url,
    /// `Range`, as it was sent.
    pub(crate) range: Option<String>,
}

impl RemoteRepository {
    /// Opens a session, or takes the one that was opened already.
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
        let mut call = Call::new(operation, Method::POST, url, self.scope(), &self.requests);
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let answer = self.registry.send(call).await?;
        if !matches!(
            answer.status(),
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::CREATED
        ) {
            return Err(match answer.into_error().await {
                error if error.is(Code::NotFound) => Error::new(
                    Code::RegistryRefused,
                    error.operation(),
                    "the registry answered 404: the repository does not exist and is not created by a push",
                )
                .with_status(404),
                error => error,
            });
        }
        let location = self.location(&answer)?;
        // The same for every session, so that a worker that goes on with another's knows it too.
        if let Some(min) = number(answer.headers(), "oci-chunk-min-length") {
            self.registry.0.chunk_min.store(min, Ordering::Relaxed);
        }
        answer.drain().await;
        Ok(location)
    }

    /// The `length` bytes from byte `first` on. A session that is not there is `UPLOAD_SESSION_LOST`.
    pub(crate) async fn upload_chunk(
        &self,
        blob: &Descriptor,
        location: &Url,
        (first, length): (u64, u64),
        body: reqwest::Body,
        pulse: &Pulse,
    ) -> Result<Standing> {
        let mut call = Call::new(
            self.blob_operation(Verb::BlobPatch, &blob.digest),
            Method::PATCH,
            location.clone(),
            self.scope(),
            &self.requests,
        );
        // The specification's own form, which is not that of RFC 9110: no unit, no total.
        let range = format!("{first}-{}", first + length.saturating_sub(1));
        if let Ok(range) = HeaderValue::from_str(&range) {
            call.headers.insert(CONTENT_RANGE, range);
        }
        let answer = self.send_bytes(call, length, body, pulse).await?;
        match answer.status() {
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => {
                self.standing(answer, location).await
            }
            StatusCode::NOT_FOUND => {
                let operation = answer.operation.clone();
                answer.drain().await;
                Err(Error::of(Code::UploadSessionLost, operation))
            }
            _ => Err(answer.into_error().await),
        }
    }

    /// Where the session stands; [`None`] if the registry does not know it, or does not say.
    pub(crate) async fn upload_status(&self, blob: &Descriptor, location: &Url) -> Result<Option<Standing>> {
        let call = Call::new(
            self.blob_operation(Verb::BlobStatus, &blob.digest),
            Method::GET,
            location.clone(),
            self.scope(),
            &self.requests,
        );
        let answer = self.registry.send(call).await?;
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED => {
                self.standing(answer, location).await.map(Some)
            }
            StatusCode::UNAUTHORIZED => Err(answer.into_error().await),
            _ => {
                answer.drain().await;
                Ok(None)
            }
        }
    }

    /// Ends the session with its last `length` bytes, and proves the acknowledgement.
    pub(crate) async fn upload_commit(
        &self,
        blob: &Descriptor,
        location: &Url,
        length: u64,
        body: reqwest::Body,
        pulse: &Pulse,
    ) -> Result<()> {
        let operation = self.blob_operation(Verb::BlobPut, &blob.digest);
        let mut url = location.clone();
        // `append_pair` keeps what the registry put into the query, in its order and spelling.
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let call = Call::new(operation.clone(), Method::PUT, url, self.scope(), &self.requests);
        let answer = self.send_bytes(call, length, body, pulse).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {}
            // A session that is gone may stay the next time, unlike a thing that is not there.
            StatusCode::NOT_FOUND => {
                answer.drain().await;
                return Err(Error::of(Code::UploadSessionLost, operation));
            }
            _ => return Err(answer.into_error().await),
        }
        let told = content_digest(answer.headers());
        let is_acknowledged = answer.status() == StatusCode::CREATED;
        answer.drain().await;
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

    /// Tells the registry that a session will not be continued. Best effort, one try: sessions expire by themselves.
    pub(crate) async fn upload_cancel(&self, blob: &Descriptor, location: Url) {
        let call = Call::new(
            self.blob_operation(Verb::BlobCancel, &blob.digest),
            Method::DELETE,
            location,
            self.scope(),
            &self.requests,
        );
        if let Ok(answer) = self
            .registry
            .send_once(&call, || reqwest::Body::from(""), Duration::from_secs(5))
            .await
        {
            answer.drain().await;
        }
    }

    /// A request whose body is streamed: it dies of silence, never of age.
    async fn send_bytes(&self, mut call: Call<'_>, length: u64, body: reqwest::Body, pulse: &Pulse) -> Result<Answer> {
        call.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let mut body = Some(body);
        // A replayed 401 finds the stream used up and fails as a broken body: the owner of retries begins again, with the
        // new token. Nothing is used up where there was nothing.
        let again = || match length {
            0 => reqwest::Body::from(""),
            _ => reqwest::Body::wrap_stream(spent()),
        };
        let begin = Instant::now();
        let send = self
            .registry
            .send_once(&call, || body.take().unwrap_or_else(again), Duration::MAX);
        tokio::select! {
            answer = send => {
                let answer = answer?;
                if answer.status().is_success() {
                    self.registry.0.pace.note(length, begin.elapsed());
                }
                Ok(answer)
            }
            idle = pulse.watch(length, self.registry.0.patience) => {
                Err(timed_out(idle, &call.operation))
            }
        }
    }

    /// What an answer says of its session. One that names no new location goes on at the old one.
    async fn standing(&self, answer: Answer, location: &Url) -> Result<Standing> {
        let location = if answer.headers().contains_key(LOCATION) {
            self.location(&answer)?
        } else {
            location.clone()
        };
        let range = answer.headers().get(RANGE).and_then(|value| value.to_str().ok());
        let range = range.map(str::to_owned);
        answer.drain().await;
        Ok(Standing { location, range })
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn spent() -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> {
    futures_util::stream::once(async { Err(std::io::Error::other("the body was sent already")) })
}
