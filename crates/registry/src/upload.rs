//! Uploading a blob: one streaming PUT, repeated from the blob's first byte when it breaks.
//!
//! Source: distribution-spec, Pushing a blob in chunks and monolithically. This is the owner of retries of an upload.
//! A broken answer does not say whether the commit took place: HEAD decides. Locations are capabilities: they are
//! followed as they are, never logged, and never carry credentials to another host.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use transship_copy::{
    BlobSource, ByteStream, Error as CopyError, ErrorKind as CopyKind, Progress, Result as CopyResult, Sending, Step,
    Upload, verified,
};
use transship_oci::{Algorithm, Descriptor};
use url::Url;

use crate::exchange::Call;
use crate::manifests::content_digest;
use crate::profile::UploadForm;
use crate::pulse::Pulse;
use crate::retry::is_temporary;
use crate::{Error, ErrorKind, RemoteRepository, Result};

/// How often bytes that do not have their digest are read anew: once is enough to tell a bad line from a bad blob.
const REREADS: usize = 1;

/// What an upload broke by.
enum Broken {
    /// Reading the source failed, after what repairs a read was tried.
    Source(CopyError),
    /// No session could be opened, after what repeats a request was tried.
    Begin(Error),
    /// The destination, or the way to it, while the bytes were on their way.
    Destination(Error),
}

impl RemoteRepository {
    pub(crate) async fn upload_blob(
        &self,
        blob: &Descriptor,
        source: &dyn BlobSource,
        sending: Sending<'_>,
    ) -> CopyResult<()> {
        let Sending { session, progress, .. } = sending;
        let _permit = self.registry.0.limiter.upload().await;
        let form = self
            .registry
            .0
            .profile
            .uploads
            .first()
            .copied()
            .unwrap_or(UploadForm::Put);
        let mut session = session;
        let mut waits = self.registry.0.retries.begin();
        let mut rereads = 0;
        loop {
            let broken = match form {
                UploadForm::Put => self.put_stream(blob, source, session.take(), progress).await,
            };
            let (error, after) = match broken {
                Ok(()) => return Ok(()),
                Err(Broken::Source(error)) => {
                    let is_wrong = matches!(error.kind, CopyKind::BlobDigestMismatch | CopyKind::BlobSizeMismatch);
                    if !is_wrong || rereads >= REREADS {
                        return Err(error);
                    }
                    rereads += 1;
                    (error, None)
                }
                Err(Broken::Begin(error)) => return Err(error.into()),
                Err(Broken::Destination(error)) if !is_worth_repeating(&error) => return Err(error.into()),
                Err(Broken::Destination(error)) => {
                    let after = error.persistence().retry_after();
                    if let ErrorKind::RateLimited(_) = error.kind {
                        self.registry.pause(after.unwrap_or(self.registry.0.retries.first));
                    } else if self.head_blob(blob).await.unwrap_or(false) {
                        return Ok(());
                    }
                    (error.into(), after)
                }
            };
            let Some(wait) = waits.next(after) else {
                return Err(error);
            };
            tracing::debug!(blob = %blob.digest, code = error.code(), ?wait, "uploading again");
            tokio::time::sleep(wait).await;
        }
    }

    /// `POST`, while the source is opened, then one `PUT` with the bytes.
    async fn put_stream(
        &self,
        blob: &Descriptor,
        source: &dyn BlobSource,
        session: Option<Upload>,
        progress: &Arc<dyn Progress>,
    ) -> std::result::Result<(), Broken> {
        let open = async { source.blob_get(blob, 0).await.map_err(Broken::Source) };
        let begin = async { self.upload_begin(blob, session).await.map_err(Broken::Begin) };
        let (bytes, location) = tokio::try_join!(open, begin)?;
        let bytes = if blob.size == 0 {
            // A body of no bytes is never asked for any, and so would pass unproven.
            prove_empty(bytes, blob).await.map_err(Broken::Source)?
        } else {
            bytes
        };
        let pulse = Arc::new(Pulse::new());
        let failed: Arc<Mutex<Option<CopyError>>> = Arc::default();
        let body = self.body(blob, bytes, &pulse, &failed, progress);
        let sent = self.upload_commit(blob, &location, body, &pulse).await;
        let source_error = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let result = match (source_error, sent) {
            (Some(error), _) => Err(Broken::Source(error)),
            (None, Err(error)) => Err(Broken::Destination(error)),
            (None, Ok(())) => return Ok(()),
        };
        progress.step(Step::BlobRestart {
            digest: &blob.digest,
            bytes: pulse.bytes(),
        });
        // Who asked us to wait is not bothered; the session expires by itself.
        if !matches!(&result, Err(Broken::Destination(error)) if matches!(error.kind, ErrorKind::RateLimited(_))) {
            self.upload_cancel(blob, location).await;
        }
        result
    }

    /// The proven bytes as a request body, with its bandwidth, progress and failure looked after.
    fn body(
        &self,
        blob: &Descriptor,
        bytes: ByteStream,
        pulse: &Arc<Pulse>,
        failed: &Arc<Mutex<Option<CopyError>>>,
        progress: &Arc<dyn Progress>,
    ) -> reqwest::Body {
        let (pulse, failed, progress, digest) = (
            Arc::clone(pulse),
            Arc::clone(failed),
            Arc::clone(progress),
            blob.digest.clone(),
        );
        let bandwidth = self.registry.0.limiter.bandwidth();
        let stream = verified(bytes, blob).map_err(move |error| {
            let said = std::io::Error::other(error.to_string());
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            said
        });
        let stream = stream.then(move |chunk| {
            let bandwidth = bandwidth.clone().filter(|_| chunk.is_ok());
            let chunk = chunk.inspect(|chunk| {
                pulse.beat(chunk.len() as u64);
                progress.step(Step::BlobBytes {
                    digest: &digest,
                    bytes: chunk.len() as u64,
                });
            });
            async move {
                if let (Some(bandwidth), Ok(chunk)) = (bandwidth, &chunk) {
                    bandwidth.pass(chunk.len()).await;
                }
                chunk
            }
        });
        if blob.size == 0 {
            reqwest::Body::from("")
        } else {
            reqwest::Body::wrap_stream(stream)
        }
    }

    async fn upload_begin(&self, blob: &Descriptor, session: Option<Upload>) -> Result<Url> {
        let operation = self.blob_operation("blob_post", &blob.digest);
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
                Error {
                    kind: ErrorKind::NotFound,
                    operation,
                    ..
                } => Error::new(
                    ErrorKind::Refused {
                        status: 404,
                        message: "the repository does not exist and is not created by a push".into(),
                    },
                    operation,
                ),
                error => error,
            });
        }
        let location = self.location(&answer)?;
        answer.drain().await;
        Ok(location)
    }

    async fn upload_commit(&self, blob: &Descriptor, location: &Url, body: reqwest::Body, pulse: &Pulse) -> Result<()> {
        let operation = self.blob_operation("blob_put", &blob.digest);
        let mut url = location.clone();
        // `append_pair` keeps what the registry put into the query, in its order and spelling.
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let mut call = Call::new(operation.clone(), Method::PUT, url, self.scope(), &self.requests);
        call.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
        let mut body = Some(body);
        // A replayed 401 finds the stream used up and fails as a broken body: the owner above begins again, with the new token.
        let send = self.registry.send_once(
            &call,
            || body.take().unwrap_or_else(|| reqwest::Body::wrap_stream(spent())),
            Duration::MAX,
        );
        let answer = tokio::select! {
            answer = send => answer?,
            idle = pulse.watch(blob.size, self.registry.0.patience) => return Err(Error::new(ErrorKind::Timeout(idle), operation)),
        };
        match answer.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {}
            // A session that is gone may stay the next time, unlike a thing that is not there.
            StatusCode::NOT_FOUND => {
                answer.drain().await;
                return Err(Error::new(ErrorKind::SessionLost, operation));
            }
            _ => return Err(answer.into_error().await),
        }
        let told = content_digest(answer.headers());
        let is_acknowledged = answer.status() == StatusCode::CREATED;
        answer.drain().await;
        match told {
            Some(told) if told.algorithm() == blob.digest.algorithm() && told != blob.digest => Err(Error::new(
                ErrorKind::VerifyFailed(format!("{told} for {}", blob.digest)),
                operation,
            )),
            None if !is_acknowledged && !self.head_blob(blob).await? => Err(Error::new(
                ErrorKind::VerifyFailed("the blob is not there".into()),
                operation,
            )),
            _ => Ok(()),
        }
    }

    /// Tells the registry that a session will not be continued. Best effort, one try: sessions expire by themselves.
    async fn upload_cancel(&self, blob: &Descriptor, location: Url) {
        let call = Call::new(
            self.blob_operation("blob_cancel", &blob.digest),
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
}

/// 400 is what registries say when bytes were lost on the way (`DIGEST_INVALID`, `SIZE_INVALID`), 416 when they hold
/// other bytes than we think, 401 when a token ran out in the middle.
fn is_worth_repeating(error: &Error) -> bool {
    match &error.kind {
        ErrorKind::AuthFailed(_) if error.operation.starts_with("blob_put") => true,
        ErrorKind::Refused {
            status: 400 | 416,
            message,
        } => error.operation.starts_with("blob_put") && !message.contains("UNSUPPORTED"),
        ErrorKind::Refused { status, .. } => is_temporary(StatusCode::from_u16(*status).unwrap_or_default()),
        _ => !error.persistence().is_permanent(),
    }
}

async fn prove_empty(bytes: ByteStream, blob: &Descriptor) -> CopyResult<ByteStream> {
    verified(bytes, blob)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(futures_util::stream::empty().boxed())
}

fn spent() -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> {
    futures_util::stream::once(async { Err(std::io::Error::other("the body was sent already")) })
}
