//! Uploads a blob, with one streaming PUT or in chunks, and with retries.
//!
//! Source: distribution-spec, Pushing a blob in chunks and monolithically. This module owns the retries of an upload. After a
//! lost response, a HEAD checks whether the blob was committed.

mod body;
mod chunks;
mod plan;
mod progress;
mod session;
pub(crate) mod throughput;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use transship_copy::{
    BlobSource, ByteStream, Destination, Progress, Step, UploadOptions, UploadSession, Verifier, verify_stream,
};
use transship_oci::{Code, Descriptor, Error, Result, Side, Verb};

use crate::RemoteRepository;
use crate::exchange::failure::says;
use crate::profile::UploadForm;
use body::{BodySource, Observers};
use chunks::Chunks;
use plan::Outlook;
use throughput::IdleWatchdog;

/// Number of additional reads of bytes that do not match their digest. One is enough to distinguish a transmission error from
/// a wrong blob.
const REREADS_MAX: usize = 1;
/// After this many lost sessions a blob is sent in one request instead of chunks.
const LOST_SESSIONS_MAX: u32 = 2;
/// Size in bytes above which a body that was rejected for its size is sent in chunks.
const TOO_LARGE_BYTES: u64 = 16 * 1024 * 1024;

/// Cause of a broken upload.
pub(crate) enum Broken {
    /// Reading the source failed, after the retries of the read.
    Source(Error),
    /// No session could be opened, after the retries of the request.
    Begin(Error),
    /// The destination or the network failed during the transfer.
    Destination(Error),
    /// The destination does not support this form of upload.
    Refused(Error),
    /// The time slot of the worker has ended.
    Over(Error),
}

impl RemoteRepository {
    pub(crate) async fn upload(
        &self,
        blob: &Descriptor,
        source: &dyn BlobSource,
        mut sending: UploadOptions<'_>,
    ) -> Result<()> {
        let _permit = self.registry.0.limiter.upload().await;
        let _place = self.registry.0.adaptive.upload().await;
        let progress = sending.progress;
        let mut form = self.upload_form(blob, &sending);
        let mut session = sending.session.take().filter(|_| form == UploadForm::Put);
        let mut chunks = Chunks::new(self, blob, source, &mut sending);
        let mut waits = self.registry.0.retries.begin();
        let mut rereads = 0;
        loop {
            let broken = match form {
                UploadForm::Put => self.put_stream(blob, source, session.take(), progress).await,
                UploadForm::Patch => chunks.send().await,
            };
            if chunks.has_advanced {
                waits = self.registry.0.retries.begin();
            }
            let (error, after) = match broken {
                Ok(()) => return Ok(()),
                Err(Broken::Over(error) | Broken::Begin(error)) => return Err(error),
                Err(Broken::Source(error)) => {
                    let error = error.at(Side::Source);
                    let is_wrong = matches!(error.kind(), Code::BlobDigestMismatch | Code::BlobSizeMismatch);
                    if !is_wrong || rereads >= REREADS_MAX {
                        return Err(error);
                    }
                    rereads += 1;
                    chunks.begin_anew().await;
                    (error, None)
                }
                Err(Broken::Refused(error)) => {
                    tracing::info!(host = %self.registry.host(), %error, "the registry does not support chunks: blobs are sent with one PUT");
                    self.registry.0.chunks_refused.set();
                    chunks.begin_anew().await;
                    form = UploadForm::Put;
                    continue;
                }
                Err(Broken::Destination(error)) if self.is_too_large(&error, form, blob) => {
                    form = UploadForm::Patch;
                    continue;
                }
                Err(Broken::Destination(error)) if !is_worth_repeating(&error) => return Err(error),
                Err(Broken::Destination(error)) => {
                    let after = error.persistence().retry_after();
                    if error.is(Code::RateLimited) {
                        self.registry.pause(after.unwrap_or(self.registry.0.retries.first));
                    } else if self.blob_head(blob).await.unwrap_or(false) {
                        return Ok(());
                    }
                    if form == UploadForm::Patch && chunks.lost >= LOST_SESSIONS_MAX {
                        chunks.begin_anew().await;
                        form = UploadForm::Put;
                    }
                    (error, after)
                }
            };
            let Some(wait) = waits.next(after) else {
                return Err(error);
            };
            tracing::debug!(blob = %blob.digest, code = error.code(), ?wait, "retrying an upload");
            tokio::time::sleep(wait).await;
        }
    }

    fn upload_form(&self, blob: &Descriptor, sending: &UploadOptions<'_>) -> UploadForm {
        let registry = &self.registry.0;
        let outlook = Outlook {
            size: blob.size,
            left: sending.budget.map(|budget| budget.left()),
            throughput: registry.throughput.get(),
            is_repeated: sending.is_repeated,
        };
        // Chunks are useless if their state cannot be stored.
        let takes_chunks = sending.continuations.is_some() && !registry.chunks_refused.get();
        plan::form(registry.profile.uploads, takes_chunks, outlook)
    }

    /// True if the body was rejected for its size, and smaller bodies may be accepted (Azure, and proxies with a limit).
    fn is_too_large(&self, error: &Error, form: UploadForm, blob: &Descriptor) -> bool {
        form == UploadForm::Put
            && error.is(Code::RegistryRefused)
            && error.status() == Some(413)
            && blob.size > TOO_LARGE_BYTES
            && self.registry.0.profile.uploads.contains(&UploadForm::Patch)
            && !self.registry.0.chunks_refused.get()
    }

    /// Sends `POST` while the source is opened, then one `PUT` with the bytes.
    async fn put_stream(
        &self,
        blob: &Descriptor,
        source: &dyn BlobSource,
        session: Option<UploadSession>,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Broken> {
        let open = async { source.blob_get(blob, 0).await.map_err(Broken::Source) };
        let begin = async { self.upload_begin(blob, session).await.map_err(Broken::Begin) };
        let (bytes, location) = tokio::try_join!(open, begin)?;
        let bytes = if blob.size == 0 {
            // An empty body is never polled, so it would not be verified.
            prove_empty(bytes, blob).await.map_err(Broken::Source)?
        } else {
            bytes
        };
        let watchdog = Arc::new(IdleWatchdog::new(self.registry.0.idle_timeout));
        let observers = Observers {
            watchdog: Arc::clone(&watchdog),
            progress: Arc::clone(progress),
            bandwidth: self.registry.0.limiter.bandwidth(),
        };
        let body_source = BodySource::new(bytes, Verifier::new(blob));
        let body = body_source.body(blob, blob.size, observers);
        let sent = self.upload_commit(blob, &location, blob.size, body, &watchdog).await;
        let result = match (body_source.failure().or_else(|| watchdog.source_error()), sent) {
            (Some(error), _) => Err(Broken::Source(error)),
            (None, Err(error)) => Err(Broken::Destination(error)),
            (None, Ok(())) => return Ok(()),
        };
        progress.step(Step::BlobRestart {
            digest: &blob.digest,
            bytes: watchdog.bytes(),
        });
        // The registry asked to wait, so the session is not cancelled; it expires by itself.
        if !matches!(&result, Err(Broken::Destination(error)) if error.is(Code::RateLimited)) {
            self.upload_cancel(blob, location).await;
        }
        result
    }
}

/// Registries answer 400 when bytes were lost (`DIGEST_INVALID`, `SIZE_INVALID`), 416 when their offset differs, and 401 when
/// a token expired during the upload.
fn is_worth_repeating(error: &Error) -> bool {
    let is_of_bytes = matches!(error.verb(), Some(Verb::BlobPut | Verb::BlobPatch));
    match (error.kind(), error.status()) {
        (Code::AuthFailed, _) if is_of_bytes => true,
        // The task waits in the queue, and another one has the worker.
        (Code::TooSlow, _) => false,
        (Code::RegistryRefused, Some(400 | 416)) => is_of_bytes && !says(error, "UNSUPPORTED"),
        _ => error.persistence().is_temporary(),
    }
}

async fn prove_empty(bytes: ByteStream, blob: &Descriptor) -> Result<ByteStream> {
    verify_stream(bytes, blob)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(futures_util::stream::empty().boxed())
}
