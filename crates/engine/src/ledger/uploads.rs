//! Uploads under way that may outlive their worker.

use std::sync::Arc;

use jiff::Timestamp;
use transship_copy::Continuation;
use transship_oci::{Code, Digest, Error, Result, Verb};

use super::{Freshness, Hint, Hints, Key};

/// Uploads by task and blob. The location of an upload is a capability: it leaves the ledger only as a request.
#[derive(Clone)]
pub struct Uploads {
    hints: Arc<dyn Hints>,
}

impl Uploads {
    /// Uploads kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// The upload of `blob` that `task` has under way, unless it expired.
    pub async fn find(&self, task: &str, blob: &Digest, now: Timestamp) -> Result<Option<Continuation>> {
        let key = key_of(task, blob);
        let found = self
            .hints
            .get(std::slice::from_ref(&key), now, Freshness::Exact)
            .await?;
        // An upload of another release that cannot be read is begun again.
        Ok(found.get(&key).and_then(|value| serde_json::from_str(value).ok()))
    }

    /// Remembers an upload until `expires`, in place of what was known of its blob.
    pub async fn put(&self, task: &str, upload: &Continuation, expires: Timestamp) -> Result<()> {
        let value = serde_json::to_string(upload).map_err(|error| {
            let why = "an upload has no JSON".to_owned();
            Error::of(Code::LedgerUnavailable, Verb::Ledger.on("uploads_put"))
                .because(why)
                .with_source(error)
        })?;
        let key = key_of(task, &upload.digest);
        self.hints.put(&[Hint { key, value, expires }]).await
    }

    /// Forgets an upload.
    pub async fn remove(&self, task: &str, blob: &Digest) -> Result<()> {
        self.hints.remove(&key_of(task, blob), None).await
    }
}

fn key_of(task: &str, blob: &Digest) -> Key {
    Key::new(format!("upload#{task}"), blob.to_string())
}
