//! Blob locations that `copy` stores between runs, in the user's cache folder or `--data`.
//!
//! A copy that moves nothing must not open the database, and a copy must not fail because this storage fails. The first
//! failure is logged, and the storage is not used after that.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::OnceCell;
use transship_copy::{Arrival, BlobLocation, BlobLocations, Flights};
use transship_engine::ledger::Locations;
use transship_local::{Database, SqliteLedger};
use transship_oci::{Digest, RegistryHost, Repository};

use crate::failure::sentence;

/// Blob locations of one destination registry.
pub(crate) struct RememberedLocations {
    /// The folder; [`None`] if the user has no cache folder.
    data: Option<PathBuf>,
    host: RegistryHost,
    locations: OnceCell<Option<Locations>>,
    is_given_up: AtomicBool,
    flights: Flights,
}

impl RememberedLocations {
    /// Blob locations of the registry at `host`, stored in the folder `data`, by default the user's cache folder.
    pub(crate) fn new(data: Option<PathBuf>, host: RegistryHost) -> Self {
        Self {
            data: data.or_else(|| dirs::cache_dir().map(|cache| cache.join("transship"))),
            host,
            locations: OnceCell::new(),
            is_given_up: AtomicBool::new(false),
            flights: Flights::default(),
        }
    }

    /// The locations, opened when they are first needed; [`None`] if they cannot be used.
    async fn locations(&self) -> Option<&Locations> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return None;
        }
        let data = self.data.as_deref()?;
        self.locations.get_or_init(|| self.open(data)).await.as_ref()
    }

    async fn open(&self, data: &Path) -> Option<Locations> {
        let data = data.to_owned();
        match tokio::task::spawn_blocking(move || Database::open(&data)).await {
            Ok(Ok(database)) => Some(Locations::new(Arc::new(SqliteLedger::new(database)))),
            Ok(Err(error)) => {
                self.give_up(error.code(), &error);
                None
            }
            Err(error) => {
                self.give_up("DATA_UNAVAILABLE", &error);
                None
            }
        }
    }

    fn give_up(&self, code: &str, error: &dyn std::error::Error) {
        if !self.is_given_up.swap(true, Ordering::Relaxed) {
            let why = sentence(error);
            tracing::warn!("{code}: blob locations cannot be stored, which only costs requests: {why}");
        }
    }
}

#[async_trait]
impl BlobLocations for RememberedLocations {
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, BlobLocation> {
        if digests.is_empty() {
            return HashMap::new();
        }
        let Some(locations) = self.locations().await else {
            return HashMap::new();
        };
        let found = locations.find(self.host.as_str(), digests, Timestamp::now()).await;
        found
            .inspect_err(|error| self.give_up(error.code(), error))
            .unwrap_or_default()
    }

    async fn add(&self, arrivals: &[Arrival], repository: &Repository) {
        let (host, now) = (self.host.as_str(), Timestamp::now());
        if let Some(locations) = self.locations().await
            && let Err(error) = locations.add(host, arrivals, repository, now).await
        {
            self.give_up(error.code(), &error);
        }
    }

    async fn remove(&self, digest: &Digest, repository: &Repository) {
        let (host, now) = (self.host.as_str(), Timestamp::now());
        if let Some(locations) = self.locations().await
            && let Err(error) = locations.remove(host, digest, repository, now).await
        {
            self.give_up(error.code(), &error);
        }
    }

    fn flights(&self) -> Option<&Flights> {
        Some(&self.flights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(data: &Path) -> RememberedLocations {
        RememberedLocations::new(Some(data.to_owned()), "r.example".parse().unwrap())
    }

    #[tokio::test]
    async fn what_one_run_learned_the_next_one_knows() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("cache");
        let (digest, repository) = (Digest::sha256(b"x"), "core/app".parse::<Repository>().unwrap());
        let arrival = Arrival {
            digest: digest.clone(),
            source: Some("r.example/core/app".into()),
        };
        memory(&data).add(std::slice::from_ref(&arrival), &repository).await;
        let again = memory(&data);
        let digests = [digest.clone()];
        let found = again.find(&digests).await.remove(&digest).unwrap();
        assert_eq!(found.repositories, std::slice::from_ref(&repository));
        assert_eq!(found.sources, ["r.example/core/app"]);
        again.remove(&digest, &repository).await;
        assert!(memory(&data).find(&digests).await.is_empty());
    }

    #[tokio::test]
    async fn nothing_is_opened_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("cache");
        assert!(memory(&data).find(&[]).await.is_empty());
        assert!(!data.exists());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_used_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let memory = memory(&file);
        let digests = [Digest::sha256(b"x")];
        assert!(memory.find(&digests).await.is_empty());
        memory.add(&digests.map(Arrival::from), &"a".parse().unwrap()).await;
        assert!(memory.is_given_up.load(Ordering::Relaxed));
    }
}
