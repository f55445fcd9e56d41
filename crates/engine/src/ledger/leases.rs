//! Leases that are not those of commits: one worker at a time does something, and a worker that died frees it by expiry.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Hint, Hints, Key, Put};
use transship_oci::Result;

/// Leases by name.
#[derive(Clone)]
pub struct Leases {
    hints: Arc<dyn Hints>,
}

impl Leases {
    /// The family of the keys of leases.
    pub const FAMILY: &'static str = "lease";

    /// Leases kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// Takes the lease `name` for `holder` until `now + ttl`; false if another holder has it and it has not expired. A holder
    /// that takes its lease again extends it. One call, two to extend.
    pub async fn take(&self, name: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<bool> {
        let lease = Hint {
            key: Key::new(Self::FAMILY, name),
            value: holder.to_owned(),
            expires: now.saturating_add(ttl).unwrap_or(Timestamp::MAX),
        };
        match self.hints.put_if(&lease, None, now).await? {
            Put::Done => Ok(true),
            Put::Refused(Some(other)) if other == holder => {
                Ok(self.hints.put_if(&lease, Some(holder), now).await? == Put::Done)
            }
            Put::Refused(_) => Ok(false),
        }
    }

    /// Gives the lease back if `holder` has it.
    pub async fn release(&self, name: &str, holder: &str) -> Result<()> {
        self.hints.remove(&Key::new(Self::FAMILY, name), Some(holder)).await
    }
}
