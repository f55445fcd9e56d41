//! The port of replicas: the rows are those of [`replicas`].

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::Replica;
use transship_engine::ledger::{Claim, ImageRef, Replicas};
use transship_oci::Result;
use transship_oci::{Digest, Repository};

use super::{SqliteLedger, replicas};

#[async_trait]
impl Replicas for SqliteLedger {
    async fn claim(&self, replica: &Replica, holder: &str, now: Timestamp, ttl: Duration) -> Result<Claim> {
        let (replica, holder) = (replica.clone(), holder.to_owned());
        self.write("claim", move |transaction| {
            replicas::claim(transaction, &replica, &holder, now, ttl)
        })
        .await
    }

    async fn withdraw(&self, destination: &ImageRef, digest: &Digest, holder: &str) -> Result<()> {
        let (destination, digest, holder) = (destination.clone(), digest.clone(), holder.to_owned());
        self.write("withdraw", move |transaction| {
            replicas::withdraw(transaction, &destination, &digest, &holder)
        })
        .await
    }

    async fn release(&self, destination: &ImageRef, holder: &str) -> Result<()> {
        let (destination, holder) = (destination.clone(), holder.to_owned());
        self.write("release", move |transaction| {
            replicas::release(transaction, &destination, &holder)
        })
        .await
    }

    async fn settle(&self, settled: &[Replica], holder: &str, now: Timestamp) -> Result<()> {
        let (settled, holder) = (settled.to_vec(), holder.to_owned());
        self.write("settle", move |transaction| {
            settled
                .iter()
                .try_for_each(|replica| replicas::settle(transaction, replica, &holder, now))
        })
        .await
    }

    async fn get(&self, destination: &ImageRef) -> Result<Option<Replica>> {
        let destination = destination.clone();
        self.read("replica", move |connection| replicas::at(connection, &destination))
            .await
    }

    async fn find(&self, destinations: &[ImageRef]) -> Result<HashMap<ImageRef, Replica>> {
        let destinations = destinations.to_vec();
        self.read("replicas", move |connection| {
            let mut found = HashMap::new();
            for destination in destinations {
                if let Some(replica) = replicas::at(connection, &destination)? {
                    found.insert(destination, replica);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn holds(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        manifest: &Digest,
    ) -> Result<bool> {
        let owned = |(registry, repository): (&str, &Repository)| (registry.to_owned(), repository.clone());
        let (destination, source, manifest) = (owned(destination), owned(source), manifest.clone());
        self.read("holds", move |connection| {
            replicas::holds(connection, &destination, &source, &manifest)
        })
        .await
    }

    async fn made_of(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        digest: &Digest,
    ) -> Result<Vec<Replica>> {
        let owned = |(registry, repository): (&str, &Repository)| (registry.to_owned(), repository.clone());
        let (destination, source, digest) = (owned(destination), owned(source), digest.clone());
        self.read("made_of", move |connection| {
            replicas::made_of(connection, &destination, &source, &digest)
        })
        .await
    }
}
