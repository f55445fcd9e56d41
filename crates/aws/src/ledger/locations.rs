//! Blob locations: which repositories of a registry hold a blob, so that it is mounted and not sent.
//!
//! Calls: find one for each 100 blobs; add one for each 25, and one for each 100 that this process knows nothing of; remove
//! one or two. Two workers that add at the same time may lose one of the two: that costs a transfer, no more.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use transship_engine::Result;
use transship_oci::{Digest, Repository};

use super::attributes::{expires, item, key, list_of, parse, text_of, texts};
use super::expression::Change;
use super::table::{Answered, Item, Table, Written};

/// How many are kept for a blob: further ones would not be asked for.
const PER_BLOB: usize = 3;
/// Time after which an unused blob location expires.
const RETENTION: Duration = Duration::from_hours(90 * 24);
/// Blobs of which this process remembers what the table knows, a few megabytes of them.
const KNOWN_MAX: usize = 10_000;

/// What this process last saw of each blob, so that adding needs not to ask first. It may be behind.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<(String, Digest), Vec<Repository>>>);

impl Known {
    fn map(&self) -> MutexGuard<'_, HashMap<(String, Digest), Vec<Repository>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, host: &str, digest: &Digest) -> Option<Vec<Repository>> {
        self.map().get(&(host.to_owned(), digest.clone())).cloned()
    }

    fn set(&self, host: &str, digest: &Digest, repositories: Vec<Repository>) {
        let mut map = self.map();
        if map.len() >= KNOWN_MAX {
            map.clear();
        }
        map.insert((host.to_owned(), digest.clone()), repositories);
    }
}

fn key_of(host: &str, digest: &Digest) -> Item {
    key(format!("B#{host}#{digest}"), "B")
}

fn item_of(host: &str, digest: &Digest, repositories: &[Repository]) -> Item {
    item(
        key_of(host, digest),
        [
            ("repositories", texts(repositories)),
            ("expires", expires(Timestamp::now(), RETENTION)),
        ],
    )
}

fn read(item: &Item) -> Answered<(Digest, Vec<Repository>)> {
    let digest = text_of(item, "pk")?.rsplit('#').next().unwrap_or_default();
    Ok((parse(digest)?, list_of(item, "repositories")?))
}

/// What is known of each digest, the latest first.
pub(super) async fn find(
    table: &Table,
    known: &Known,
    host: &str,
    digests: &[Digest],
) -> Result<HashMap<Digest, Vec<Repository>>> {
    let mut found = lookup(table, "ledger locations_find", host, digests).await?;
    for digest in digests {
        known.set(host, digest, found.get(digest).cloned().unwrap_or_default());
    }
    found.retain(|_, repositories| !repositories.is_empty());
    Ok(found)
}

async fn lookup(
    table: &Table,
    operation: &str,
    host: &str,
    digests: &[Digest],
) -> Result<HashMap<Digest, Vec<Repository>>> {
    let different: HashSet<&Digest> = digests.iter().collect();
    let keys = different.into_iter().map(|digest| key_of(host, digest)).collect();
    // Half the price of a consistent read, for a memory that may forget.
    let items = table.batch_get(operation, keys, false).await?;
    Ok(items.iter().filter_map(|item| read(item).ok()).collect())
}

/// Makes `repository` the latest of each digest, and forgets the oldest.
pub(super) async fn add(
    table: &Table,
    known: &Known,
    host: &str,
    digests: &[Digest],
    repository: &Repository,
) -> Result<()> {
    let operation = "ledger locations_add";
    let is_unknown = |digest: &&Digest| known.get(host, digest).is_none();
    let unknown: Vec<Digest> = digests.iter().filter(is_unknown).cloned().collect();
    let looked_up = lookup(table, operation, host, &unknown).await?;
    let mut written = HashMap::new();
    for digest in digests {
        let before = known.get(host, digest).or_else(|| looked_up.get(digest).cloned());
        let before = before.unwrap_or_default();
        if before.first() != Some(repository) {
            written.insert(digest, with(before, repository));
        }
    }
    let items = written
        .iter()
        .map(|(digest, repositories)| item_of(host, digest, repositories))
        .collect();
    table.batch_put(operation, items).await?;
    for (digest, repositories) in written {
        known.set(host, digest, repositories);
    }
    Ok(())
}

/// `repository` first, then the others, so many as are kept.
fn with(mut repositories: Vec<Repository>, repository: &Repository) -> Vec<Repository> {
    repositories.retain(|other| other != repository);
    repositories.insert(0, repository.clone());
    repositories.truncate(PER_BLOB);
    repositories
}

/// Forgets one location.
pub(super) async fn remove(
    table: &Table,
    known: &Known,
    host: &str,
    digest: &Digest,
    repository: &Repository,
) -> Result<()> {
    let operation = "ledger location_remove";
    let mut before = known.get(host, digest).filter(|known| known.contains(repository));
    // What this process knows may be behind; then the table says what there is, and that is tried once.
    for _ in 0..2 {
        let repositories = if let Some(repositories) = before.take() {
            repositories
        } else {
            let item = table.get(operation, key_of(host, digest)).await?.unwrap_or_default();
            list_of(&item, "repositories").map_err(|answer| table.unreadable(answer, operation))?
        };
        if !repositories.contains(repository) {
            known.set(host, digest, repositories);
            return Ok(());
        }
        let rest: Vec<Repository> = repositories
            .iter()
            .filter(|other| *other != repository)
            .cloned()
            .collect();
        let change = Change::default()
            .set("repositories", texts(&rest))
            .only_if("#repositories = :before")
            .value("before", texts(&repositories));
        if let Written::Done(_) = table.update(operation, key_of(host, digest), change).await? {
            known.set(host, digest, rest);
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_is_bounded() {
        let known = Known::default();
        for number in 0..25_000_u32 {
            known.set("r.example", &Digest::sha256(&number.to_be_bytes()), Vec::new());
        }
        assert!(known.map().len() <= KNOWN_MAX);
        assert!(
            known
                .get("r.example", &Digest::sha256(&24_999_u32.to_be_bytes()))
                .is_some()
        );
    }
}
