//! Uploads a blob in chunks that outlive their worker.
//!
//! The requests are `POST`, then `PATCH` requests that are each acknowledged before the next one starts, then an empty `PUT`.
//! After each acknowledgement the location, the offset and the hash state are stored, so that another process can resume.
//!
//! An offset counts only if the registry reported exactly the expected number. After anything uncertain, the registry's
//! offset is requested; unless it equals a known offset, the blob starts again in another session (docker-registry 2.8.2
//! forgets a session that is cut in the middle of a PATCH). An upload is handed over only after its state is stored. The last
//! bytes are sent only if the digest is right.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::stream;
use transship_copy::{BlobSource, Step, UploadOptions, Verifier};
use transship_oci::{Code, Descriptor, Error, Verb};
use url::Url;

use crate::RemoteRepository;
use crate::upload::Broken;
use crate::upload::body::{BodySource, Observers};
use crate::upload::plan::{ChunkLimits, Outlook, acknowledged, chunk, stands_at};
use crate::upload::progress::UploadProgress;
use crate::upload::session::UploadStatus;
use crate::upload::throughput::IdleWatchdog;

/// An upload in chunks, with all retries of one worker.
pub(crate) struct Chunks<'a> {
    repository: &'a RemoteRepository,
    blob: &'a Descriptor,
    source: &'a dyn BlobSource,
    sending: &'a mut UploadOptions<'a>,
    upload_progress: UploadProgress<'a>,
    /// The open session, which is cancelled if it is abandoned.
    open: Option<Url>,
    /// Number of bytes that were reported as progress and are valid.
    shown: u64,
    /// Whether a chunk was acknowledged since the last retry started.
    pub(crate) has_advanced: bool,
    /// Number of this worker's sessions that were lost or whose first chunk failed.
    pub(crate) lost: u32,
}

/// An open session.
struct Session {
    location: Url,
    body_source: BodySource,
    /// Whether the session was opened by this worker and its state was never stored.
    is_own: bool,
}

type Result<T> = std::result::Result<T, Broken>;

impl<'a> Chunks<'a> {
    /// A new session without acknowledged bytes.
    pub(crate) fn new(
        repository: &'a RemoteRepository,
        blob: &'a Descriptor,
        source: &'a dyn BlobSource,
        sending: &'a mut UploadOptions<'a>,
    ) -> Self {
        Self {
            repository,
            blob,
            source,
            upload_progress: UploadProgress::new(sending.continuations, &blob.digest),
            sending,
            open: None,
            shown: 0,
            has_advanced: false,
            lost: 0,
        }
    }

    /// One try, from the last acknowledged offset to the end of the blob or of the time slot.
    pub(crate) async fn send(&mut self) -> Result<()> {
        self.has_advanced = false;
        // There is no stored state in a first attempt.
        if self.sending.is_repeated {
            self.upload_progress.look_up().await;
        }
        let mut session = match self.resume().await? {
            Some(session) => session,
            None => self.begin().await?,
        };
        let mut is_first = true;
        loop {
            let left = session.body_source.verifier().left();
            if left == 0 {
                break;
            }
            let Some(length) = self.plan(left, is_first) else {
                return self.hand_over().await;
            };
            is_first = false;
            let taken = self.send_chunk(&session, length).await;
            session.location = self.judge(taken, &session).await?;
            self.open = Some(session.location.clone());
            self.has_advanced = true;
            self.upload_progress
                .advance(&session.location, &session.body_source.verifier())
                .await;
        }
        self.commit(&session).await
    }

    /// Discards the state, so that the next try starts with the first byte.
    pub(crate) async fn begin_anew(&mut self) {
        if let Some(location) = self.open.take() {
            self.repository.upload_cancel(self.blob, location).await;
        }
        self.upload_progress.forget().await;
        if self.shown > 0 {
            self.sending.progress.step(Step::BlobRestart {
                digest: &self.blob.digest,
                bytes: std::mem::take(&mut self.shown),
            });
        }
    }

    /// The stored session, if the registry reports exactly the stored offset.
    async fn resume(&mut self) -> Result<Option<Session>> {
        let Some(location) = self.upload_progress.location() else {
            return Ok(None);
        };
        // The stored state may have been changed by someone else, so its location is checked like one from a registry.
        let Some(location) = self.repository.remembered_location(location) else {
            return self.give_up("its location is rejected").await;
        };
        let status = self.repository.upload_status(self.blob, &location).await;
        let Some(session_status) = status.map_err(Broken::Begin)? else {
            self.open = None;
            return self.give_up("the registry has no such session").await;
        };
        self.open = Some(session_status.location.clone());
        let Some(upload_progress) = self.upload_progress.reconcile(|offset| is_at(&session_status, offset)) else {
            return self.give_up("the registry reports another offset").await;
        };
        let Some(verifier) = Verifier::resume(self.blob, upload_progress.offset, &upload_progress.hash) else {
            return self.give_up("its hash state is not valid").await;
        };
        let bytes = if verifier.left() == 0 {
            Box::pin(stream::empty())
        } else {
            let opened = self.source.blob_get(self.blob, verifier.seen()).await;
            opened.map_err(Broken::Source)?
        };
        tracing::debug!(blob = %self.blob.digest, offset = verifier.seen(), "resuming an upload");
        Ok(Some(Session {
            location: session_status.location,
            body_source: BodySource::new(bytes, verifier),
            is_own: false,
        }))
    }

    async fn give_up(&mut self, why: &str) -> Result<Option<Session>> {
        tracing::info!(blob = %self.blob.digest, why, "an upload cannot be resumed and starts again");
        self.begin_anew().await;
        Ok(None)
    }

    async fn begin(&mut self) -> Result<Session> {
        if self.plan(self.blob.size, true).is_none() {
            return Err(self.over());
        }
        // The session of the last try, if its first chunk failed.
        self.begin_anew().await;
        let session = self.sending.session.take();
        let open = async { self.source.blob_get(self.blob, 0).await.map_err(Broken::Source) };
        let begin = async {
            let location = self.repository.upload_begin(self.blob, session).await;
            location.map_err(Broken::Begin)
        };
        let (bytes, location) = tokio::try_join!(open, begin)?;
        self.open = Some(location.clone());
        Ok(Session {
            location,
            body_source: BodySource::new(bytes, Verifier::new(self.blob)),
            is_own: true,
        })
    }

    fn plan(&self, left: u64, is_first: bool) -> Option<u64> {
        let registry = &self.repository.registry.0;
        let limits = ChunkLimits {
            max: registry.profile.chunk_max,
            min: registry.chunk_min.load(Ordering::Relaxed),
        };
        let outlook = Outlook {
            size: left,
            left: self.sending.budget.map(|budget| budget.left()),
            throughput: registry.throughput.get(),
            is_repeated: self.sending.is_repeated,
        };
        chunk(limits, outlook, is_first)
    }

    async fn send_chunk(&mut self, session: &Session, length: u64) -> Result<UploadStatus> {
        let registry = &self.repository.registry.0;
        let watchdog = Arc::new(IdleWatchdog::new(registry.idle_timeout));
        let observers = Observers {
            watchdog: Arc::clone(&watchdog),
            progress: Arc::clone(self.sending.progress),
            bandwidth: registry.limiter.bandwidth(),
        };
        let first = session.body_source.verifier().seen();
        let body = session.body_source.body(self.blob, length, observers);
        let begin = Instant::now();
        let send = self
            .repository
            .upload_chunk(self.blob, &session.location, (first, length), body, &watchdog);
        let sent = match self.sending.budget {
            None => Some(send.await),
            Some(budget) => tokio::time::timeout(budget.left(), send).await.ok(),
        };
        self.shown += watchdog.bytes();
        let Some(sent) = sent else {
            // The chunk was too large. The measured throughput makes the next ones smaller.
            registry.throughput.record(watchdog.bytes(), begin.elapsed());
            return Err(self.over());
        };
        if let Some(error) = session.body_source.failure().or_else(|| watchdog.source_error()) {
            return Err(Broken::Source(error));
        }
        let verifier = session.body_source.verifier();
        let is_whole = verifier.seen() == first + length;
        match sent {
            Ok(session_status) if is_whole => Ok(session_status),
            Ok(_) => Err(Broken::Destination(
                self.error("the registry acknowledged a chunk before all of it was sent"),
            )),
            Err(error) => {
                if is_whole {
                    self.upload_progress.mark_unconfirmed(&session.location, &verifier);
                }
                Err(Broken::Destination(error))
            }
        }
    }

    /// Checks the response to a chunk: returns the next location, or an error of this chunk or of chunks in general.
    async fn judge(&mut self, taken: Result<UploadStatus>, session: &Session) -> Result<Url> {
        let offset = session.body_source.verifier().seen();
        let session_status = match taken {
            Ok(session_status) => session_status,
            Err(Broken::Destination(error)) if session.is_own => return Err(self.judge_refusal(error)),
            Err(broken) => return Err(broken),
        };
        let Some(range) = &session_status.range else {
            return self.ask(&session_status, offset).await;
        };
        match acknowledged(range) {
            Some(told) if told == offset => Ok(session_status.location),
            // ECR answers 201 to every PATCH and discards all except the first; only the Range reveals it.
            told if session.is_own && told < Some(offset) => Err(Broken::Refused(
                self.error("the registry acknowledged fewer bytes than were sent"),
            )),
            _ => Err(Broken::Destination(
                self.error("the registry acknowledged another range than was sent"),
            )),
        }
    }

    /// If the response has no Range, the status of the session is requested.
    async fn ask(&self, session_status: &UploadStatus, offset: u64) -> Result<Url> {
        let status = self.repository.upload_status(self.blob, &session_status.location).await;
        match status.map_err(Broken::Destination)? {
            Some(session_status) if is_at(&session_status, offset) => Ok(session_status.location),
            _ => Err(Broken::Refused(self.error("the registry does not report its offset"))),
        }
    }

    fn judge_refusal(&mut self, error: Error) -> Broken {
        let is_first = self.upload_progress.is_unacknowledged();
        // A registry that rejects the first chunk before it is sent completely may be visible only as a broken connection.
        let is_unheard = is_first && error.is(Code::ConnectionBroken);
        if is_unheard || error.is(Code::UploadSessionLost) {
            self.lost += 1;
        }
        if is_refusal(&error, is_first) {
            Broken::Refused(error)
        } else {
            Broken::Destination(error)
        }
    }

    /// Hands the rest over to another worker.
    async fn hand_over(&mut self) -> Result<()> {
        self.upload_progress.save().await.map_err(Broken::Over)?;
        Err(self.over())
    }

    async fn commit(&mut self, session: &Session) -> Result<()> {
        if self.plan(1, false).is_none() {
            return self.hand_over().await;
        }
        let watchdog = IdleWatchdog::new(self.repository.registry.0.idle_timeout);
        let body = reqwest::Body::from("");
        let commit = self
            .repository
            .upload_commit(self.blob, &session.location, 0, body, &watchdog);
        commit.await.map_err(Broken::Destination)?;
        self.upload_progress.forget().await;
        Ok(())
    }

    fn over(&self) -> Broken {
        let operation = self.repository.blob_operation(Verb::BlobPatch, &self.blob.digest);
        Broken::Over(Error::of(Code::SlotOver, operation))
    }

    fn error(&self, why: &str) -> Error {
        let operation = self.repository.blob_operation(Verb::BlobPatch, &self.blob.digest);
        Error::of(Code::DestinationVerifyFailed, operation).because(why)
    }
}

fn is_at(session_status: &UploadStatus, offset: u64) -> bool {
    session_status
        .range
        .as_deref()
        .is_some_and(|range| stands_at(range, offset))
}

/// True if the registry rejected chunks in a session of this worker. `is_first` means that no chunk was accepted yet; later,
/// some of these statuses may also mean a lost session or a different offset.
fn is_refusal(error: &Error, is_first: bool) -> bool {
    match error.kind() {
        Code::UploadSessionLost => is_first,
        Code::RegistryRefused => is_first || !matches!(error.status(), Some(400 | 409 | 416)),
        _ => false,
    }
}
