//! The state of each failover group, and the writes of tags that are under way between its sites.
//!
//! What must hold: a state changes only by compare and set; a slot that was recorded before a fence is seen by everyone who
//! lists the slots after it. A lost state is built again from the records of DNS, so a slot or a state that is missing never
//! allows a write: see [`crate::failover`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Result, Verb};

use super::{Key, Records};
use crate::failover::{GroupState, ImageAtRisk};

/// The images of one record.
const IMAGES_PER_RECORD: usize = 500;

/// A value with the version that a change of it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateVersion {
    /// The state.
    pub state: GroupState,
    /// Its version.
    pub version: u64,
}

/// A write of tags that a worker began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The worker, its task, and the attempt.
    pub holder: String,
    /// When it began.
    pub began: Timestamp,
    /// The write has ended by then, even if the worker died.
    pub expires: Timestamp,
}

/// A slot that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotVersion {
    /// The slot.
    pub slot: Slot,
    /// Its version.
    pub version: u64,
}

/// The states of all groups.
#[derive(Clone)]
pub struct Failovers {
    records: Arc<dyn Records>,
}

impl Failovers {
    /// Kept in `records`.
    pub const fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// The state of a group; [`None`]: the ledger has none. One call.
    pub async fn get(&self, group: &str) -> Result<Option<StateVersion>> {
        let found = self.records.get(&Key::new(STATES, group)).await?;
        found
            .map(|record| {
                let state = read(&record.value, "failovers_get")?;
                let version = record.version;
                Ok(StateVersion { state, version })
            })
            .transpose()
    }

    /// The states of all groups in which something was switched, by name. One call for each 100.
    pub async fn all(&self) -> Result<BTreeMap<String, GroupState>> {
        let mut all = BTreeMap::new();
        for record in self.list(STATES).await? {
            let state: GroupState = read(&record.value, "failovers_all")?;
            if state.epoch > 0 {
                all.insert(record.key.name, state);
            }
        }
        Ok(all)
    }

    /// Writes the state in place of the version `expected` ([`None`]: of none). [`None`]: another process was faster. One call.
    pub async fn put(&self, group: &str, expected: Option<u64>, state: &GroupState) -> Result<Option<u64>> {
        let value = write(state, "failovers_put")?;
        self.records.put_if(&Key::new(STATES, group), expected, &value).await
    }

    /// Records a slot, and replaces an earlier one of its holder. Two calls, three if there was an earlier one.
    pub async fn begin_slot(&self, group: &str, slot: &Slot) -> Result<SlotVersion> {
        let key = Key::new(slots(group), &slot.holder);
        let value = write(slot, "failovers_begin_slot")?;
        let mut expected = None;
        for _ in 0..SLOT_TRIES_MAX {
            if let Some(version) = self.records.put_if(&key, expected, &value).await? {
                let slot = slot.clone();
                return Ok(SlotVersion { slot, version });
            }
            expected = self.records.get(&key).await?.map(|record| record.version);
        }
        let error = Error::of(Code::LedgerUnavailable, Verb::Ledger.on("failovers_begin_slot"));
        Err(error.because("another process changes the slot of this worker"))
    }

    /// Removes a slot. One call.
    pub async fn end_slot(&self, group: &str, slot: &SlotVersion) -> Result<()> {
        let key = Key::new(slots(group), &slot.slot.holder);
        self.records.remove_if(&key, slot.version).await.map(drop)
    }

    /// Removes the slots of a group whose workers have all ended.
    pub async fn end_slots(&self, group: &str) -> Result<()> {
        for slot in self.slots(group).await? {
            self.end_slot(group, &slot).await?;
        }
        Ok(())
    }

    /// All slots, also those that have expired. One call for each 100.
    pub async fn slots(&self, group: &str) -> Result<Vec<SlotVersion>> {
        let records = self.list(&slots(group)).await?;
        let read = records.into_iter().map(|record| {
            let slot = read(&record.value, "failovers_slots")?;
            let version = record.version;
            Ok(SlotVersion { slot, version })
        });
        read.collect()
    }

    /// Keeps the images that an operator accepted to lose by the operation with `epoch`. Written before the operation begins; a
    /// repetition replaces them.
    pub async fn accept(&self, group: &str, epoch: u64, images: &[ImageAtRisk]) -> Result<()> {
        let family = accepted(group, epoch);
        let known = self.list(&family).await?;
        let chunks: Vec<&[ImageAtRisk]> = images.chunks(IMAGES_PER_RECORD).collect();
        for (number, images) in chunks.iter().enumerate() {
            let key = Key::new(family.clone(), format!("{number:06}"));
            let value = write(images, "failovers_accept")?;
            let version = known
                .iter()
                .find(|record| record.key == key)
                .map(|record| record.version);
            if self.records.put_if(&key, version, &value).await?.is_none() {
                let error = Error::of(Code::FailoverBusy, Verb::Ledger.on("failovers_accept"));
                return Err(error.because("another operator accepts the loss of images at this moment"));
            }
        }
        for record in known.iter().skip(chunks.len()) {
            self.records.remove_if(&record.key, record.version).await?;
        }
        Ok(())
    }

    /// The images that an operator accepted to lose by the operation with `epoch`.
    pub async fn accepted(&self, group: &str, epoch: u64) -> Result<Vec<ImageAtRisk>> {
        let mut all = Vec::new();
        for record in self.list(&accepted(group, epoch)).await? {
            all.extend(read::<Vec<ImageAtRisk>>(&record.value, "failovers_accepted")?);
        }
        Ok(all)
    }

    async fn list(&self, family: &str) -> Result<Vec<super::Record>> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.records.list(family, "", after.as_ref(), 100).await?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }
}

const STATES: &str = "failover";
/// How often the slot of a worker is tried to be replaced. Nobody else changes it.
const SLOT_TRIES_MAX: usize = 4;

fn slots(group: &str) -> String {
    format!("failover-slot#{group}")
}

fn accepted(group: &str, epoch: u64) -> String {
    format!("failover-accepted#{group}#{epoch}")
}

fn write<T: Serialize>(value: &T, operation: &'static str) -> Result<String> {
    serde_json::to_string(value).map_err(|error| unreadable(error, operation))
}

fn read<T: DeserializeOwned>(value: &str, operation: &'static str) -> Result<T> {
    serde_json::from_str(value).map_err(|error| unreadable(error, operation))
}

fn unreadable(error: serde_json::Error, operation: &'static str) -> Error {
    Error::of(Code::LedgerUnavailable, Verb::Ledger.on(operation))
        .because("a record of a failover group cannot be read: it may be of a newer release")
        .with_source(error)
}
