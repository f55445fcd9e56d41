//! Leases that are not those of commits: one worker at a time does something, and a worker that died frees it by expiry.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::hints::is_later;
use super::{Freshness, Hint, Hints, Key, Put};
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
    /// that takes its lease again extends it. A lease that was taken later than now counts as expired, because the clock of its
    /// holder was ahead. One call, two to extend.
    pub async fn take(&self, name: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<bool> {
        let lease = Hint {
            key: Key::new(Self::FAMILY, name),
            value: format!("{} {holder}", now.as_millisecond()),
            expires: now.saturating_add(ttl).unwrap_or(Timestamp::MAX),
        };
        match self.hints.put_if(&lease, None, now).await? {
            Put::Done => Ok(true),
            Put::Refused(Some(known)) if holder_of(&known) == holder || is_ahead(&known, now) => {
                Ok(self.hints.put_if(&lease, Some(&known), now).await? == Put::Done)
            }
            Put::Refused(_) => Ok(false),
        }
    }

    /// Gives the lease back if `holder` has it. Two calls.
    pub async fn release(&self, name: &str, holder: &str) -> Result<()> {
        let key = Key::new(Self::FAMILY, name);
        let known = self
            .hints
            .get(std::slice::from_ref(&key), Timestamp::MIN, Freshness::Exact)
            .await?;
        match known.get(&key).filter(|known| holder_of(known) == holder) {
            Some(known) => self.hints.remove(&key, Some(known)).await,
            None => Ok(()),
        }
    }
}

/// The holder of a lease. A lease of an earlier release has no time.
fn holder_of(value: &str) -> &str {
    match value.split_once(' ') {
        Some((since, holder)) if since.parse::<i64>().is_ok() => holder,
        _ => value,
    }
}

/// True if a lease was taken later than `now`.
fn is_ahead(value: &str, now: Timestamp) -> bool {
    value
        .split_once(' ')
        .and_then(|(since, _)| Timestamp::from_millisecond(since.parse().ok()?).ok())
        .is_some_and(|since| is_later(since, now))
}
