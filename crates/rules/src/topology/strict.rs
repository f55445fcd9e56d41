//! The strict topology: a source is never a destination, and each destination is written by one rule.

use transship_oci::Code;

use super::graph::Graph;
use crate::error::{Diagnostics, fault};

/// Reports each rule that writes where another one reads or an earlier one writes.
pub(super) fn check(graph: &Graph<'_>, diagnostics: &mut Diagnostics) {
    let readers = first_readers(graph);
    let writers = Writers::of(graph);
    for (rule, writes) in graph.writes_of.iter().enumerate() {
        let (name, path) = (graph.name(rule), graph.path(rule).key("destination"));
        if let Some(reader) = writes.iter().find_map(|&write| readers[write]) {
            let sentence = format!(
                "the rule {name:?} writes where the rule {:?} reads, and the topology is strict: write topology: acyclic, or allow it under links",
                graph.name(reader)
            );
            diagnostics.error(path.clone(), fault(Code::TopologyStrict, sentence));
        }
        let earliest = writes.iter().filter_map(|&write| writers.earliest(write)).min();
        if let Some(earlier) = earliest.filter(|earlier| *earlier < rule) {
            let sentence = format!(
                "the rules {:?} and {name:?} write to the same place, and the topology is strict: give each a namespace of its own, or write topology: acyclic",
                graph.name(earlier)
            );
            diagnostics.error(path, fault(Code::TopologyStrict, sentence));
        }
    }
}

/// The first rule that each place that is written starts.
fn first_readers(graph: &Graph<'_>) -> Vec<Option<usize>> {
    let mut first_of_read = vec![None; graph.reads.len()];
    for (rule, reads) in graph.reads_of.iter().enumerate() {
        for &read in reads {
            first_of_read[read].get_or_insert(rule);
        }
    }
    let mut readers: Vec<Option<usize>> = vec![None; graph.writes.len()];
    // In the order of their first rules.
    for (read, ranges) in graph.starters.iter().enumerate() {
        for write in ranges.iter().cloned().flatten() {
            readers[write] = readers[write].or(first_of_read[read]);
        }
    }
    readers
}

/// The first rules that write to each place, to one that holds it, or to one that it holds.
struct Writers(Vec<Option<usize>>);

impl Writers {
    fn earliest(&self, write: usize) -> Option<usize> {
        self.0[write]
    }

    fn of(graph: &Graph<'_>) -> Self {
        let own: Vec<Option<usize>> = graph.writers.iter().map(|rules| rules.first().copied()).collect();
        let earlier = |one: Option<usize>, other: Option<usize>| one.into_iter().chain(other).min();
        let mut earliest = own.clone();
        // The trees that hold the place at hand, the widest first.
        let mut holders: Vec<usize> = Vec::new();
        for (at, place) in graph.writes.iter().enumerate() {
            while let Some(&holder) = holders.last() {
                let holder = &graph.writes[holder];
                if holder.registry == place.registry && holder.scope.holds(&place.scope) {
                    break;
                }
                holders.pop();
            }
            for &holder in &holders {
                earliest[at] = earlier(earliest[at], own[holder]);
                earliest[holder] = earlier(earliest[holder], own[at]);
            }
            if !place.scope.is_exact {
                holders.push(at);
            }
        }
        Self(earliest)
    }
}
