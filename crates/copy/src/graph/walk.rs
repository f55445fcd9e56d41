//! The walk over manifests: level by level, each digest once, within limits.
//!
//! All graphs are walked here: the children of an image, the manifests below an index, what is attached to an image, and
//! whether all parts of an image lie in a store. A [`Visitor`] does the reading and says what comes next.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use transship_oci::{Descriptor, Digest};

/// Levels below the root of an image that are followed: indexes within indexes nested deeper than this are refused.
pub const MAX_DEPTH: usize = 8;

/// How far a walk goes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Levels that are visited, that of the roots included.
    pub levels: usize,
    /// Manifests that are known to the walk, those of all levels together.
    pub manifests: usize,
    /// Manifests that are visited at the same time.
    pub parallel: usize,
}

/// The limit that ended a walk, and a manifest that lies beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beyond {
    /// [`Limits::levels`].
    Levels(Digest),
    /// [`Limits::manifests`].
    Manifests(Digest),
}

/// What a walk found.
#[derive(Debug)]
pub struct Walk<T> {
    /// The visited manifests by their distance from the roots, with what the visits returned.
    pub levels: Vec<Vec<(Descriptor, T)>>,
    /// The limit that was reached; [`None`] if everything was visited.
    pub beyond: Option<Beyond>,
}

impl<T> Walk<T> {
    /// Everything that was visited, the roots first.
    pub fn into_visited(self) -> impl Iterator<Item = (Descriptor, T)> {
        self.levels.into_iter().flatten()
    }
}

/// Looks at single manifests for a [`walk`].
#[async_trait]
pub trait Visitor: Sync {
    /// What a visit returns beside the way on.
    type Visit: Send;
    /// What ends the walk.
    type Error: Send;

    /// Looks at `manifest`. Returns what it found there, and the manifests that the walk visits next.
    async fn visit(&self, manifest: &Descriptor) -> Result<(Self::Visit, Vec<Descriptor>), Self::Error>;
}

/// Walks from `roots`. A limit ends the walk without an error, see [`Walk::beyond`].
pub async fn walk<V: Visitor + ?Sized>(
    roots: Vec<Descriptor>,
    limits: Limits,
    visitor: &V,
) -> Result<Walk<V::Visit>, V::Error> {
    let mut seen: HashSet<Digest> = HashSet::new();
    let mut levels = Vec::new();
    let mut next = roots;
    next.retain(|manifest| seen.insert(manifest.digest.clone()));
    loop {
        let Some(first) = next.first() else {
            return Ok(Walk { levels, beyond: None });
        };
        let beyond = if levels.len() >= limits.levels {
            Some(Beyond::Levels(first.digest.clone()))
        } else if seen.len() > limits.manifests {
            Some(Beyond::Manifests(first.digest.clone()))
        } else {
            None
        };
        if beyond.is_some() {
            return Ok(Walk { levels, beyond });
        }
        let (level, below) = visit_level(next, limits, visitor, &mut seen).await?;
        levels.push(level);
        next = below;
    }
}

/// The visited manifests of a level, with what the visits returned.
type Level<T> = Vec<(Descriptor, T)>;

/// Visits a level, and returns what comes next, in order. Successors are compared with what was `seen` as they are found, and
/// those beyond the limit are not kept, so that memory follows from the limits and not from what manifests name.
async fn visit_level<V: Visitor + ?Sized>(
    manifests: Vec<Descriptor>,
    limits: Limits,
    visitor: &V,
    seen: &mut HashSet<Digest>,
) -> Result<(Level<V::Visit>, Vec<Descriptor>), V::Error> {
    let mut visits = Vec::with_capacity(manifests.len());
    // The place of a successor among all of the level.
    let mut below: Vec<((usize, usize), Descriptor)> = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut waiting = manifests.iter().enumerate();
    loop {
        while running.len() < limits.parallel.max(1)
            && let Some((at, manifest)) = waiting.next()
        {
            running.push(visitor.visit(manifest).map(move |found| (at, found)));
        }
        let Some((at, found)) = running.next().await else { break };
        let (visit, successors) = found?;
        visits.push((at, visit));
        for (number, successor) in successors.into_iter().enumerate() {
            if seen.len() <= limits.manifests && seen.insert(successor.digest.clone()) {
                below.push(((at, number), successor));
            }
        }
    }
    drop((running, waiting));
    visits.sort_by_key(|(at, _)| *at);
    below.sort_by_key(|(place, _)| *place);
    let visits = visits.into_iter().map(|(_, visit)| visit);
    let level = manifests.into_iter().zip(visits).collect();
    Ok((level, below.into_iter().map(|(_, manifest)| manifest).collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::convert::Infallible;
    use std::sync::Mutex;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;
    use transship_oci::media_type::OCI_INDEX;

    use super::*;

    /// A graph of numbers, which may have circles.
    struct Numbers {
        edges: BTreeMap<u8, Vec<u8>>,
        visited: Mutex<Vec<u8>>,
    }

    fn node(number: u8) -> Descriptor {
        Descriptor::new(OCI_INDEX.into(), Digest::sha256(&[number]), u64::from(number))
    }

    #[async_trait]
    impl Visitor for Numbers {
        type Visit = u8;
        type Error = Infallible;

        async fn visit(&self, manifest: &Descriptor) -> Result<(u8, Vec<Descriptor>), Infallible> {
            let number = u8::try_from(manifest.size).unwrap();
            self.visited.lock().unwrap().push(number);
            let below = self.edges.get(&number).into_iter().flatten();
            Ok((number, below.map(|number| node(*number)).collect()))
        }
    }

    fn walked(edges: &BTreeMap<u8, Vec<u8>>, limits: Limits) -> (Vec<Vec<u8>>, Option<Beyond>, Vec<u8>) {
        let numbers = Numbers {
            edges: edges.clone(),
            visited: Mutex::default(),
        };
        let found = walk(vec![node(0)], limits, &numbers).now_or_never().unwrap().unwrap();
        let levels = found
            .levels
            .iter()
            .map(|level| level.iter().map(|(_, number)| *number).collect());
        (levels.collect(), found.beyond, numbers.visited.into_inner().unwrap())
    }

    /// The distance of every number that can be reached from 0.
    fn distances(edges: &BTreeMap<u8, Vec<u8>>) -> BTreeMap<u8, usize> {
        let mut distances = BTreeMap::from([(0, 0)]);
        let mut level = BTreeSet::from([0]);
        for distance in 1.. {
            let below = level.iter().filter_map(|number| edges.get(number)).flatten().copied();
            level = below.filter(|number| !distances.contains_key(number)).collect();
            if level.is_empty() {
                break;
            }
            distances.extend(level.iter().map(|number| (*number, distance)));
        }
        distances
    }

    proptest! {
        #[test]
        fn every_manifest_is_visited_once_at_its_distance(
            edges in proptest::collection::btree_map(0u8..12, proptest::collection::vec(0u8..12, 0..5), 0..12),
            max_levels in 1usize..6,
        ) {
            let limits = Limits { levels: max_levels, manifests: 100, parallel: 3 };
            let (levels, beyond, visited) = walked(&edges, limits);
            let wanted = distances(&edges);
            prop_assert_eq!(beyond.is_some(), wanted.values().any(|distance| *distance >= max_levels));
            let found: BTreeMap<u8, usize> = levels
                .iter()
                .enumerate()
                .flat_map(|(distance, level)| level.iter().map(move |number| (*number, distance)))
                .collect();
            let within: BTreeMap<u8, usize> = wanted.into_iter().filter(|(_, distance)| *distance < max_levels).collect();
            prop_assert_eq!(visited.len(), within.len(), "each once");
            prop_assert_eq!(found, within);
        }
    }

    #[test]
    fn a_level_of_too_many_manifests_is_not_begun() {
        let edges = BTreeMap::from([(0, vec![1, 2, 3]), (1, vec![4])]);
        let limits = |manifests| Limits {
            levels: 9,
            manifests,
            parallel: 2,
        };
        let (levels, beyond, _) = walked(&edges, limits(3));
        assert_eq!(levels, [[0]]);
        assert_eq!(beyond, Some(Beyond::Manifests(node(1).digest)));
        assert_eq!(walked(&edges, limits(5)).1, None);
    }
}
