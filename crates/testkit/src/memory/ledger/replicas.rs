//! Replicas and commit leases in memory.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::Replica;
use transship_engine::ledger::{Claim, ImageRef, Replicas, earlier_of, lease_in_force};
use transship_oci::Result;
use transship_oci::{Digest, Repository};

use super::MemoryLedger;
use super::history::State;

/// A replica, and the holder of its lease with the end of it.
#[derive(Debug)]
pub(super) struct Held {
    replica: Replica,
    lease: Option<(String, Timestamp)>,
}

impl Held {
    /// The end of a lease of another holder that has not expired.
    fn held_until(&self, holder: &str, now: Timestamp) -> Option<Timestamp> {
        let lease = self.lease.as_ref();
        lease
            .filter(|(other, until)| other != holder && *until > now)
            .map(|(_, until)| *until)
    }
}

impl State {
    /// See [`Replicas::settle`].
    pub(super) fn settle(&mut self, replicas: &[Replica], holder: &str, now: Timestamp) {
        for replica in replicas {
            match self.replicas.get_mut(&replica.destination) {
                Some(held) if held.replica.is_later_than(replica, now) => {
                    held.lease.take_if(|(other, _)| other == holder);
                }
                Some(held) if held.held_until(holder, now).is_some() => {
                    held.replica = Replica {
                        digest: held.replica.digest.clone(),
                        earlier: held.replica.earlier.clone(),
                        ..replica.clone()
                    };
                }
                _ => {
                    let held = Held {
                        replica: replica.clone(),
                        lease: None,
                    };
                    self.replicas.insert(replica.destination.clone(), held);
                }
            }
        }
    }
}

#[async_trait]
impl Replicas for MemoryLedger {
    async fn claim(&self, replica: &Replica, holder: &str, now: Timestamp, ttl: Duration) -> Result<Claim> {
        let mut state = self.history();
        let known = state.replicas.get(&replica.destination);
        let until = known.and_then(|held| held.held_until(holder, now));
        if let Some(until) = until.and_then(|until| lease_in_force(until, now, ttl)) {
            return Ok(Claim::Held { until });
        }
        let known = known.map(|held| &held.replica);
        if known.is_some_and(|known| known.supersedes(replica, now)) {
            return Ok(Claim::Superseded);
        }
        let accepted = known
            .filter(|known| known.is_later_than(replica, now))
            .map_or(replica.accepted, |known| known.accepted);
        let earlier = earlier_of(known, &replica.digest);
        let intended = Replica {
            accepted,
            earlier: earlier.clone(),
            manifests: known.map(|known| known.manifests.clone()).unwrap_or_default(),
            selected: known.and_then(|known| known.selected.clone()),
            ..replica.clone()
        };
        let until = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
        let held = Held {
            replica: intended,
            lease: Some((holder.to_owned(), until)),
        };
        state.replicas.insert(replica.destination.clone(), held);
        Ok(Claim::Granted { earlier, accepted })
    }

    async fn withdraw(&self, destination: &ImageRef, digest: &Digest, holder: &str) -> Result<()> {
        let mut state = self.history();
        let Some(held) = state.replicas.get_mut(destination) else {
            return Ok(());
        };
        if held.lease.as_ref().is_none_or(|(other, _)| other != holder) {
            return Ok(());
        }
        let mut left = held.replica.without(digest);
        if left.is_empty() {
            state.replicas.remove(destination);
        } else {
            held.replica.digest = left.remove(0);
            held.replica.earlier = left;
        }
        Ok(())
    }

    async fn release(&self, destination: &ImageRef, holder: &str) -> Result<()> {
        if let Some(held) = self.history().replicas.get_mut(destination) {
            held.lease.take_if(|(other, _)| other == holder);
        }
        Ok(())
    }

    async fn settle(&self, replicas: &[Replica], holder: &str, now: Timestamp) -> Result<()> {
        self.history().settle(replicas, holder, now);
        Ok(())
    }

    async fn get(&self, destination: &ImageRef) -> Result<Option<Replica>> {
        let state = self.history();
        Ok(state.replicas.get(destination).map(|held| held.replica.clone()))
    }

    async fn find(&self, destinations: &[ImageRef]) -> Result<HashMap<ImageRef, Replica>> {
        let state = self.history();
        let found = destinations.iter().filter_map(|destination| {
            let held = state.replicas.get(destination)?;
            Some((destination.clone(), held.replica.clone()))
        });
        Ok(found.collect())
    }

    async fn holds(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        manifest: &Digest,
    ) -> Result<bool> {
        Ok(self.history().replicas.values().any(|held| {
            is_in(&held.replica.destination, destination)
                && held.replica.source.as_ref().is_some_and(|from| is_in(from, source))
                && held.replica.manifests.contains(manifest)
        }))
    }

    async fn made_of(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        digest: &Digest,
    ) -> Result<Vec<Replica>> {
        let state = self.history();
        let replicas = state.replicas.values().map(|held| &held.replica);
        let found = replicas.filter(|replica| {
            is_in(&replica.destination, destination)
                && replica.source.as_ref().is_some_and(|from| is_in(from, source))
                && replica.is_made_of(digest)
        });
        Ok(found.cloned().collect())
    }
}

fn is_in(place: &ImageRef, (registry, repository): (&str, &Repository)) -> bool {
    place.registry == registry && place.repository == *repository
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_replicas_suite_passes() {
        crate::suites::replicas(async || Arc::new(MemoryLedger::default()) as Arc<dyn Replicas>).await;
    }
}
