//! Rules that would start themselves again.

use std::collections::{HashMap, HashSet, VecDeque};

use transship_oci::Code;

use super::graph::Graph;
use crate::error::{Diagnostics, MAX_ERRORS, fault};

/// Reports each cycle once, at the first of its rules.
pub(super) fn check(graph: &Graph<'_>, diagnostics: &mut Diagnostics) {
    let components = Components::of(graph);
    let mut is_reported = vec![false; graph.rules.len()];
    let mut reports = 0;
    for start in 0..graph.steps.len() {
        let step = graph.steps[start];
        let (read, write) = (components.of_read(step.read), components.of_write(graph, step.write));
        if is_reported[step.rule] || read != write {
            continue;
        }
        let Some(cycle) = shortest(graph, &components, start) else {
            continue;
        };
        for &rule in &cycle {
            is_reported[rule] = true;
        }
        report(graph, &cycle, diagnostics);
        reports += 1;
        if reports == MAX_ERRORS {
            return;
        }
    }
}

fn report(graph: &Graph<'_>, cycle: &[usize], diagnostics: &mut Diagnostics) {
    let names: Vec<&str> = cycle.iter().map(|&rule| graph.name(rule)).collect();
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
    if let Some(&first) = cycle.first() {
        diagnostics.error(graph.path(first).key("destination"), fault(Code::RuleCycle, sentence));
    }
}

/// The rules of the shortest way that begins with the step `start` and leads back to it. The search goes from a reader to what
/// starts it.
fn shortest(graph: &Graph<'_>, components: &Components, start: usize) -> Option<Vec<usize>> {
    let Some(&first) = graph.steps.get(start) else {
        return None;
    };
    let component = components.of_read(first.read);
    // The step through which each step was found; that step is started by it.
    let mut starts: HashMap<usize, usize> = HashMap::new();
    let mut seen = HashSet::from([first.read]);
    let mut seen_writes = HashSet::new();
    let mut queue = VecDeque::from([(first.read, start)]);
    while let Some((read, through)) = queue.pop_front() {
        for write in graph.starters[read].iter().cloned().flatten() {
            if write == first.write {
                let mut cycle = vec![graph.steps[start].rule];
                let mut at = through;
                while at != start {
                    cycle.push(graph.steps[at].rule);
                    at = starts.get(&at).copied()?;
                }
                return Some(cycle);
            }
            if components.of_write(graph, write) != component || !seen_writes.insert(write) {
                continue;
            }
            for &step in &graph.writers[write] {
                let next = graph.steps[step].read;
                if components.of_read(next) == component && seen.insert(next) {
                    starts.insert(step, through);
                    queue.push_back((next, step));
                }
            }
        }
    }
    None
}

/// The strongly connected components: two places are in the same one if there is a way from each to the other. Nodes are the
/// places that are read, then those that are written.
struct Components(Vec<usize>);

impl Components {
    fn of_read(&self, read: usize) -> usize {
        self.0[read]
    }

    fn of_write(&self, graph: &Graph<'_>, write: usize) -> usize {
        self.0[graph.reads.len() + write]
    }

    /// Tarjan's algorithm, without recursion.
    fn of(graph: &Graph<'_>) -> Self {
        const NONE: usize = usize::MAX;
        let reads = graph.reads.len();
        let count = reads + graph.writes.len();
        let mut component = vec![NONE; count];
        let mut order = vec![NONE; count];
        let mut low = vec![NONE; count];
        let mut open = Vec::new();
        let mut next_order = 0;
        for root in 0..count {
            if order[root] != NONE {
                continue;
            }
            let mut calls = vec![(root, neighbours(graph, root))];
            order[root] = next_order;
            low[root] = next_order;
            next_order += 1;
            open.push(root);
            while let Some((node, rest)) = calls.last_mut() {
                let node = *node;
                match rest.next() {
                    Some(next) if order[next] == NONE => {
                        order[next] = next_order;
                        low[next] = next_order;
                        next_order += 1;
                        open.push(next);
                        calls.push((next, neighbours(graph, next)));
                    }
                    Some(next) => {
                        if component[next] == NONE {
                            low[node] = low[node].min(order[next]);
                        }
                    }
                    None => {
                        calls.pop();
                        if let Some((caller, _)) = calls.last() {
                            low[*caller] = low[*caller].min(low[node]);
                        }
                        if low[node] == order[node] {
                            while let Some(member) = open.pop() {
                                component[member] = node;
                                if member == node {
                                    break;
                                }
                            }
                        }
                    }
                }
            }
        }
        Self(component)
    }
}

/// From a place that is read to those whose writes start its readers; from a place that is written to those that its writers
/// read.
fn neighbours<'g>(graph: &'g Graph<'_>, node: usize) -> Box<dyn Iterator<Item = usize> + 'g> {
    let reads = graph.reads.len();
    if node < reads {
        Box::new(graph.starters[node].iter().cloned().flatten().map(move |write| reads + write))
    } else {
        Box::new(graph.writers[node - reads].iter().map(|&step| graph.steps[step].read))
    }
}
