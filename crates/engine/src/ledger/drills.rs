//! The reports of drills, by group and time, and the last check of each group. They do not expire.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Result, Verb};

use super::{Cursor, Key, Page, Record, Records};
use crate::failover::DrillReport;

/// Reports that are kept of each group.
pub const DRILLS_KEPT: usize = 100;
/// How often a record is tried to be written while others write it too.
const CAS_TRIES_MAX: usize = 8;

/// What a check found last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    /// When it was made.
    pub checked: Timestamp,
    /// Whether the group was ready.
    pub ready: bool,
    /// The codes of what spoke against it.
    pub codes: Vec<String>,
}

/// The last drills of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastDrills {
    /// When the last one began, also one that failed.
    pub last: Option<Timestamp>,
    /// When the last one began that succeeded.
    pub last_good: Option<Timestamp>,
}

/// Reports of drills, and the last checks.
#[derive(Clone)]
pub struct Drills {
    records: Arc<dyn Records>,
}

impl Drills {
    /// Kept in `records`.
    pub const fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// Keeps a report. The oldest are removed if there are more than [`DRILLS_KEPT`].
    pub async fn add(&self, report: &DrillReport) -> Result<()> {
        let (group, started) = (report.group.as_str(), report.started);
        self.replace(&Key::new(family(group), name(started)), |_: Option<DrillReport>| {
            report.clone()
        })
        .await?;
        self.replace(&last_key(group), |known: Option<LastDrills>| {
            let known = known.unwrap_or_default();
            LastDrills {
                last: known.last.max(Some(started)),
                last_good: if report.ok {
                    known.last_good.max(Some(started))
                } else {
                    known.last_good
                },
            }
        })
        .await?;
        let mut all: Vec<Record> = Vec::new();
        let mut next = None;
        loop {
            let page = self.records.list(&family(group), "", next.as_ref(), 100).await?;
            all.extend(page.items);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let surplus = all.len().saturating_sub(DRILLS_KEPT);
        for record in all.into_iter().take(surplus) {
            self.records.remove_if(&record.key, record.version).await?;
        }
        Ok(())
    }

    /// When the last drills of `group` were. One call.
    pub async fn last(&self, group: &str) -> Result<LastDrills> {
        Ok(self.get(&last_key(group)).await?.unwrap_or_default())
    }

    /// The report of the drill of `group` that began at `started`. One call.
    pub async fn report(&self, group: &str, started: Timestamp) -> Result<Option<DrillReport>> {
        self.get(&Key::new(family(group), name(started))).await
    }

    /// A page of reports, the oldest first. One call.
    pub async fn reports(&self, group: &str, after: Option<&Cursor>) -> Result<Page<DrillReport>> {
        let page = self.records.list(&family(group), "", after, 20).await?;
        let reports = page
            .items
            .iter()
            .filter_map(|record| serde_json::from_str(&record.value).ok());
        Ok(Page {
            items: reports.collect(),
            next: page.next,
        })
    }

    /// Keeps what a check found, in place of an earlier one.
    pub async fn note_check(&self, group: &str, check: &LastCheck) -> Result<()> {
        self.replace(&check_key(group), |known: Option<LastCheck>| match known {
            Some(known) if known.checked > check.checked => known,
            _ => check.clone(),
        })
        .await
    }

    /// What a check found last. One call.
    pub async fn last_check(&self, group: &str) -> Result<Option<LastCheck>> {
        self.get(&check_key(group)).await
    }

    async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        let record = self.records.get(key).await?;
        Ok(record.and_then(|record| serde_json::from_str(&record.value).ok()))
    }

    async fn replace<T: Serialize + DeserializeOwned>(&self, key: &Key, change: impl Fn(Option<T>) -> T) -> Result<()> {
        for _ in 0..CAS_TRIES_MAX {
            let known = self.records.get(key).await?;
            let value = known.as_ref().and_then(|known| serde_json::from_str(&known.value).ok());
            let text = serde_json::to_string(&change(value)).map_err(|error| unwritten(&error.to_string()))?;
            let version = known.map(|known| known.version);
            if self.records.put_if(key, version, &text).await?.is_some() {
                return Ok(());
            }
        }
        Err(unwritten("other processes write it at the same time"))
    }
}

fn unwritten(why: &str) -> Error {
    Error::of(Code::LedgerUnavailable, Verb::Ledger.on("drills_put")).because(why)
}

fn family(group: &str) -> String {
    format!("drill#{group}")
}

/// In the order of time.
fn name(started: Timestamp) -> String {
    format!("{:020}", started.as_millisecond())
}

fn last_key(group: &str) -> Key {
    Key::new("drill-last", group)
}

fn check_key(group: &str) -> Key {
    Key::new("failover-check", group)
}
