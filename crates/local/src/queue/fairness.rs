//! Selects the next messages, so that a slow or silent registry cannot occupy all workers.
//!
//! The destination with the fewest messages in flight is first. A queue with a [`Share`] also keeps workers free: a pair of
//! source and destination gets another worker only while more than twice as many are free as it has, and a host only while
//! more are free than it has. One pair therefore occupies at most about a third of the workers, several slow pairs share the
//! rest in the same way, and the first message of another host finds a free worker. A silent destination does not use up the
//! share of its source: a pair without a worker gets one while more than a quarter of all workers is free.

use std::collections::HashMap;
use std::sync::Arc;

/// What a job reads and where it writes. Names of registries and of other groups; a source without a name is not shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Peers {
    /// The registry or store that it reads.
    pub(crate) source: String,
    /// The registry that it writes to, or the group of jobs that write to none.
    pub(crate) destination: String,
}

/// A pair of source and destination with visible messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The pair.
    pub(crate) peers: Peers,
    /// Its visible messages, in order.
    pub(crate) messages: Vec<i64>,
}

/// A pair of source and destination with messages in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// The pair.
    pub(crate) peers: Peers,
    /// Number of its messages in flight.
    pub(crate) count: usize,
}

/// Shares a number of workers between hosts. Clones are the same.
#[derive(Clone)]
pub(crate) struct Share {
    workers: usize,
    host_of: Arc<dyn Fn(&str) -> String + Send + Sync>,
}

impl Share {
    /// Shares `workers`; `host_of` returns the host of a registry's name.
    pub(crate) fn new(workers: usize, host_of: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self {
            workers: workers.max(1),
            host_of: Arc::new(host_of),
        }
    }

    fn hosts(&self, peers: &Peers) -> Peers {
        Peers {
            source: (self.host_of)(&peers.source),
            destination: (self.host_of)(&peers.destination),
        }
    }
}

/// Numbers of messages in flight.
#[derive(Default)]
struct Loads {
    all: usize,
    sources: HashMap<String, usize>,
    destinations: HashMap<String, usize>,
    pairs: HashMap<Peers, usize>,
}

impl Loads {
    fn add(&mut self, peers: &Peers, count: usize) {
        self.all += count;
        if !peers.source.is_empty() {
            *self.sources.entry(peers.source.clone()).or_default() += count;
        }
        *self.destinations.entry(peers.destination.clone()).or_default() += count;
        *self.pairs.entry(peers.clone()).or_default() += count;
    }

    fn source(&self, peers: &Peers) -> usize {
        self.sources.get(&peers.source).copied().unwrap_or_default()
    }

    fn destination(&self, peers: &Peers) -> usize {
        self.destinations.get(&peers.destination).copied().unwrap_or_default()
    }

    /// True if another message of `peers` may occupy one of `workers`.
    fn allow(&self, peers: &Peers, workers: usize) -> bool {
        let free = workers.saturating_sub(self.all);
        let pair = self.pairs.get(peers).copied().unwrap_or_default();
        let is_within_share = 2 * pair < free && self.source(peers) < free && self.destination(peers) < free;
        is_within_share || pair == 0 && 4 * free > workers
    }
}

/// Up to `max` messages in the order of their delivery, within `share`. Ties go to the pair that is first after the `turn`-th,
/// so that all pairs are served if few messages are in flight.
pub(crate) fn choose(
    waiting: Vec<Waiting>,
    in_flight: &[InFlight],
    share: Option<&Share>,
    max: usize,
    turn: usize,
) -> Vec<i64> {
    let hosts = |peers: &Peers| share.map_or_else(|| peers.clone(), |share| share.hosts(peers));
    let mut loads = Loads::default();
    for pair in in_flight {
        loads.add(&hosts(&pair.peers), pair.count);
    }
    let count = waiting.len().max(1);
    let mut queues: Vec<_> = waiting
        .into_iter()
        .enumerate()
        .map(|(at, pair)| {
            let rank = (at + count - turn % count) % count;
            (hosts(&pair.peers), rank, pair.messages.into_iter())
        })
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < max {
        // A load only grows here, so a pair that is not allowed stays so.
        queues.retain(|(peers, _, messages)| {
            messages.len() > 0 && share.is_none_or(|share| loads.allow(peers, share.workers))
        });
        let Some((peers, _, messages)) = queues
            .iter_mut()
            .min_by_key(|(peers, rank, _)| (loads.destination(peers), loads.source(peers), *rank))
        else {
            break;
        };
        loads.add(peers, 1);
        chosen.extend(messages.next());
    }
    chosen
}

#[cfg(test)]
mod tests;
