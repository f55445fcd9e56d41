//! Blob locations: which repositories of a registry hold a blob, so that it is mounted and not sent, and which sources have
//! shown that they have it, for which alone it may be mounted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use transship_copy::{Arrival, BlobLocation, Flights};
use transship_oci::{Digest, Repository, Result};

use super::{Freshness, Hint, Hints, Key, Put};

/// Repositories that are remembered for a blob. More would not be asked for.
const REPOSITORIES_MAX: usize = 3;
/// Sources that are remembered for a blob. One beyond is asked once more, which costs one request.
const SOURCES_MAX: usize = 8;
/// How long a location is remembered after it was last seen.
const LOCATION_TTL: Duration = Duration::from_hours(90 * 24);
/// Blobs of which this process remembers what the ledger knows: a few megabytes.
const CACHED_BLOBS_MAX: usize = 10_000;
const NAME: &str = "B";

type Cache = HashMap<(String, Digest), BlobLocation>;

/// Blob locations by registry host. Clones share what this process remembers.
///
/// Two workers that add to a blob at the same time may lose one of the two locations, which costs a transfer.
#[derive(Clone)]
pub struct Locations {
    hints: Arc<dyn Hints>,
    /// What this process last saw of each blob, so that adding does not need to read first. It may be behind.
    cache: Arc<Mutex<Cache>>,
    /// What this process sends, by registry host.
    flights: Arc<Mutex<HashMap<String, Arc<Flights>>>>,
}

impl Locations {
    /// Locations kept in `hints`.
    pub fn new(hints: Arc<dyn Hints>) -> Self {
        Self {
            hints,
            cache: Arc::default(),
            flights: Arc::default(),
        }
    }

    /// The blobs that this process sends to the registry at `host`.
    pub fn flights(&self, host: &str) -> Arc<Flights> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(flights.entry(host.to_owned()).or_default())
    }

    /// What is known of each digest at the registry at `host`, the latest first; digests that no repository is known to hold
    /// are absent. One call for each 100.
    pub async fn find(&self, host: &str, digests: &[Digest], now: Timestamp) -> Result<HashMap<Digest, BlobLocation>> {
        let mut found = self.read(host, digests, now).await?;
        for digest in digests {
            self.remember(host, digest, found.get(digest).cloned().unwrap_or_default());
        }
        found.retain(|_, known| !known.repositories.is_empty());
        Ok(found)
    }

    /// Remembers that `repository` at `host` holds `arrivals`. One call for each 25 that change, and one for each 100 of which
    /// this process knows nothing.
    pub async fn add<A>(&self, host: &str, arrivals: &[A], repository: &Repository, now: Timestamp) -> Result<()>
    where
        A: Clone + Into<Arrival> + Sync,
    {
        let arrivals: Vec<Arrival> = arrivals.iter().cloned().map(Into::into).collect();
        let digests = arrivals.iter().map(|arrival| &arrival.digest);
        let unknown: Vec<Digest> = digests
            .filter(|digest| self.cached(host, digest).is_none())
            .cloned()
            .collect();
        let read = self.read(host, &unknown, now).await?;
        let mut changed: HashMap<&Digest, BlobLocation> = HashMap::new();
        for Arrival { digest, source } in &arrivals {
            let before = self.cached(host, digest).or_else(|| read.get(digest).cloned());
            let before = before.unwrap_or_default();
            let is_known = source.as_ref().is_none_or(|source| before.sources.contains(source));
            if before.repositories.first() != Some(repository) || !is_known {
                changed.insert(digest, with(before, repository, source.as_ref()));
            }
        }
        let hints: Vec<Hint> = changed
            .iter()
            .map(|(digest, known)| hint(host, digest, known, now))
            .collect();
        self.hints.put(&hints).await?;
        for (digest, known) in changed {
            self.remember(host, digest, known);
        }
        Ok(())
    }

    /// Forgets one location.
    pub async fn remove(&self, host: &str, digest: &Digest, repository: &Repository, now: Timestamp) -> Result<()> {
        let mut before = self
            .cached(host, digest)
            .filter(|known| known.repositories.contains(repository));
        // What this process remembers may be behind. Then the ledger's own value decides, and that is tried once.
        for _ in 0..2 {
            let known = match before.take() {
                Some(known) => known,
                None => self
                    .read(host, std::slice::from_ref(digest), now)
                    .await?
                    .remove(digest)
                    .unwrap_or_default(),
            };
            if !known.repositories.contains(repository) {
                self.remember(host, digest, known);
                return Ok(());
            }
            let expected = text(&known);
            let mut rest = known;
            rest.repositories.retain(|other| other != repository);
            if self
                .hints
                .put_if(&hint(host, digest, &rest, now), Some(&expected), now)
                .await?
                == Put::Done
            {
                self.remember(host, digest, rest);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(&self, host: &str, digests: &[Digest], now: Timestamp) -> Result<HashMap<Digest, BlobLocation>> {
        let different: HashSet<&Digest> = digests.iter().collect();
        let keys: Vec<Key> = different.iter().map(|digest| key_of(host, digest)).collect();
        // A memory that may forget does not need the newest value.
        let found = self.hints.get(&keys, now, Freshness::MayLag).await?;
        let of = |digest: &Digest| parse(found.get(&key_of(host, digest))?);
        let known = different
            .into_iter()
            .filter_map(|digest| Some((digest.clone(), of(digest)?)));
        Ok(known.collect())
    }

    fn cached(&self, host: &str, digest: &Digest) -> Option<BlobLocation> {
        self.cache().get(&(host.to_owned(), digest.clone())).cloned()
    }

    fn remember(&self, host: &str, digest: &Digest, known: BlobLocation) {
        let mut cache = self.cache();
        if cache.len() >= CACHED_BLOBS_MAX {
            cache.clear();
        }
        cache.insert((host.to_owned(), digest.clone()), known);
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(host: &str, digest: &Digest) -> Key {
    Key::new(format!("B#{host}#{digest}"), NAME)
}

fn hint(host: &str, digest: &Digest, known: &BlobLocation, now: Timestamp) -> Hint {
    Hint {
        key: key_of(host, digest),
        value: text(known),
        expires: now.saturating_add(LOCATION_TTL).unwrap_or(Timestamp::MAX),
    }
}

/// The value: the repositories as a JSON array of names, or with the sources as `{"in": […], "from": […]}`.
fn text(known: &BlobLocation) -> String {
    let repositories: Value = known.repositories.iter().map(Repository::as_str).collect();
    if known.sources.is_empty() {
        return repositories.to_string();
    }
    json!({ "in": repositories, "from": known.sources }).to_string()
}

fn parse(text: &str) -> Option<BlobLocation> {
    let value: Value = serde_json::from_str(text).ok()?;
    let (repositories, sources) = match &value {
        Value::Object(fields) => (
            fields.get("in")?.as_array()?,
            fields.get("from")?.as_array()?.as_slice(),
        ),
        names => (names.as_array()?, &[][..]),
    };
    Some(BlobLocation {
        repositories: repositories
            .iter()
            .map(|name| name.as_str()?.parse().ok())
            .collect::<Option<_>>()?,
        sources: sources
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
    })
}

/// `repository` and `source` first, then the others, as many as are kept.
fn with(mut known: BlobLocation, repository: &Repository, source: Option<&String>) -> BlobLocation {
    known.repositories.retain(|other| other != repository);
    known.repositories.insert(0, repository.clone());
    known.repositories.truncate(REPOSITORIES_MAX);
    if let Some(source) = source {
        known.sources.retain(|other| other != source);
        known.sources.insert(0, source.clone());
        known.sources.truncate(SOURCES_MAX);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::NoHints;

    #[test]
    fn the_memory_of_a_process_is_bounded() {
        let locations = Locations::new(Arc::new(NoHints));
        for number in 0..25_000_u32 {
            locations.remember(
                "r.example",
                &Digest::sha256(&number.to_be_bytes()),
                BlobLocation::default(),
            );
        }
        assert!(locations.cache().len() <= CACHED_BLOBS_MAX);
        let last = Digest::sha256(&24_999_u32.to_be_bytes());
        assert!(locations.cached("r.example", &last).is_some());
    }
}
