//! Checks the graph of rules: no rule may start itself again, and partitions and editions must be respected.
//!
//! A rule that writes where another rule reads starts it, so the rules form a graph. The check uses the registry and the path
//! below which a rule reads or writes. This is coarser than the patterns, so a harmless document can be rejected. An
//! exclusion of the destination's tree, a narrower namespace, or a link resolves this. Disabled rules are not checked.

use std::collections::VecDeque;

use transship_oci::Code;

use crate::document::Document;
use crate::error::{Diagnostics, fault};
use crate::path::Path;
use crate::pattern::Matcher;
use crate::policy::Topology;
use crate::registry::PUBLIC_PARTITION;
use crate::rule::Rule;

/// Adds every fault that concerns several rules or registries.
pub(crate) fn check(document: &Document, diagnostics: &mut Diagnostics) {
    for (position, rule) in document.rules.iter().enumerate().filter(|(_, rule)| rule.enabled) {
        let path = Path::of("rules").index(position);
        check_edition(document, rule, &path, diagnostics);
        check_partition(document, rule, &path, diagnostics);
    }
    let graph = Graph::of(document);
    graph.check_cycles(diagnostics);
    if document.topology == Topology::Strict {
        graph.check_strict(diagnostics);
    }
}

fn check_edition(document: &Document, rule: &Rule, path: &Path, diagnostics: &mut Diagnostics) {
    let edition = document
        .registries
        .get(&rule.source.registry)
        .and_then(|registry| registry.edition.as_deref());
    if edition.is_some_and(|edition| edition.eq_ignore_ascii_case("basic")) {
        let sentence = format!(
            "the registry {:?} is of the basic edition, which cannot be a source: upgrade it, or choose another source",
            rule.source.registry
        );
        diagnostics.error(
            path.key("source").key("registry"),
            fault(Code::EditionCannotBeSource, sentence),
        );
    }
}

fn check_partition(document: &Document, rule: &Rule, path: &Path, diagnostics: &mut Diagnostics) {
    let partition = |name: &String| {
        document
            .registries
            .get(name)
            .map(|registry| registry.partition.as_str())
    };
    let (from, to) = (&rule.source.registry, &rule.destination.registry);
    if let (Some(PUBLIC_PARTITION), Some(other)) = (partition(from), partition(to))
        && other != PUBLIC_PARTITION
        && !is_linked(document, rule)
    {
        let sentence = format!(
            "{from:?} is public and {to:?} is in the partition {other:?}: to allow this, add a link with from: {from}, to: {to} and the reason"
        );
        diagnostics.error(
            path.key("destination").key("registry"),
            fault(Code::PartitionRefused, sentence),
        );
    }
}

fn is_linked(document: &Document, rule: &Rule) -> bool {
    document
        .links
        .iter()
        .any(|link| link.from == rule.source.registry && link.to == rule.destination.registry)
}

/// The path of a rule in one registry.
struct Region {
    /// This path and everything below it.
    path: String,
    /// Only the path itself.
    is_exact: bool,
}

/// A rule as a node.
struct Node<'a> {
    position: usize,
    rule: &'a Rule,
    reads: Region,
    /// A tree that is excluded from reading.
    leaves_out: Option<String>,
    writes: Region,
}

struct Graph<'a> {
    document: &'a Document,
    nodes: Vec<Node<'a>>,
}

impl<'a> Graph<'a> {
    /// The graph of the enabled rules without the exceptions of links.
    fn of(document: &'a Document) -> Self {
        let nodes = document
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.enabled && !is_linked(document, rule))
            .map(|(position, rule)| Node::of(position, rule))
            .collect();
        Self { document, nodes }
    }

    fn is_same_registry(&self, one: &str, other: &str) -> bool {
        let registry = |name| self.document.registries.get(name);
        one == other
            || registry(one)
                .zip(registry(other))
                .is_some_and(|(one, other)| one.is_same(other))
    }

    /// True if a write of `writer` can start `reader`.
    fn starts(&self, writer: &Node<'_>, reader: &Node<'_>) -> bool {
        self.is_same_registry(&writer.rule.destination.registry, &reader.rule.source.registry)
            && writer.writes.overlaps(&reader.reads)
            && !reader
                .leaves_out
                .as_deref()
                .is_some_and(|tree| is_below(&writer.writes.path, tree))
    }

    /// Reports each cycle once, at the first of its rules.
    fn check_cycles(&self, diagnostics: &mut Diagnostics) {
        let starts = self.edges();
        let mut is_reported = vec![false; self.nodes.len()];
        for start in self.on_or_between_cycles(&starts) {
            let Some(cycle) = (!is_reported[start]).then(|| shortest_cycle(start, &starts)).flatten() else {
                continue;
            };
            for &node in &cycle {
                is_reported[node] = true;
            }
            self.report(&cycle, diagnostics);
        }
    }

    fn edges(&self) -> Vec<Vec<usize>> {
        self.nodes
            .iter()
            .map(|writer| {
                let readers = self.nodes.iter().enumerate();
                readers
                    .filter(|(_, reader)| self.starts(writer, reader))
                    .map(|(number, _)| number)
                    .collect()
            })
            .collect()
    }

    /// The rules that remain after repeatedly removing each rule that starts none of the others; usually none.
    fn on_or_between_cycles(&self, starts: &[Vec<usize>]) -> Vec<usize> {
        let mut started_by = vec![Vec::new(); self.nodes.len()];
        let mut open: Vec<usize> = starts.iter().map(Vec::len).collect();
        for (writer, readers) in starts.iter().enumerate() {
            for &reader in readers {
                started_by[reader].push(writer);
            }
        }
        let mut ends: VecDeque<usize> = (0..open.len()).filter(|&node| open[node] == 0).collect();
        while let Some(end) = ends.pop_front() {
            for &writer in &started_by[end] {
                open[writer] -= 1;
                if open[writer] == 0 {
                    ends.push_back(writer);
                }
            }
        }
        (0..open.len()).filter(|&node| open[node] > 0).collect()
    }

    fn report(&self, cycle: &[usize], diagnostics: &mut Diagnostics) {
        let names: Vec<&str> = cycle.iter().map(|&node| self.nodes[node].rule.name.as_str()).collect();
        let sentence = match names.as_slice() {
            [name] => format!(
                "the rule {name:?} writes where it reads and would start itself endlessly: narrow its namespaces, exclude the destination from source.repository, or allow it under links"
            ),
            names => format!(
                "these rules would start each other endlessly: {} -> {}: narrow their namespaces, or allow one step under links",
                names.join(" -> "),
                names.first().copied().unwrap_or_default()
            ),
        };
        if let Some(node) = cycle.first().map(|&node| &self.nodes[node]) {
            diagnostics.error(node.path().key("destination"), fault(Code::RuleCycle, sentence));
        }
    }

    fn check_strict(&self, diagnostics: &mut Diagnostics) {
        for (number, node) in self.nodes.iter().enumerate() {
            let name = &node.rule.name;
            if let Some(reader) = self.nodes.iter().find(|reader| self.starts(node, reader)) {
                let sentence = format!(
                    "the rule {name:?} writes where the rule {:?} reads, and the topology is strict: write topology: acyclic, or allow it under links",
                    reader.rule.name
                );
                diagnostics.error(node.path().key("destination"), fault(Code::TopologyStrict, sentence));
            }
            let earlier = self.nodes[..number].iter().find(|earlier| {
                self.is_same_registry(&earlier.rule.destination.registry, &node.rule.destination.registry)
                    && earlier.writes.overlaps(&node.writes)
            });
            if let Some(earlier) = earlier {
                let sentence = format!(
                    "the rules {:?} and {name:?} write to the same place, and the topology is strict: give each a namespace of its own, or write topology: acyclic",
                    earlier.rule.name
                );
                diagnostics.error(node.path().key("destination"), fault(Code::TopologyStrict, sentence));
            }
        }
    }
}

impl<'a> Node<'a> {
    fn of(position: usize, rule: &'a Rule) -> Self {
        let namespace = rule.source.namespace.as_str();
        let (below, is_exact) = rule
            .source
            .repository
            .include
            .as_ref()
            .map_or(("", false), Matcher::scope);
        let path = join(namespace, below);
        let (written, is_written_exact) = rule.destination.naming.scope(&path, is_exact);
        let leaves_out = rule
            .source
            .repository
            .exclude
            .as_ref()
            .and_then(Matcher::whole_tree)
            .map(|tree| join(namespace, tree));
        Self {
            position,
            rule,
            reads: Region { path, is_exact },
            leaves_out,
            writes: Region {
                path: written,
                is_exact: is_written_exact,
            },
        }
    }

    fn path(&self) -> Path {
        Path::of("rules").index(self.position)
    }
}

impl Region {
    fn overlaps(&self, other: &Self) -> bool {
        self.holds(&other.path) || other.holds(&self.path)
    }

    fn holds(&self, path: &str) -> bool {
        if self.is_exact {
            path == self.path
        } else {
            is_below(path, &self.path)
        }
    }
}

/// True if `path` is `tree` or below it; everything is below the root, "".
fn is_below(path: &str, tree: &str) -> bool {
    tree.is_empty()
        || path
            .strip_prefix(tree)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn join(namespace: &str, below: &str) -> String {
    match (namespace, below) {
        ("", path) | (path, "") => path.to_owned(),
        (namespace, below) => format!("{namespace}/{below}"),
    }
}

/// The shortest way from `start` back to it.
fn shortest_cycle(start: usize, starts: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut came_from = vec![None; starts.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        if starts[node].contains(&start) {
            let mut cycle = vec![node];
            let mut at = node;
            while at != start {
                at = came_from[at]?;
                cycle.push(at);
            }
            cycle.reverse();
            return Some(cycle);
        }
        for &next in &starts[node] {
            if next != start && came_from[next].is_none() {
                came_from[next] = Some(node);
                queue.push_back(next);
            }
        }
    }
    None
}
