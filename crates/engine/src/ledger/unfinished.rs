//! A comparison that is not at its end: how far it got, and what it found so far. The last whole one stays beside it.
//!
//! How far it got is one record, and what it found are chunks. The record names its chunks, and is written after them by compare and
//! set: a reader sees everything that belongs to a place, and of two workers that go on from the same place one is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::Result;

use super::comparisons::{Comparisons, leg_name, read, text};
use super::{DIFFERENCES_MAX, Difference, Failed, Key, Leg, Sample, first_version};
use crate::Finding;
use crate::inspect::{SeenNames, VerifyPlace};

/// A comparison that got no further for this long is begun again: both sites have changed since.
pub const ABANDONED_AFTER: Duration = Duration::from_mins(30);
/// The size from which on a chunk is not added to. A record holds 300 KB.
const CHUNK_BYTES_MAX: usize = 150_000;
/// The most that a difference, a hash and the name of a repository have as JSON.
const DIFFERENCE_BYTES: usize = 1200;
const HASH_BYTES: usize = 21;
const REPOSITORY_BYTES: usize = 260;

/// A comparison that is not at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// What is compared.
    pub leg: Leg,
    /// What its result depends on: the settings of the rule, and since when its source is the writer. If it changes, the
    /// comparison begins again.
    pub basis: String,
    /// When it began. What was pushed later is not part of it.
    pub began: Timestamp,
    /// When it got further the last time.
    pub advanced: Timestamp,
    /// A registry asked for a pause until then, in which it gets no further.
    #[serde(default)]
    pub pause_end: Option<Timestamp>,
    /// How far it got.
    pub place: VerifyPlace,
    /// Slices in which it got no further, one after the other.
    pub idle: u32,
    /// A site did not answer. The next comparison that is due goes on.
    pub is_paused: bool,
    /// Images of the source so far.
    pub images: u64,
    /// Those whose tag has the right digest at the destination.
    pub replicated: u64,
    /// An image that is equal on both sides.
    pub sample: Option<Sample>,
    /// The first thing that could not be read.
    pub failure: Option<Failed>,
    /// When the verification of the image that was verified the longest time ago may have been made.
    pub verified_since: Timestamp,
    /// The differences that are not kept by name.
    pub unnamed: Tally,
    /// The number of those that are.
    pub named: usize,
    /// The names of the chunks.
    chunks: Vec<String>,
    /// The last chunk is added to.
    is_open: bool,
    /// The version of the record; [`None`]: it is not written yet.
    #[serde(skip)]
    version: Option<u64>,
}

/// What some slices of a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    /// What differs, and when that was seen.
    pub differences: Vec<(Timestamp, Difference)>,
    /// Hashes of the images that were verified, with their digests.
    pub verified: BTreeSet<u64>,
    /// The names that the search for extra tags needs.
    pub seen: SeenNames,
}

/// Numbers of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Images that the destination does not have.
    pub missing: u64,
    /// Images of which the destination has something else, or not all.
    pub different: u64,
    /// Tags that only the destination has.
    pub extra: u64,
    /// Those of `different` and `extra` that were pushed to the destination itself.
    pub conflicts: u64,
    /// Since when the oldest image is missing or different.
    pub oldest: Option<Timestamp>,
}

impl Tally {
    /// Counts a difference.
    pub fn add(&mut self, one: &Difference) {
        match one.state {
            Finding::Missing => self.missing += 1,
            Finding::Different => self.different += 1,
            Finding::Extra => self.extra += 1,
            Finding::Equal | Finding::Unknown => {}
        }
        self.conflicts += u64::from(one.is_conflict);
        if one.state != Finding::Extra {
            self.oldest = Some(self.oldest.map_or(one.since, |oldest| oldest.min(one.since)));
        }
    }
}

impl Unfinished {
    /// The beginning of a comparison, in place of `earlier`.
    pub fn new(leg: &Leg, basis: String, began: Timestamp, verified_since: Timestamp, earlier: Option<&Self>) -> Self {
        Self {
            leg: leg.clone(),
            basis,
            began,
            advanced: began,
            pause_end: None,
            place: VerifyPlace::new(&leg.rule, began),
            idle: 0,
            is_paused: false,
            images: 0,
            replicated: 0,
            sample: None,
            failure: None,
            verified_since,
            unnamed: Tally::default(),
            named: 0,
            chunks: Vec::new(),
            is_open: false,
            version: earlier.and_then(|earlier| earlier.version),
        }
    }

    /// How long it could have got further and did not.
    pub fn idle_for(&self, now: Timestamp) -> Duration {
        let since = self.pause_end.map_or(self.advanced, |end| end.max(self.advanced));
        Duration::try_from(now.duration_since(since)).unwrap_or_default()
    }

    /// True if it got further recently enough to be gone on with.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.idle_for(now) < ABANDONED_AFTER
    }

    /// Its chunks are those of this generation, in which those of other comparisons of the leg have no part.
    pub fn generation(&self) -> String {
        self.began.as_nanosecond().to_string()
    }

    /// Counts what differs, and returns whether it is kept by name.
    pub fn count(&mut self, difference: &Difference) -> bool {
        let is_kept = self.named < DIFFERENCES_MAX;
        if is_kept {
            self.named += 1;
        } else {
            self.unnamed.add(difference);
        }
        is_kept
    }
}

impl Found {
    /// Adds what `other` has.
    pub fn extend(&mut self, other: Self) {
        self.differences.extend(other.differences);
        self.verified.extend(other.verified);
        self.seen.extend(other.seen);
    }

    /// The same in parts that fit into a record each, and whether there is room in the last one.
    fn into_chunks(self) -> (Vec<Self>, bool) {
        let (mut chunks, mut room) = (Vec::new(), 0);
        let mut to = |bytes: usize, put: &mut dyn FnMut(&mut Self)| {
            if room < bytes {
                chunks.push(Self::default());
                room = CHUNK_BYTES_MAX;
            }
            room -= bytes;
            if let Some(last) = chunks.last_mut() {
                put(last);
            }
        };
        for one in self.differences {
            to(DIFFERENCE_BYTES, &mut |chunk| chunk.differences.push(one.clone()));
        }
        for hash in self.verified {
            to(HASH_BYTES, &mut |chunk| {
                chunk.verified.insert(hash);
            });
        }
        let SeenNames {
            named,
            repositories,
            unread,
        } = self.seen;
        for hash in named {
            to(HASH_BYTES, &mut |chunk| {
                chunk.seen.named.insert(hash);
            });
        }
        for one in repositories {
            to(REPOSITORY_BYTES, &mut |chunk| {
                chunk.seen.repositories.insert(one.clone());
            });
        }
        for one in unread {
            to(REPOSITORY_BYTES, &mut |chunk| {
                chunk.seen.unread.insert(one.clone());
            });
        }
        (chunks, room > CHUNK_BYTES_MAX / 2)
    }
}

impl Comparisons {
    /// The comparison of a leg that is not at its end. One that this release cannot read is removed. One call.
    pub async fn unfinished(&self, leg: &Leg) -> Result<Option<Unfinished>> {
        let Some(record) = self.records.get(&state_key(leg)).await? else {
            return Ok(None);
        };
        if let Some(unfinished) = read::<Unfinished>(&record.value) {
            return Ok(Some(Unfinished {
                version: Some(record.version),
                ..unfinished
            }));
        }
        if self.records.remove_if(&record.key, record.version).await? {
            self.clear_chunks(leg, "", |_| false).await?;
        }
        Ok(None)
    }

    /// All of them. One call for each 10.
    pub async fn all_unfinished(&self) -> Result<Vec<Unfinished>> {
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = self.records.list(STATES, "", next.as_ref(), 10).await?;
            for record in &page.items {
                all.extend(read::<Unfinished>(&record.value).map(|unfinished| Unfinished {
                    version: Some(record.version),
                    ..unfinished
                }));
            }
            next = page.next;
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// What was found until the place of `unfinished`; [`None`] if a part of it is lost.
    pub async fn found(&self, unfinished: &Unfinished) -> Result<Option<Found>> {
        let mut all = Found::default();
        for chunk in &unfinished.chunks {
            let Some(record) = self.records.get(&chunk_key(&unfinished.leg, chunk)).await? else {
                return Ok(None);
            };
            let Some(found) = read::<Found>(&record.value) else {
                return Ok(None);
            };
            all.extend(found);
        }
        Ok(Some(all))
    }

    /// Keeps how far a comparison got, and what was found on the way. False, and nothing is kept, if another worker got further or
    /// began another one meanwhile, or if a part of it is lost.
    pub async fn keep(&self, unfinished: &mut Unfinished, found: Found) -> Result<bool> {
        let leg = unfinished.leg.clone();
        let (mut chunks, mut all, mut open) = (unfinished.chunks.clone(), found, None);
        if unfinished.is_open
            && let Some(last) = chunks.pop()
        {
            let key = chunk_key(&leg, &last);
            let record = self.records.get(&key).await?;
            let earlier = record.as_ref().and_then(|record| read::<Found>(&record.value));
            let Some(mut earlier) = earlier else {
                self.drop_unfinished(unfinished).await?;
                return Ok(false);
            };
            earlier.extend(all);
            (all, open) = (earlier, record);
        }
        let (parts, is_open) = all.into_chunks();
        let mut written = Vec::new();
        for part in parts {
            // A worker that dies before it writes the record leaves chunks that nothing names. The next comparison removes them.
            let name = format!("{}#{:013x}", unfinished.generation(), first_version());
            let key = chunk_key(&leg, &name);
            self.records.put_if(&key, None, &text(&part)?).await?;
            written.push(key);
            chunks.push(name);
        }
        let kept = Unfinished {
            chunks,
            is_open,
            ..unfinished.clone()
        };
        let version = self
            .records
            .put_if(&state_key(&leg), unfinished.version, &text(&kept)?)
            .await?;
        let version = match version {
            // With the name of a chunk that only this call wrote, the record is the one that it wrote.
            None if !written.is_empty() => self.version_of(&kept).await?,
            version => version,
        };
        let Some(version) = version else {
            for key in written {
                self.remove(&key).await?;
            }
            return Ok(false);
        };
        let is_first = unfinished.chunks.is_empty() && !kept.chunks.is_empty();
        *unfinished = Unfinished {
            version: Some(version),
            ..kept
        };
        if is_first {
            // Workers that were killed may have left chunks of earlier comparisons, which no record names any more.
            let own = format!("{}#", unfinished.generation());
            self.clear_chunks(&leg, "", |name| name.starts_with(&own)).await?;
        }
        if let Some(open) = open {
            self.records.remove_if(&open.key, open.version).await?;
        }
        Ok(true)
    }

    /// The version of the record if it is `kept`: a store that repeats a write whose answer was lost refuses it, because it made it
    /// already.
    async fn version_of(&self, kept: &Unfinished) -> Result<Option<u64>> {
        let stored = self.unfinished(&kept.leg).await?;
        Ok(stored.and_then(|stored| {
            let is_own = (&stored.chunks, &stored.place) == (&kept.chunks, &kept.place);
            stored.version.filter(|_| is_own)
        }))
    }

    /// Removes a comparison that is not at its end, with what it found, unless another worker got further meanwhile.
    pub async fn drop_unfinished(&self, unfinished: &Unfinished) -> Result<()> {
        let Some(version) = unfinished.version else {
            return Ok(());
        };
        if self.records.remove_if(&state_key(&unfinished.leg), version).await? {
            self.forget(unfinished).await?;
        }
        Ok(())
    }

    /// Removes what `unfinished` found. Its record must not name it any more.
    pub async fn forget(&self, unfinished: &Unfinished) -> Result<()> {
        let prefix = format!("{}#", unfinished.generation());
        self.clear_chunks(&unfinished.leg, &prefix, |_| false).await
    }

    /// Removes the chunks whose names begin with `prefix` and are not `kept`.
    async fn clear_chunks(&self, leg: &Leg, prefix: &str, kept: impl Fn(&str) -> bool + Send) -> Result<()> {
        let (family, mut next) = (chunks_family(leg), None);
        loop {
            let page = self.records.list(&family, prefix, next.as_ref(), 10).await?;
            let left = page.items.iter().filter(|record| !kept(&record.key.name));
            for record in left.collect::<Vec<_>>() {
                self.records.remove_if(&record.key, record.version).await?;
            }
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        if let Some(record) = self.records.get(key).await? {
            self.records.remove_if(key, record.version).await?;
        }
        Ok(())
    }
}

/// The family of the records of unfinished comparisons.
const STATES: &str = "comparing";

fn state_key(leg: &Leg) -> Key {
    Key::new(STATES, leg_name(leg))
}

fn chunks_family(leg: &Leg) -> String {
    format!("comparing-found#{}", leg_name(leg))
}

fn chunk_key(leg: &Leg, name: &str) -> Key {
    Key::new(chunks_family(leg), name)
}
