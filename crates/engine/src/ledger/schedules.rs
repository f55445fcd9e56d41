//! When each rule that has a schedule was due for the last time.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Result, Verb};

use super::{Key, Records};

/// The last due time of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDue {
    /// The schedules that it is a time of, as the document has them; empty while the rule has none.
    pub schedules: String,
    /// The time; at first the time when the schedules were first seen.
    pub due: Timestamp,
    version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    schedules: String,
    due: Timestamp,
}

/// The last due times of all rules. They do not expire, so a time that was missed is found however late.
#[derive(Clone)]
pub struct Schedules {
    records: Arc<dyn Records>,
}

impl Schedules {
    /// Kept in `records`.
    pub const fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// The last due times of all rules, by name. One call for each 100.
    pub async fn all(&self) -> Result<BTreeMap<String, LastDue>> {
        let mut all = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.records.list(FAMILY, "", after.as_ref(), 100).await?;
            for record in page.items {
                let Written { schedules, due } =
                    serde_json::from_str(&record.value).map_err(|error| unreadable(error, "schedules_all"))?;
                let version = Some(record.version);
                all.insert(
                    record.key.name,
                    LastDue {
                        schedules,
                        due,
                        version,
                    },
                );
            }
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Notes a due time in place of `last`; false if another worker was faster. One call.
    pub async fn note(&self, rule: &str, last: Option<&LastDue>, schedules: &str, due: Timestamp) -> Result<bool> {
        let written = Written {
            schedules: schedules.to_owned(),
            due,
        };
        let value = serde_json::to_string(&written).map_err(|error| unreadable(error, "schedules_note"))?;
        let expected = last.and_then(|last| last.version);
        Ok(self.records.put_if(&key(rule), expected, &value).await?.is_some())
    }
}

const FAMILY: &str = "schedule";

fn key(rule: &str) -> Key {
    Key::new(FAMILY, rule)
}

fn unreadable(error: serde_json::Error, operation: &'static str) -> Error {
    Error::of(Code::LedgerUnavailable, Verb::Ledger.on(operation))
        .because("a record of a schedule cannot be read: it may be of a newer release")
        .with_source(error)
}
