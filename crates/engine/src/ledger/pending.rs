//! What incomplete sources wait for: scans, each with the blobs it misses.
//!
//! Values: a header for each scan; a row for each blob it misses (of one generation: of one call to wait); a row for each blob
//! that leads to the scan; a row in the list of all that wait. An arrival removes its blob from the header's generation and
//! then checks whether that is empty. The arrival that removes the last blob detects it, so arrivals need no order and no
//! transaction.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Digest, Error, Result, Verb};

use super::{Freshness, Hint, Hints, Key};

/// Scans that are looked at together when a blob arrives: in a storage tree a thousand images may wait for it.
const PARALLEL_SCANS: usize = 16;
const LIST: &str = "waiting";
const HEADER: &str = "W";

/// A scan that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingScan {
    /// The id of the scan.
    pub id: String,
    /// The JSON of the scan's job, sent again when all it waits for is there.
    pub job: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// For how many blobs, when it began to wait.
    pub blobs: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    job: String,
    since_ms: i64,
    blobs: usize,
    generation: String,
}

/// What incomplete sources wait for. A blob is known by its place (the folder of the layout behind the name of the store) and
/// its digest.
///
/// Of several blobs that arrive at the same time, at least one arrival reports every scan that then waits for nothing more.
#[derive(Clone)]
pub struct PendingBlobs {
    hints: Arc<dyn Hints>,
}

impl PendingBlobs {
    /// Scans kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// From now on `scan` waits for these blobs at `place`, and for nothing it waited for before. It is forgotten at
    /// `expires`. Two calls for each 25 blobs, and one.
    pub async fn wait_for(&self, scan: &PendingScan, place: &str, blobs: &[Digest], expires: Timestamp) -> Result<()> {
        let generation = format!("{:016x}", RandomState::new().build_hasher().finish());
        let blobs: BTreeSet<&Digest> = blobs.iter().collect();
        let hint = |key: Key, value: &str| Hint {
            key,
            value: value.to_owned(),
            expires,
        };
        let missing: Vec<Hint> = blobs
            .iter()
            .map(|blob| hint(missing_key(&scan.id, &generation, blob), "1"))
            .collect();
        let leads: Vec<Hint> = blobs
            .iter()
            .map(|blob| hint(lead_key(place, blob, &scan.id), &generation))
            .collect();
        let header = Header {
            job: scan.job.clone(),
            since_ms: scan.since.as_millisecond(),
            blobs: scan.blobs,
            generation,
        };
        let listed = [
            hint(header_key(&scan.id), &header.to_json()?),
            hint(list_key(scan.since.as_millisecond(), &scan.id), &scan.id),
        ];
        // In this order: a header's blobs are all there, and a lead without a header leads nowhere.
        self.hints.put(&missing).await?;
        self.hints.put(&listed).await?;
        self.hints.put(&leads).await
    }

    /// A blob is there. Returns the scans that waited for it and now wait for nothing. They are returned again at each call
    /// until they are settled, because the caller may die before it has sent them. One call if nothing waits for the blob,
    /// else one more for each 100 scans that do and two for each.
    pub async fn arrived(&self, place: &str, blob: &Digest, now: Timestamp) -> Result<Vec<PendingScan>> {
        let leads = self.hints.children(&lead_family(place, blob), usize::MAX, now).await?;
        if leads.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Key> = leads.iter().map(|(lead, _)| header_key(&lead.name)).collect();
        let headers = self.headers(&keys, now).await?;
        let arrivals = leads
            .into_iter()
            .map(|lead| self.arrived_for(lead, blob, &headers, now));
        let complete: Vec<Option<PendingScan>> = stream::iter(arrivals)
            .buffer_unordered(PARALLEL_SCANS)
            .try_collect()
            .await?;
        Ok(complete.into_iter().flatten().collect())
    }

    /// The scan that `lead` leads to, if it waits for nothing more.
    async fn arrived_for(
        &self,
        (lead, generation): (Key, String),
        blob: &Digest,
        headers: &HashMap<Key, Header>,
        now: Timestamp,
    ) -> Result<Option<PendingScan>> {
        let id = &lead.name;
        let Some(header) = headers.get(&header_key(id)) else {
            // Unless the scan began to wait again meanwhile.
            self.hints.remove(&lead, Some(&generation)).await?;
            return Ok(None);
        };
        self.hints
            .remove(&missing_key(id, &header.generation, blob), None)
            .await?;
        let rest = self
            .hints
            .children(&missing_family(id, &header.generation), 1, now)
            .await?;
        Ok(rest.is_empty().then(|| header.scan(id)))
    }

    /// The scan `id` as it waits now; [`None`]: it does not. One call.
    pub async fn find(&self, id: &str, now: Timestamp) -> Result<Option<PendingScan>> {
        let key = header_key(id);
        let headers = self.headers(std::slice::from_ref(&key), now).await?;
        Ok(headers.get(&key).map(|header| header.scan(id)))
    }

    /// The scan does not wait any more. Nothing happens if it never did. One call, three if it waited.
    pub async fn settle(&self, scan: &str, now: Timestamp) -> Result<()> {
        let key = header_key(scan);
        let headers = self.headers(std::slice::from_ref(&key), now).await?;
        if let Some(header) = headers.get(&key) {
            self.hints.remove(&key, None).await?;
            self.hints.remove(&list_key(header.since_ms, scan), None).await?;
        }
        Ok(())
    }

    /// Scans that wait, the one that has waited longest first; at most `limit`. Two calls for each 100.
    pub async fn waiting(&self, limit: usize, now: Timestamp) -> Result<Vec<PendingScan>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let listed = self.hints.children(LIST, limit, now).await?;
        let keys: Vec<Key> = listed.iter().map(|(_, id)| header_key(id)).collect();
        let headers = self.headers(&keys, now).await?;
        let mut waiting = Vec::new();
        for (row, id) in listed {
            match headers.get(&header_key(&id)) {
                Some(header) if list_key(header.since_ms, &id) == row => waiting.push(header.scan(&id)),
                // Its worker died in between, or it waits since another time.
                _ => self.hints.remove(&row, None).await?,
            }
        }
        Ok(waiting)
    }

    async fn headers(&self, keys: &[Key], now: Timestamp) -> Result<HashMap<Key, Header>> {
        let found = self.hints.get(keys, now, Freshness::Exact).await?;
        let read = |(key, value): (Key, String)| Some((key, serde_json::from_str(&value).ok()?));
        Ok(found.into_iter().filter_map(read).collect())
    }
}

impl Header {
    fn scan(&self, id: &str) -> PendingScan {
        PendingScan {
            id: id.to_owned(),
            job: self.job.clone(),
            since: Timestamp::from_millisecond(self.since_ms).unwrap_or(Timestamp::UNIX_EPOCH),
            blobs: self.blobs,
        }
    }

    fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            let why = "a scan has no JSON".to_owned();
            Error::of(Code::LedgerUnavailable, Verb::Ledger.on("pending_blobs"))
                .because(why)
                .with_source(error)
        })
    }
}

fn header_key(scan: &str) -> Key {
    Key::new(format!("scan#{scan}"), HEADER)
}

fn list_key(since_ms: i64, scan: &str) -> Key {
    Key::new(LIST, format!("{since_ms:015}#{scan}"))
}

fn missing_family(scan: &str, generation: &str) -> String {
    format!("missing#{scan}#{generation}")
}

fn missing_key(scan: &str, generation: &str, blob: &Digest) -> Key {
    Key::new(missing_family(scan, generation), blob.to_string())
}

fn lead_family(place: &str, blob: &Digest) -> String {
    format!("lead#{place}#{blob}")
}

fn lead_key(place: &str, blob: &Digest, scan: &str) -> Key {
    Key::new(lead_family(place, blob), scan)
}
