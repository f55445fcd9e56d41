//! Uploading a blob in chunks that outlive their worker.
//!
//! `POST`; `PATCH`es of which each is acknowledged before the next is begun; an empty `PUT`. After each acknowledgement the
//! location, the offset and the state of the hash are remembered, and another process can go on from there.
//!
//! What must hold: an offset counts only if the registry said it, in exactly our number. After anything uncertain the
//! registry is asked where the session stands, and unless that is where we know every byte, the blob begins anew in another
//! session (docker-registry 2.8.2 forgets one that is cut in the middle of a PATCH). An upload is handed over only when its
//! state is remembered. The last bytes leave only if the digest is right.

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

/// An upload in chunks, over all the tries of one worker.
pub(crate) struct Chunks<'a> {
    repository: &'a RemoteRepository,
    blob: &'a Descriptor,
    source: &'a dyn BlobSource,
    sending: &'a mut UploadOptions<'a>,
    upload_progress: UploadProgress<'a>,
    /// The session at work, to be cancelled if it is left.
    open: Option<Url>,
    /// Bytes that progress was told of and that count.
    shown: u64,
    /// A chunk was acknowledged since the last try began.
    pub(crate) has_advanced: bool,
    /// Sessions of our own that were lost, or whose first chunk broke.
    pub(crate) lost: u32,
}

/// A session at work.
struct Session {
    location: Url,
    body_source: BodySource,
    /// Nobody else ever knew it.
    is_own: bool,
}

type Result<T> = std::result::Result<T, Broken>;

impl<'a> Chunks<'a> {
    /// Of which nothing is known yet.
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

    /// One try: from where the last one got to, to the end of the blob or of the worker's time.
    pub(crate) async fn send(&mut self) -> Result<()> {
        self.has_advanced = false;
        // A first attempt can have left nothing.
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

    /// Forgets how far it got: the next try begins with the blob's first byte.
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

    /// The session that was reached, if it stands exactly there still.
    async fn resume(&mut self) -> Result<Option<Session>> {
        let Some(location) = self.upload_progress.location() else {
            return Ok(None);
        };
        // The memory may have been tampered with: what it says is judged as what a registry says.
        let Some(location) = self.repository.remembered_location(location) else {
            return self.give_up("its location is refused").await;
        };
        let status = self.repository.upload_status(self.blob, &location).await;
        let Some(session_status) = status.map_err(Broken::Begin)? else {
            self.open = None;
            return self.give_up("the registry does not know it").await;
        };
        self.open = Some(session_status.location.clone());
        let Some(upload_progress) = self.upload_progress.reconcile(|offset| is_at(&session_status, offset)) else {
            return self.give_up("it stands somewhere else").await;
        };
        let Some(verifier) = Verifier::resume(self.blob, upload_progress.offset, &upload_progress.hash) else {
            return self.give_up("the state of its hash is not usable").await;
        };
        let bytes = if verifier.left() == 0 {
            Box::pin(stream::empty())
        } else {
            let opened = self.source.blob_get(self.blob, verifier.seen()).await;
            opened.map_err(Broken::Source)?
        };
        tracing::debug!(blob = %self.blob.digest, offset = verifier.seen(), "an upload goes on");
        Ok(Some(Session {
            location: session_status.location,
            body_source: BodySource::new(bytes, verifier),
            is_own: false,
        }))
    }

    async fn give_up(&mut self, why: &str) -> Result<Option<Session>> {
        tracing::info!(blob = %self.blob.digest, why, "an upload is not taken up, and begins anew");
        self.begin_anew().await;
        Ok(None)
    }

    async fn begin(&mut self) -> Result<Session> {
        if self.plan(self.blob.size, true).is_none() {
            return Err(self.over());
        }
        // Of the last try, if its first chunk broke.
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
            left: self.sending.slot.map(|slot| slot.left()),
            throughput: registry.throughput.get(),
            is_repeated: self.sending.is_repeated,
        };
        chunk(limits, outlook, is_first)
    }

    async fn send_chunk(&mut self, session: &Session, length: u64) -> Result<UploadStatus> {
        let registry = &self.repository.registry.0;
        let watchdog = Arc::new(IdleWatchdog::new());
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
        let sent = match self.sending.slot {
            None => Some(send.await),
            Some(slot) => tokio::time::timeout(slot.left(), send).await.ok(),
        };
        self.shown += watchdog.bytes();
        let Some(sent) = sent else {
            // It was planned too large: the next one of this process will not be.
            registry.throughput.record(watchdog.bytes(), begin.elapsed());
            return Err(self.over());
        };
        if let Some(error) = session.body_source.failure() {
            return Err(Broken::Source(error));
        }
        let verifier = session.body_source.verifier();
        let is_whole = verifier.seen() == first + length;
        match sent {
            Ok(session_status) if is_whole => Ok(session_status),
            Ok(_) => Err(Broken::Destination(
                self.error("a chunk is acknowledged before all of it was sent"),
            )),
            Err(error) => {
                if is_whole {
                    self.upload_progress.mark_unconfirmed(&session.location, &verifier);
                }
                Err(Broken::Destination(error))
            }
        }
    }

    /// Whether the registry took the chunk: the next location, or what is wrong with it, or with its way of taking chunks.
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
            // ECR answers 201 to every PATCH, and throws all but the first away: only the Range tells.
            told if session.is_own && told < Some(offset) => Err(Broken::Refused(
                self.error("fewer bytes are acknowledged than were sent"),
            )),
            _ => Err(Broken::Destination(
                self.error("other bytes are acknowledged than were sent"),
            )),
        }
    }

    /// Without a Range there is nothing to go by: the session is asked.
    async fn ask(&self, session_status: &UploadStatus, offset: u64) -> Result<Url> {
        let status = self.repository.upload_status(self.blob, &session_status.location).await;
        match status.map_err(Broken::Destination)? {
            Some(session_status) if is_at(&session_status, offset) => Ok(session_status.location),
            _ => Err(Broken::Refused(self.error("it does not say how much it has"))),
        }
    }

    fn judge_refusal(&mut self, error: Error) -> Broken {
        let is_first = self.upload_progress.is_unacknowledged();
        // Who refuses the first chunk before it was sent may be heard as nothing but a connection that breaks.
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

    /// Leaves the rest to another worker.
    async fn hand_over(&mut self) -> Result<()> {
        self.upload_progress.save().await.map_err(Broken::Over)?;
        Err(self.over())
    }

    async fn commit(&mut self, session: &Session) -> Result<()> {
        if self.plan(1, false).is_none() {
            return self.hand_over().await;
        }
        let watchdog = IdleWatchdog::new();
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

/// True if a registry said that it does not take chunks, to one of our own session. `is_first`: none was taken yet; later on
/// some of these may speak of a session that was lost, or of one that holds other bytes than we think.
fn is_refusal(error: &Error, is_first: bool) -> bool {
    match error.kind() {
        Code::UploadSessionLost => is_first,
        Code::RegistryRefused => is_first || !matches!(error.status(), Some(400 | 409 | 416)),
        _ => false,
    }
}
