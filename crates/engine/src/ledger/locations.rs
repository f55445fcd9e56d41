//! Blob locations: which repositories of a registry hold a blob, so that it is mounted and not sent.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use transship_oci::{Digest, Repository, Result};

use super::{Freshness, Hint, Hints, Key, Put};

/// Repositories that are remembered for a blob. More would not be asked for.
const REPOSITORIES_MAX: usize = 3;
/// How long a location is remembered after it was last seen.
const LOCATION_TTL: Duration = Duration::from_hours(90 * 24);
/// Blobs of which this process remembers what the ledger knows: a few megabytes.
const CACHED_BLOBS_MAX: usize = 10_000;
const NAME: &str = "B";

type Cache = HashMap<(String, Digest), Vec<Repository>>;

/// Blob locations by registry host. Clones share what this process remembers.
///
/// Two workers that add to a blob at the same time may lose one of the two locations, which costs a transfer.
#[derive(Clone)]
pub struct Locations {
    hints: Arc<dyn Hints>,
    /// What this process last saw of each blob, so that adding does not need to read first. It may be behind.
    cache: Arc<Mutex<Cache>>,
}

impl Locations {
    /// Locations kept in `hints`.
    pub fn new(hints: Arc<dyn Hints>) -> Self {
        Self {
            hints,
            cache: Arc::default(),
        }
    }

    /// Repositories of the registry at `host` known to hold each digest, the latest first; digests of which nothing is known
    /// are absent. One call for each 100.
    pub async fn find(
        &self,
        host: &str,
        digests: &[Digest],
        now: Timestamp,
    ) -> Result<HashMap<Digest, Vec<Repository>>> {
        let mut found = self.read(host, digests, now).await?;
        for digest in digests {
            self.remember(host, digest, found.get(digest).cloned().unwrap_or_default());
        }
        found.retain(|_, repositories| !repositories.is_empty());
        Ok(found)
    }

    /// Remembers that `repository` at `host` holds `digests`. One call for each 25 that change, and one for each 100 of which
    /// this process knows nothing.
    pub async fn add(&self, host: &str, digests: &[Digest], repository: &Repository, now: Timestamp) -> Result<()> {
        let is_unknown = |digest: &&Digest| self.cached(host, digest).is_none();
        let unknown: Vec<Digest> = digests.iter().filter(is_unknown).cloned().collect();
        let read = self.read(host, &unknown, now).await?;
        let mut changed: HashMap<&Digest, Vec<Repository>> = HashMap::new();
        for digest in digests {
            let before = self.cached(host, digest).or_else(|| read.get(digest).cloned());
            let before = before.unwrap_or_default();
            if before.first() != Some(repository) {
                changed.insert(digest, with(before, repository));
            }
        }
        let hints: Vec<Hint> = changed
            .iter()
            .map(|(digest, repositories)| hint(host, digest, repositories, now))
            .collect();
        self.hints.put(&hints).await?;
        for (digest, repositories) in changed {
            self.remember(host, digest, repositories);
        }
        Ok(())
    }

    /// Forgets one location.
    pub async fn remove(&self, host: &str, digest: &Digest, repository: &Repository, now: Timestamp) -> Result<()> {
        let mut before = self.cached(host, digest).filter(|known| known.contains(repository));
        // What this process remembers may be behind. Then the ledger's own value decides, and that is tried once.
        for _ in 0..2 {
            let repositories = match before.take() {
                Some(repositories) => repositories,
                None => self
                    .read(host, std::slice::from_ref(digest), now)
                    .await?
                    .remove(digest)
                    .unwrap_or_default(),
            };
            if !repositories.contains(repository) {
                self.remember(host, digest, repositories);
                return Ok(());
            }
            let rest: Vec<Repository> = repositories
                .iter()
                .filter(|other| *other != repository)
                .cloned()
                .collect();
            let expected = text(&repositories);
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

    async fn read(&self, host: &str, digests: &[Digest], now: Timestamp) -> Result<HashMap<Digest, Vec<Repository>>> {
        let different: HashSet<&Digest> = digests.iter().collect();
        let keys: Vec<Key> = different.iter().map(|digest| key_of(host, digest)).collect();
        // A memory that may forget does not need the newest value.
        let found = self.hints.get(&keys, now, Freshness::MayLag).await?;
        let of = |digest: &Digest| -> Option<Vec<Repository>> {
            let repositories: Vec<String> = serde_json::from_str(found.get(&key_of(host, digest))?).ok()?;
            repositories.iter().map(|name| name.parse().ok()).collect()
        };
        let known = different
            .into_iter()
            .filter_map(|digest| Some((digest.clone(), of(digest)?)));
        Ok(known.collect())
    }

    fn cached(&self, host: &str, digest: &Digest) -> Option<Vec<Repository>> {
        self.cache().get(&(host.to_owned(), digest.clone())).cloned()
    }

    fn remember(&self, host: &str, digest: &Digest, repositories: Vec<Repository>) {
        let mut cache = self.cache();
        if cache.len() >= CACHED_BLOBS_MAX {
            cache.clear();
        }
        cache.insert((host.to_owned(), digest.clone()), repositories);
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(host: &str, digest: &Digest) -> Key {
    Key::new(format!("B#{host}#{digest}"), NAME)
}

fn hint(host: &str, digest: &Digest, repositories: &[Repository], now: Timestamp) -> Hint {
    Hint {
        key: key_of(host, digest),
        value: text(repositories),
        expires: now.saturating_add(LOCATION_TTL).unwrap_or(Timestamp::MAX),
    }
}

/// The value: a JSON array of names.
fn text(repositories: &[Repository]) -> String {
    let names: serde_json::Value = repositories.iter().map(Repository::as_str).collect();
    names.to_string()
}

/// `repository` first, then the others, as many as are kept.
fn with(mut repositories: Vec<Repository>, repository: &Repository) -> Vec<Repository> {
    repositories.retain(|other| other != repository);
    repositories.insert(0, repository.clone());
    repositories.truncate(REPOSITORIES_MAX);
    repositories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::NoHints;

    #[test]
    fn the_memory_of_a_process_is_bounded() {
        let locations = Locations::new(Arc::new(NoHints));
        for number in 0..25_000_u32 {
            locations.remember("r.example", &Digest::sha256(&number.to_be_bytes()), Vec::new());
        }
        assert!(locations.cache().len() <= CACHED_BLOBS_MAX);
        let last = Digest::sha256(&24_999_u32.to_be_bytes());
        assert!(locations.cached("r.example", &last).is_some());
    }
}
