//! How far an upload in chunks got, here and in the memory that outlives this process.
//!
//! What must hold: only what the registry acknowledged is remembered, with the state of the hash over exactly those bytes.

use transship_copy::{Continuation, Continuations, Verifier};
use transship_oci::{Digest, Result};
use url::Url;

/// How far the upload of one blob got.
pub(crate) struct Reached<'a> {
    memory: Option<&'a dyn Continuations>,
    blob: &'a Digest,
    is_looked_up: bool,
    /// What the registry acknowledged last.
    acknowledged: Option<Continuation>,
    /// Where it may be instead: the last chunk left whole, and its answer was lost.
    perhaps: Option<Continuation>,
    /// The memory holds what was acknowledged last.
    is_saved: bool,
    /// The memory holds something of this blob.
    has_record: bool,
    hops: u32,
}

impl<'a> Reached<'a> {
    pub(crate) const fn new(memory: Option<&'a dyn Continuations>, blob: &'a Digest) -> Self {
        Self {
            memory,
            blob,
            is_looked_up: false,
            acknowledged: None,
            perhaps: None,
            is_saved: false,
            has_record: false,
            hops: 0,
        }
    }

    /// Takes up what an earlier attempt left; once.
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

    /// True if nothing was acknowledged yet.
    pub(crate) const fn is_nowhere(&self) -> bool {
        self.acknowledged.is_none()
    }

    /// Where the session can be asked how far it is.
    pub(crate) fn location(&self) -> Option<&str> {
        let known = self.acknowledged.as_ref().or(self.perhaps.as_ref())?;
        Some(&known.location)
    }

    /// What is known of the place for which `is_there` holds; any other place is forgotten.
    pub(crate) fn settle(&mut self, is_there: impl Fn(u64) -> bool) -> Option<&Continuation> {
        let (perhaps, acknowledged) = (self.perhaps.take(), self.acknowledged.take());
        let perhaps = perhaps.filter(|known| is_there(known.offset));
        self.is_saved &= perhaps.is_none();
        self.acknowledged = perhaps.or(acknowledged.filter(|known| is_there(known.offset)));
        self.acknowledged.as_ref()
    }

    /// The registry acknowledged what `verifier` saw. A memory that fails is no reason to stop, but one not to hand over.
    pub(crate) async fn advance(&mut self, location: &Url, verifier: &Verifier) {
        self.perhaps = None;
        self.acknowledged = Some(self.at(location, verifier));
        self.is_saved = false;
        if let Err(error) = self.save().await {
            tracing::warn!(blob = %self.blob, code = error.code(), %error, "how far an upload got is not remembered");
        }
    }

    /// All that `verifier` saw was sent, and may have arrived.
    pub(crate) fn suppose(&mut self, location: &Url, verifier: &Verifier) {
        self.perhaps = Some(self.at(location, verifier));
    }

    /// Makes sure that another worker can go on: an error if the memory does not take it.
    pub(crate) async fn save(&mut self) -> Result<()> {
        if let (Some(memory), Some(acknowledged), false) = (self.memory, &self.acknowledged, self.is_saved) {
            memory.save(acknowledged).await?;
            self.has_record = true;
            self.is_saved = true;
        }
        Ok(())
    }

    /// The upload is over, or begins with the blob's first byte.
    pub(crate) async fn forget(&mut self) {
        self.acknowledged = None;
        self.perhaps = None;
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
