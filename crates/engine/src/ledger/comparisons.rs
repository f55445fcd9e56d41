//! What the last comparison of two sites found: numbers, and the images that differ by name. It does not expire.
//!
//! The numbers are one record, and the names are chunks of a generation. The record names the generation, and is written after
//! its chunks: a reader sees a whole comparison, or the one before.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Digest, Error, Repository, Result, Tag, Verb};

use super::{Cursor, Key, Page, Records};
use crate::Finding;

/// Images that differ and are kept by name, for each comparison.
pub const DIFFERENCES_MAX: usize = 10_000;
/// Names in one record. Each has at most 1 KB, and a record 300 KB.
const CHUNK_DIFFERENCES: usize = 200;
/// Hashes in one record, of 16 characters and a comma.
const CHUNK_HASHES: usize = 10_000;
/// How often a record is tried to be written while others write it too.
const CAS_TRIES_MAX: usize = 8;

/// A rule from one site to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leg {
    /// The rule.
    pub rule: String,
    /// The registry that images are read from.
    pub from: String,
    /// The registry that they are copied to.
    pub to: String,
}

/// What is known of the two sides of a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The last comparison that saw everything; [`None`]: there was none.
    pub whole: Option<Whole>,
    /// When a comparison was tried last.
    pub tried: Timestamp,
    /// When the source could not be reached for the first time since `whole`.
    pub unreachable_since: Option<Timestamp>,
    /// Why the last one did not see everything.
    pub failure: Option<Failed>,
}

impl Comparison {
    /// What of it counts if the writer is the writer only since then.
    #[must_use]
    pub fn since(self, since: Option<Timestamp>) -> Self {
        let counts = |at: Timestamp| since.is_none_or(|since| at >= since);
        Self {
            whole: self.whole.filter(|whole| counts(whole.began)),
            unreachable_since: self.unreachable_since.filter(|_| counts(self.tried)),
            failure: self.failure.filter(|_| counts(self.tried)),
            tried: self.tried,
        }
    }
}

/// A comparison that saw everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// When it began. What was pushed later is not part of it.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Images of the source.
    pub images: u64,
    /// Images whose tag has the right digest at the destination.
    pub replicated: u64,
    /// Images whose manifests and blobs are all there as well.
    pub verified: u64,
    /// When the verification of the image that was verified the longest time ago may have been made.
    pub verified_since: Timestamp,
    /// Images that the destination does not have.
    pub missing: u64,
    /// Images of which the destination has something else, or not all.
    pub different: u64,
    /// Tags that only the destination has.
    pub extra: u64,
    /// Those of `different` and `extra` that were pushed to the destination itself.
    #[serde(default)]
    pub conflicts: u64,
    /// What could not be read.
    pub unknown: u64,
    /// The oldest event, order or first sight of an image that is missing or different.
    pub oldest_unreplicated: Option<Timestamp>,
    /// An image that is equal on both sides, for a pull.
    pub sample: Option<Sample>,
    /// The generation of the chunks, and the number of names in them.
    pub generation: String,
    /// The number of names that are kept.
    pub named: u64,
}

/// An image that is at both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The repository.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
    /// Its digest.
    pub digest: Option<Digest>,
}

/// Why a comparison did not see everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The code of the error.
    pub code: String,
    /// The error as a sentence.
    pub text: String,
}

/// An image that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What was found.
    pub state: Finding,
    /// The repository at the destination.
    pub repository: Repository,
    /// The tag at the destination.
    pub tag: Tag,
    /// What the source names.
    pub source_digest: Option<Digest>,
    /// What the destination names.
    pub destination_digest: Option<Digest>,
    /// Why, as a code.
    pub code: Option<String>,
    /// Why, as a sentence.
    pub reason: Option<String>,
    /// Since when: the event or order if it is known, otherwise the comparison that found it first.
    pub since: Timestamp,
    /// The destination has what nothing was replicated to or from: the image was pushed there, and no rule replaces it.
    #[serde(default)]
    pub is_conflict: bool,
}

/// The comparisons of all legs.
#[derive(Clone)]
pub struct Comparisons {
    pub(super) records: Arc<dyn Records>,
}

impl Comparisons {
    /// Kept in `records`.
    pub const fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }

    /// What is known of a leg. One call.
    pub async fn get(&self, leg: &Leg) -> Result<Option<Comparison>> {
        let record = self.records.get(&key(leg)).await?;
        Ok(record.and_then(|record| serde_json::from_str(&record.value).ok()))
    }

    /// Keeps a comparison that saw everything, with the names of what differs, in place of an earlier one. A later one stays.
    pub async fn put(&self, leg: &Leg, whole: Whole, differences: &[Difference]) -> Result<()> {
        let kept = &differences[..differences.len().min(DIFFERENCES_MAX)];
        for (number, chunk) in kept.chunks(CHUNK_DIFFERENCES).enumerate() {
            let name = format!("{}#{number:06}", whole.generation);
            self.write(&Key::new(names_family(leg), name), &chunk).await?;
        }
        let generation = whole.generation.clone();
        let whole = Whole {
            named: kept.len() as u64,
            ..whole
        };
        let is_kept = self
            .change(leg, |known| {
                let is_later = known
                    .and_then(|known| known.whole.as_ref())
                    .is_some_and(|known| known.began > whole.began);
                (!is_later).then(|| Comparison {
                    tried: whole.ended,
                    whole: Some(whole.clone()),
                    unreachable_since: None,
                    failure: None,
                })
            })
            .await?;
        let count = kept.len().div_ceil(CHUNK_DIFFERENCES);
        self.clear(&names_family(leg), &generation, is_kept.then_some(count))
            .await
    }

    /// Notes that a comparison did not see everything. `is_unreachable`: the source does not answer at all, so nothing can be
    /// pushed there either, as far as can be seen from here.
    pub async fn fail(&self, leg: &Leg, tried: Timestamp, failure: Failed, is_unreachable: bool) -> Result<()> {
        self.change(leg, |known| {
            let earlier = known.and_then(|known| known.unreachable_since);
            Some(Comparison {
                whole: known.and_then(|known| known.whole.clone()),
                tried,
                unreachable_since: is_unreachable.then(|| earlier.unwrap_or(tried)),
                failure: Some(failure.clone()),
            })
        })
        .await?;
        Ok(())
    }

    /// A page of the names that differ, of the comparison that `whole` is. One call.
    pub async fn differences(&self, leg: &Leg, whole: &Whole, after: Option<&Cursor>) -> Result<Page<Difference>> {
        let prefix = format!("{}#", whole.generation);
        let page = self.records.list(&names_family(leg), &prefix, after, 1).await?;
        let chunks: Vec<Vec<Difference>> = page.items.iter().filter_map(|record| read(&record.value)).collect();
        Ok(Page {
            items: chunks.into_iter().flatten().collect(),
            next: page.next,
        })
    }

    /// All names that differ.
    pub async fn all_differences(&self, leg: &Leg, whole: &Whole) -> Result<Vec<Difference>> {
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let page = self.differences(leg, whole, next.as_ref()).await?;
            all.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// Hashes of the images that were verified, and since when; nothing if none was.
    pub async fn verified(&self, leg: &Leg) -> Result<Option<Verified>> {
        let Some(record) = self.records.get(&verified_key(leg)).await? else {
            return Ok(None);
        };
        let Some(mut verified) = read::<Verified>(&record.value) else {
            return Ok(None);
        };
        let mut next = None;
        loop {
            let prefix = format!("{}#", verified.generation);
            let page = self
                .records
                .list(&hashes_family(leg), &prefix, next.as_ref(), 10)
                .await?;
            let chunks = page
                .items
                .iter()
                .filter_map(|record| read::<Vec<String>>(&record.value));
            let hashes = chunks.flatten().filter_map(|hash| u64::from_str_radix(&hash, 16).ok());
            verified.hashes.extend(hashes);
            next = page.next;
            if next.is_none() {
                return Ok(Some(verified));
            }
        }
    }

    /// Keeps which images were verified, in place of what was kept before.
    pub async fn put_verified(&self, leg: &Leg, verified: &Verified) -> Result<()> {
        let hashes: Vec<String> = verified.hashes.iter().map(|hash| format!("{hash:x}")).collect();
        for (number, chunk) in hashes.chunks(CHUNK_HASHES).enumerate() {
            let name = format!("{}#{number:06}", verified.generation);
            self.write(&Key::new(hashes_family(leg), name), &chunk).await?;
        }
        self.write(&verified_key(leg), verified).await?;
        let count = hashes.len().div_ceil(CHUNK_HASHES);
        self.clear(&hashes_family(leg), &verified.generation, Some(count)).await
    }

    /// Changes the record of a leg; false if `change` does not want to, or if others change it all the time.
    async fn change(
        &self,
        leg: &Leg,
        change: impl Fn(Option<&Comparison>) -> Option<Comparison> + Send,
    ) -> Result<bool> {
        let key = key(leg);
        for _ in 0..CAS_TRIES_MAX {
            let known = self.records.get(&key).await?;
            let comparison: Option<Comparison> = known.as_ref().and_then(|known| read(&known.value));
            let Some(changed) = change(comparison.as_ref()) else {
                return Ok(false);
            };
            let version = known.map(|known| known.version);
            if self.records.put_if(&key, version, &text(&changed)?).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn write(&self, key: &Key, value: &(impl Serialize + Sync)) -> Result<()> {
        let value = text(value)?;
        for _ in 0..CAS_TRIES_MAX {
            let version = self.records.get(key).await?.map(|known| known.version);
            if self.records.put_if(key, version, &value).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::of(Code::LedgerUnavailable, Verb::Ledger.on("comparisons_put"))
            .because("other workers change the comparison at the same time"))
    }

    /// Removes the chunks of every generation but `generation`, and those of `generation` after its first `count`, which an end
    /// that was interrupted left. [`None`]: `generation` is not kept, and is removed alone.
    async fn clear(&self, family: &str, generation: &str, count: Option<usize>) -> Result<()> {
        let is_left = |name: &str| {
            let (of, number) = name.split_once('#').unwrap_or((name, ""));
            match count {
                None => of == generation,
                Some(count) => of != generation || number.parse().is_ok_and(|number: usize| number >= count),
            }
        };
        let mut next = None;
        loop {
            let page = self.records.list(family, "", next.as_ref(), 100).await?;
            for record in &page.items {
                if is_left(&record.key.name) {
                    self.records.remove_if(&record.key, record.version).await?;
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }
}

/// The images that were verified since a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When the first of them was.
    pub since: Timestamp,
    /// The generation of the chunks.
    pub generation: String,
    /// Hashes of the images and their digests.
    #[serde(skip)]
    pub hashes: BTreeSet<u64>,
}

impl Verified {
    /// No image was, until now.
    pub const fn none(now: Timestamp) -> Self {
        Self {
            since: now,
            generation: String::new(),
            hashes: BTreeSet::new(),
        }
    }
}

fn key(leg: &Leg) -> Key {
    Key::new("compared", leg_name(leg))
}

fn verified_key(leg: &Leg) -> Key {
    Key::new("compared-verified", leg_name(leg))
}

fn names_family(leg: &Leg) -> String {
    format!("compared-names#{}", leg_name(leg))
}

fn hashes_family(leg: &Leg) -> String {
    format!("compared-hashes#{}", leg_name(leg))
}

/// Names of rules and registries have none of these characters.
pub(super) fn leg_name(leg: &Leg) -> String {
    format!("{}:{}>{}", leg.rule, leg.from, leg.to)
}

pub(super) fn read<T: DeserializeOwned>(value: &str) -> Option<T> {
    serde_json::from_str(value).ok()
}

pub(super) fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::of(Code::LedgerUnavailable, Verb::Ledger.on("comparisons_put")).because(error))
}
