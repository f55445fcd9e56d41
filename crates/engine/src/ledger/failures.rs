//! Tags that failed permanently, so that a sweep does not try them again until the tag or its rule changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Digest, Error, Result, Verb};

use super::{Freshness, Hint, Hints, Key};
use crate::ImageRef;

/// How long a failure is remembered: as long as the task that failed is listed.
const FAILURE_TTL: Duration = Duration::from_hours(90 * 24);

/// A copy to a tag that failed permanently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the source tag named.
    pub digest: Digest,
    /// The settings of the rule and its registries, see [`crate::Snapshot::fingerprint`]; [`None`]: not known, so that only
    /// another digest counts as a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_version: Option<String>,
    /// When the task ended, in milliseconds.
    pub at_ms: i64,
}

/// The last permanent failure of each destination tag of a rule. A failure that is lost costs one more attempt.
#[derive(Clone)]
pub struct Failures {
    hints: Arc<dyn Hints>,
}

impl Failures {
    /// Failures kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// Remembers the failure of a copy to `destination` under `rule`, in place of an earlier one. One call.
    pub async fn add(&self, rule: &str, destination: &ImageRef, failure: &Failure) -> Result<()> {
        let value = serde_json::to_string(failure).map_err(|error| {
            let why = "a failure has no JSON".to_owned();
            Error::of(Code::LedgerUnavailable, Verb::Ledger.on("failures_add"))
                .because(why)
                .with_source(error)
        })?;
        let failed = Timestamp::from_millisecond(failure.at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let expires = failed.saturating_add(FAILURE_TTL).unwrap_or(Timestamp::MAX);
        let key = key_of(rule, destination);
        self.hints.put(&[Hint { key, value, expires }]).await
    }

    /// The failures that are remembered of these destinations. One call for each 100.
    pub async fn find(
        &self,
        rule: &str,
        destinations: &[&ImageRef],
        now: Timestamp,
    ) -> Result<HashMap<ImageRef, Failure>> {
        if destinations.is_empty() {
            return Ok(HashMap::new());
        }
        let keys: Vec<Key> = destinations
            .iter()
            .map(|destination| key_of(rule, destination))
            .collect();
        let found = self.hints.get(&keys, now, Freshness::MayLag).await?;
        let read = |(destination, key): (&&ImageRef, &Key)| {
            let failure = serde_json::from_str(found.get(key)?).ok()?;
            Some(((*destination).clone(), failure))
        };
        Ok(destinations.iter().zip(&keys).filter_map(read).collect())
    }
}

fn key_of(rule: &str, destination: &ImageRef) -> Key {
    Key::new(format!("failed#{rule}"), destination.to_string())
}
