//! The graph of rules: places that are read, places that are written, and the rules that lead from one to the other.
//!
//! Rules that read the same place are one node, and so are rules that write the same place. The places that are written are
//! sorted, so that those that start a reader are a few ranges. The size of the graph therefore grows with the number of rules,
//! not with its square.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::identity::Identities;
use crate::path::Path;
use crate::pattern::Scope;
use crate::rule::Rule;

/// Repositories of one registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) registry: u32,
    pub(super) scope: Scope,
}

/// A place that rules read, without what they exclude.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Read {
    place: Place,
    excluded: Vec<Scope>,
}

/// The graph of the enabled rules without the exceptions of links.
pub(super) struct Graph<'a> {
    /// Position in the document, and rule.
    pub(super) rules: &'a [(usize, &'a Rule)],
    pub(super) reads: Vec<Read>,
    /// Sorted.
    pub(super) writes: Vec<Place>,
    /// The places that each rule reads, as indexes of [`Graph::reads`]. A rule that lists repositories has several.
    pub(super) reads_of: Vec<Vec<usize>>,
    /// The places that each rule writes, as indexes of [`Graph::writes`].
    pub(super) writes_of: Vec<Vec<usize>>,
    /// The rules that write each place, in the order of the document.
    pub(super) writers: Vec<Vec<usize>>,
    /// The places whose writes start each reader, as ranges of [`Graph::writes`].
    pub(super) starters: Vec<Vec<Range<usize>>>,
}

impl<'a> Graph<'a> {
    pub(super) fn of(rules: &'a [(usize, &'a Rule)], identities: &Identities<'_>) -> Self {
        let mut written = Vec::new();
        let mut read_numbers: HashMap<Read, usize> = HashMap::new();
        for (number, (_, rule)) in rules.iter().enumerate() {
            let (from, to) = (
                identities.number(&rule.source.registry),
                identities.number(&rule.destination.registry),
            );
            let excluded = excluded(rule);
            for scope in rule.source.scopes() {
                let write = Place {
                    registry: to,
                    scope: rule.destination.naming.scope(&scope),
                };
                let read = Read {
                    place: Place { registry: from, scope },
                    excluded: excluded.clone(),
                };
                let next = read_numbers.len();
                let read = *read_numbers.entry(read).or_insert(next);
                written.push((number, read, write));
            }
        }
        let writes: BTreeSet<&Place> = written.iter().map(|(_, _, place)| place).collect();
        let writes: Vec<Place> = writes.into_iter().cloned().collect();
        let write_numbers: HashMap<&Place, usize> = writes.iter().enumerate().map(|(at, place)| (place, at)).collect();
        let mut writers: Vec<Vec<usize>> = vec![Vec::new(); writes.len()];
        let mut reads_of: Vec<Vec<usize>> = vec![Vec::new(); rules.len()];
        let mut writes_of: Vec<Vec<usize>> = vec![Vec::new(); rules.len()];
        for (rule, read, place) in &written {
            let write = write_numbers.get(place).copied().unwrap_or_default();
            reads_of[*rule].push(*read);
            if !writes_of[*rule].contains(&write) {
                writes_of[*rule].push(write);
                writers[write].push(*rule);
            }
        }
        let mut reads: Vec<(Read, usize)> = read_numbers.into_iter().collect();
        reads.sort_unstable_by_key(|(_, number)| *number);
        let reads: Vec<Read> = reads.into_iter().map(|(read, _)| read).collect();
        let starters = Starters::of(&writes);
        let starters = reads.iter().map(|read| starters.ranges(read)).collect();
        Self {
            rules,
            reads,
            writes,
            reads_of,
            writes_of,
            writers,
            starters,
        }
    }

    /// Nodes are numbered: the rules, the places that are read, those that are written.
    pub(super) fn node_of_read(&self, read: usize) -> usize {
        self.rules.len() + read
    }

    pub(super) fn node_of_write(&self, write: usize) -> usize {
        self.rules.len() + self.reads.len() + write
    }

    /// The path of the rule `number` in the document.
    pub(super) fn path(&self, number: usize) -> Path {
        Path::of("rules").index(self.rules[number].0)
    }

    pub(super) fn name(&self, number: usize) -> &'a str {
        &self.rules[number].1.name
    }
}

/// What the rule leaves out, below its namespace.
fn excluded(rule: &Rule) -> Vec<Scope> {
    let namespace = &rule.source.namespace;
    let excluded = rule.source.repository.excluded();
    excluded.map(|scope| namespace.scope(&scope)).collect()
}

/// Finds the places that overlap another.
struct Starters<'w> {
    writes: &'w [Place],
    /// The lengths of the texts that scopes begin with, for each registry.
    lengths: HashMap<u32, BTreeSet<usize>>,
    trees: HashMap<(u32, &'w str), usize>,
}

impl<'w> Starters<'w> {
    fn of(writes: &'w [Place]) -> Self {
        let mut lengths: HashMap<u32, BTreeSet<usize>> = HashMap::new();
        let mut trees = HashMap::new();
        for (number, place) in writes.iter().enumerate().filter(|(_, place)| !place.scope.is_exact) {
            let text = place.scope.text.as_str();
            lengths.entry(place.registry).or_default().insert(text.len());
            trees.insert((place.registry, text), number);
        }
        Self { writes, lengths, trees }
    }

    /// The places whose writes start `read`.
    fn ranges(&self, read: &Read) -> Vec<Range<usize>> {
        let Place { registry, scope } = &read.place;
        let inner = self.below(*registry, scope);
        let mut gaps: Vec<Range<usize>> = read
            .excluded
            .iter()
            .map(|excluded| self.below(*registry, excluded))
            .filter(|gap| !gap.is_empty())
            .collect();
        gaps.sort_unstable_by_key(|gap| gap.start);
        let mut ranges = Vec::new();
        let mut start = inner.start;
        for gap in gaps {
            if start < gap.start.min(inner.end) {
                ranges.push(start..gap.start.min(inner.end));
            }
            start = start.max(gap.end);
        }
        if start < inner.end {
            ranges.push(start..inner.end);
        }
        // Trees that hold this one. What is excluded does not cover them.
        let shorter = self.lengths.get(registry).into_iter().flatten();
        for length in shorter.take_while(|length| **length < scope.text.len()) {
            let tree = scope
                .text
                .get(..*length)
                .and_then(|text| self.trees.get(&(*registry, text)));
            ranges.extend(tree.map(|number| *number..*number + 1));
        }
        if scope.is_exact
            && let Some(number) = self.trees.get(&(*registry, scope.text.as_str()))
        {
            ranges.push(*number..*number + 1);
        }
        ranges
    }

    /// The places that `scope` holds.
    fn below(&self, registry: u32, scope: &Scope) -> Range<usize> {
        let before = |place: &Place| (place.registry, place.scope.text.as_str()) < (registry, scope.text.as_str());
        let within = |place: &Place| {
            before(place)
                || place.registry == registry
                    && if scope.is_exact {
                        // A tree sorts before the name.
                        place.scope.text == scope.text
                    } else {
                        place.scope.text.starts_with(&scope.text)
                    }
        };
        let mut start = self.writes.partition_point(before);
        let end = self.writes.partition_point(within);
        if scope.is_exact {
            start = (start..end).find(|at| self.writes[*at].scope.is_exact).unwrap_or(end);
        }
        start..end
    }
}
