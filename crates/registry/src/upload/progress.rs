//! How far an upload in chunks got, in this process and in the store that outlives it.
//!
//! What must hold: only bytes that the registry acknowledged are stored, with the state of the hash over exactly those bytes.

use transship_copy::{Continuation, Continuations, Verifier};
use transship_oci::{Digest, Result};
use url::Url;

/// Progress of the upload of one blob.
pub(crate) struct UploadProgress<'a> {
    memory: Option<&'a dyn Continuations>,
    blob: &'a Digest,
    is_looked_up: bool,
    /// The last acknowledged state.
    acknowledged: Option<Continuation>,
    /// Where it may be instead, if the last chunk was sent completely and its response was lost.
    unconfirmed: Option<Continuation>,
    /// Whether the last acknowledged state is stored.
    is_saved: bool,
    /// Whether any state of this blob is stored.
    has_record: bool,
    hops: u32,
}

impl<'a> UploadProgress<'a> {
    pub(crate) const fn new(memory: Option<&'a dyn Continuations>, blob: &'a Digest) -> Self {
        Self {
            memory,
            blob,
            is_looked_up: false,
            acknowledged: None,
            unconfirmed: None,
            is_saved: false,
            has_record: false,
            hops: 0,
        }
    }

    /// Reads the position that an earlier attempt stored, once.
    pub(crate) async fn look_up(&mut self) {
        let Some(memory) = self.memory.filter(|_| !self.is_looked_up) else {
            return;
        };
        self.is_looked_up = true;
        let found = memory.find(self.blob).await;
        self.has_record = found.is_some();
        self.acknowledged = found.filter(|found| found.digest == *self.blob);
        self.is_saved = self.acknowledged.is_some();
        self.hops = self
            .acknowledged
            .as_ref()
            .map_or(0, |found| found.hops.saturating_add(1));
    }

    /// True if no byte was acknowledged yet.
    pub(crate) const fn is_unacknowledged(&self) -> bool {
        self.acknowledged.is_none()
    }

    /// The URL at which the registry reports the state of the session.
    pub(crate) fn location(&self) -> Option<&str> {
        let known = self.acknowledged.as_ref().or(self.unconfirmed.as_ref())?;
        Some(&known.location)
    }

    /// Keeps the position for which `is_there` holds, and forgets any other.
    pub(crate) fn reconcile(&mut self, is_there: impl Fn(u64) -> bool) -> Option<&Continuation> {
        let (unconfirmed, acknowledged) = (self.unconfirmed.take(), self.acknowledged.take());
        let unconfirmed = unconfirmed.filter(|known| is_there(known.offset));
        self.is_saved &= unconfirmed.is_none();
        self.acknowledged = unconfirmed.or(acknowledged.filter(|known| is_there(known.offset)));
        self.acknowledged.as_ref()
    }

    /// The registry acknowledged what `verifier` saw. If it cannot be remembered, the upload goes on but is not handed over.
    pub(crate) async fn advance(&mut self, location: &Url, verifier: &Verifier) {
        self.unconfirmed = None;
        self.acknowledged = Some(self.at(location, verifier));
        self.is_saved = false;
        if let Err(error) = self.save().await {
            tracing::warn!(blob = %self.blob, code = error.code(), %error, "the state of an upload could not be stored");
        }
    }

    /// All that `verifier` saw was sent, and may have arrived.
    pub(crate) fn mark_unconfirmed(&mut self, location: &Url, verifier: &Verifier) {
        self.unconfirmed = Some(self.at(location, verifier));
    }

    /// Stores the position, so that another worker can continue. Fails if the store fails.
    pub(crate) async fn save(&mut self) -> Result<()> {
        if let (Some(memory), Some(acknowledged), false) = (self.memory, &self.acknowledged, self.is_saved) {
            memory.save(acknowledged).await?;
            self.has_record = true;
            self.is_saved = true;
        }
        Ok(())
    }

    /// The upload has ended, or starts again at the first byte of the blob.
    pub(crate) async fn forget(&mut self) {
        self.acknowledged = None;
        self.unconfirmed = None;
        self.is_saved = false;
        if let Some(memory) = self.memory.filter(|_| self.has_record) {
            memory.remove(self.blob).await;
        }
        self.has_record = false;
    }

    fn at(&self, location: &Url, verifier: &Verifier) -> Continuation {
        Continuation {
            digest: self.blob.clone(),
            location: location.to_string(),
            offset: verifier.seen(),
            hash: verifier.save(),
            hops: self.hops,
        }
    }
}
