//! Executions that an operator cancelled.
//!
//! The mark is written before the tasks of the execution are ended. What must hold: work that begins after the mark was written
//! finds it, so that a task which was recorded too late to be ended by the operator is ended by its worker.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::pauses;
use super::{Freshness, Hint, Hints, Key, Put};
use transship_oci::Result;

/// How long a mark is kept: as long as the tasks of the execution are listed.
const CANCEL_TTL: Duration = Duration::from_hours(90 * 24);
const NAME: &str = "C";

/// Marks of cancelled executions. An execution that was marked once stays marked: what is redriven is a new execution.
#[derive(Clone)]
pub struct Cancels {
    hints: Arc<dyn Hints>,
}

/// What keeps a task of an execution from beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacles {
    /// The execution was cancelled.
    pub is_cancelled: bool,
    /// The host that is paused the longest, and until when.
    pub pause: Option<(String, Timestamp)>,
}

impl Cancels {
    /// Marks kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// Marks `execution` as cancelled. False if it was marked before. One call.
    pub async fn mark(&self, execution: &str, now: Timestamp) -> Result<bool> {
        let mark = Hint {
            key: key_of(execution),
            value: now.to_string(),
            expires: now.saturating_add(CANCEL_TTL).unwrap_or(Timestamp::MAX),
        };
        Ok(self.hints.put_if(&mark, None, now).await? == Put::Done)
    }

    /// True if `execution` was cancelled. One call.
    pub async fn is_marked(&self, execution: &str, now: Timestamp) -> Result<bool> {
        let key = key_of(execution);
        let found = self
            .hints
            .get(std::slice::from_ref(&key), now, Freshness::Exact)
            .await?;
        Ok(found.contains_key(&key))
    }

    /// True if `execution` was cancelled, and the longest pause of `hosts`. One call.
    pub async fn with_pauses(&self, execution: &str, hosts: &[&str], now: Timestamp) -> Result<Obstacles> {
        let key = key_of(execution);
        let keys: Vec<Key> = pauses::keys_of(hosts).chain([key.clone()]).collect();
        let mut found = self.hints.get(&keys, now, Freshness::Exact).await?;
        Ok(Obstacles {
            is_cancelled: found.remove(&key).is_some(),
            pause: pauses::longest(found, now),
        })
    }
}

fn key_of(execution: &str) -> Key {
    Key::new(format!("cancelled#{execution}"), NAME)
}
