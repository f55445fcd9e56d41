//! The last verification of each rule: how many images were equal, and when. It does not expire.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Result, Verb};

use super::{Key, Records};

/// How often a summary is tried to be written while others write it too.
const CAS_TRIES_MAX: usize = 8;

/// What a verification of a rule found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifySummary {
    /// The rule.
    pub rule: String,
    /// When it ended.
    pub checked: Timestamp,
    /// Images that are equal.
    pub equal: u64,
    /// Images that the destination does not have.
    pub missing: u64,
    /// Images of which the destination has something else, or not all.
    pub different: u64,
    /// Tags that the source does not have.
    pub extra: u64,
    /// What could not be found out.
    pub unknown: u64,
    /// The oldest event or order whose image is not there.
    pub oldest_unreplicated: Option<Timestamp>,
    /// Why repositories that only the destination has were not looked for; [`None`]: they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsearched: Option<String>,
    /// Images whose digest is right and which lack something that is attached to them.
    #[serde(default)]
    pub attachments_missing: u64,
}

impl VerifySummary {
    /// The summary of no image.
    pub fn new(rule: &str, checked: Timestamp) -> Self {
        Self {
            rule: rule.to_owned(),
            checked,
            equal: 0,
            missing: 0,
            different: 0,
            extra: 0,
            unknown: 0,
            oldest_unreplicated: None,
            unsearched: None,
            attachments_missing: 0,
        }
    }

    /// True if every image is equal.
    pub const fn is_equal(&self) -> bool {
        self.missing + self.different + self.extra + self.unknown == 0
    }
}

/// The last verifications.
#[derive(Clone)]
pub struct Verifications {
    records: Arc<dyn Records>,
}

impl Verifications {
    /// Kept in `records`.
    pub const fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// Keeps the summary in place of an earlier one of its rule. A later one stays. Two calls.
    pub async fn put(&self, summary: &VerifySummary) -> Result<()> {
        let key = Key::new("verified", &summary.rule);
        let value = serde_json::to_string(summary)
            .map_err(|error| Error::of(Code::LedgerUnavailable, Verb::Ledger.on("verifications_put")).because(error))?;
        for _ in 0..CAS_TRIES_MAX {
            let known = self.records.get(&key).await?;
            let is_later = |known: &VerifySummary| known.checked > summary.checked;
            if known
                .as_ref()
                .and_then(|known| read(&known.value))
                .as_ref()
                .is_some_and(is_later)
            {
                return Ok(());
            }
            let version = known.map(|known| known.version);
            if self.records.put_if(&key, version, &value).await?.is_some() {
                return Ok(());
            }
        }
        // Others verify the rule at the same moment, and one of them is kept.
        Ok(())
    }

    /// The last verification of `rule`. One call.
    pub async fn get(&self, rule: &str) -> Result<Option<VerifySummary>> {
        let record = self.records.get(&Key::new("verified", rule)).await?;
        Ok(record.and_then(|record| read(&record.value)))
    }
}

fn read(value: &str) -> Option<VerifySummary> {
    serde_json::from_str(value).ok()
}
