//! Selects the next messages, so that a slow or silent registry cannot occupy all workers.
//!
//! The destination with the fewest messages in flight is first. A queue with a [`Share`] also keeps workers free: a pair of
//! source and destination gets another worker only while more than twice as many are free as it has, and a host only while
//! more are free than it has. One pair therefore occupies at most about a third of the workers, or half of them if both of its
//! hosts are quick; several slow pairs share the rest in the same way, and the first message of another host finds a free worker.
//!
//! A slow or silent registry does not use up the share of those it exchanges images with. A host is *quick* if a message of it
//! was done within [`QUICK_MS`] lately; what a quick host has in flight with hosts that are not quick does not count against
//! it. A pair without a worker gets any free one if both of its hosts are quick or have nothing in flight, otherwise one while
//! more than a quarter of all workers is free, or an eighth if neither host occupies more than half of the workers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// A message that was done within this many milliseconds of its delivery shows that both of its hosts are quick.
const QUICK_MS: i64 = 10_000;
/// How long that holds, in milliseconds.
const QUICK_FOR_MS: i64 = 60_000;

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
    /// When a message of a host was last done quickly, in milliseconds since 1970.
    quick: Arc<Mutex<HashMap<String, i64>>>,
}

impl Share {
    /// Shares `workers`; `host_of` returns the host of a registry's name.
    pub(crate) fn new(workers: usize, host_of: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self {
            workers: workers.max(1),
            host_of: Arc::new(host_of),
            quick: Arc::default(),
        }
    }

    /// Notes that a message of `peers` that was delivered at `delivered` was done at `now`, in milliseconds since 1970.
    pub(crate) fn done(&self, peers: &Peers, delivered: i64, now: i64) {
        if now.saturating_sub(delivered) >= QUICK_MS {
            return;
        }
        let Peers { source, destination } = self.hosts(peers);
        if let Ok(mut quick) = self.quick.lock() {
            quick.retain(|_, done| is_lately(*done, now));
            quick.insert(source, now);
            quick.insert(destination, now);
        }
    }

    /// The hosts that are quick at `now`.
    fn quick(&self, now: i64) -> HashSet<String> {
        let Ok(quick) = self.quick.lock() else {
            return HashSet::new();
        };
        let lately = quick.iter().filter(|(_, done)| is_lately(**done, now));
        lately.map(|(host, _)| host.clone()).collect()
    }

    fn hosts(&self, peers: &Peers) -> Peers {
        Peers {
            source: (self.host_of)(&peers.source),
            destination: (self.host_of)(&peers.destination),
        }
    }
}

fn is_lately(done: i64, now: i64) -> bool {
    now.abs_diff(done) < QUICK_FOR_MS.unsigned_abs()
}

/// Numbers of messages in flight.
#[derive(Default)]
struct Loads {
    all: usize,
    sources: HashMap<String, usize>,
    destinations: HashMap<String, usize>,
    pairs: HashMap<Peers, usize>,
    quick: HashSet<String>,
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

    /// What counts against the source of `peers`: all that it has in flight, or if it is quick what it has with quick
    /// destinations.
    fn against_source(&self, peers: &Peers) -> usize {
        if !self.quick.contains(&peers.source) {
            return self.source(peers);
        }
        let pairs = self.pairs.iter().filter(|(pair, _)| pair.source == peers.source);
        let quick = pairs.filter(|(pair, _)| self.quick.contains(&pair.destination));
        quick.map(|(_, count)| count).sum()
    }

    /// The same for the destination.
    fn against_destination(&self, peers: &Peers) -> usize {
        if !self.quick.contains(&peers.destination) {
            return self.destination(peers);
        }
        let pairs = self
            .pairs
            .iter()
            .filter(|(pair, _)| pair.destination == peers.destination);
        let quick = pairs.filter(|(pair, _)| pair.source.is_empty() || self.quick.contains(&pair.source));
        quick.map(|(_, count)| count).sum()
    }

    /// True if another message of `peers` may occupy one of `workers`.
    fn allow(&self, peers: &Peers, workers: usize) -> bool {
        let free = workers.saturating_sub(self.all);
        let pair = self.pairs.get(peers).copied().unwrap_or_default();
        let are_quick = [&peers.source, &peers.destination]
            .into_iter()
            .all(|host| host.is_empty() || self.quick.contains(host));
        if pair == 0 && free > 0 {
            let (source, destination) = (self.source(peers), self.destination(peers));
            let is_within_half = 2 * source.max(destination) <= workers && 8 * free > workers;
            return are_quick || source + destination == 0 || is_within_half || 4 * free > workers;
        }
        let weight = if are_quick { 1 } else { 2 };
        weight * pair < free && self.against_source(peers) < free && self.against_destination(peers) < free
    }
}

/// Up to `max` messages in the order of their delivery, within `share`. Ties go to the pair that is first after the `turn`-th,
/// so that all pairs are served if few messages are in flight. `now` is in milliseconds since 1970.
pub(crate) fn choose(
    waiting: Vec<Waiting>,
    in_flight: &[InFlight],
    share: Option<&Share>,
    max: usize,
    turn: usize,
    now: i64,
) -> Vec<i64> {
    let hosts = |peers: &Peers| share.map_or_else(|| peers.clone(), |share| share.hosts(peers));
    let mut loads = Loads {
        quick: share.map(|share| share.quick(now)).unwrap_or_default(),
        ..Loads::default()
    };
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
