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
    for rule in 0..graph.rules.len() {
        if is_reported[rule] {
            continue;
        }
        let Some(cycle) = shortest(graph, &components, rule) else {
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

/// The rules of the shortest way that begins with the rule `start` and leads back to it. The search goes from a rule to what
/// starts it, and stays within the component of `start`.
fn shortest(graph: &Graph<'_>, components: &Components, start: usize) -> Option<Vec<usize>> {
    let component = components.0[start];
    let within = |node: &usize| components.0[*node] == component;
    let goals: HashSet<usize> = graph.writes_of[start]
        .iter()
        .copied()
        .filter(|write| within(&graph.node_of_write(*write)))
        .collect();
    if goals.is_empty() {
        return None;
    }
    // The rule that each rule starts on the way.
    let mut starts: HashMap<usize, usize> = HashMap::new();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([start]);
    while let Some(rule) = queue.pop_front() {
        for &read in graph.reads_of[rule]
            .iter()
            .filter(|read| within(&graph.node_of_read(**read)))
        {
            if !seen.insert(graph.node_of_read(read)) {
                continue;
            }
            for write in graph.starters[read].iter().cloned().flatten() {
                if goals.contains(&write) {
                    let mut cycle = vec![start];
                    let mut at = rule;
                    while at != start {
                        cycle.push(at);
                        at = starts.get(&at).copied()?;
                    }
                    return Some(cycle);
                }
                let node = graph.node_of_write(write);
                if !within(&node) || !seen.insert(node) {
                    continue;
                }
                for &writer in graph.writers[write].iter().filter(|writer| within(writer)) {
                    if writer != start && !starts.contains_key(&writer) {
                        starts.insert(writer, rule);
                        queue.push_back(writer);
                    }
                }
            }
        }
    }
    None
}

/// The strongly connected components: two nodes are in the same one if there is a way from each to the other.
struct Components(Vec<usize>);

impl Components {
    /// Tarjan's algorithm, without recursion.
    fn of(graph: &Graph<'_>) -> Self {
        const NONE: usize = usize::MAX;
        let count = graph.rules.len() + graph.reads.len() + graph.writes.len();
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

/// From a rule to the places that it reads, from there to those whose writes start it, and from there to their writers.
fn neighbours<'g>(graph: &'g Graph<'_>, node: usize) -> Box<dyn Iterator<Item = usize> + 'g> {
    let (rules, reads) = (graph.rules.len(), graph.reads.len());
    if node < rules {
        Box::new(graph.reads_of[node].iter().map(|&read| graph.node_of_read(read)))
    } else if node < rules + reads {
        let writes = graph.starters[node - rules].iter().cloned().flatten();
        Box::new(writes.map(|write| graph.node_of_write(write)))
    } else {
        Box::new(graph.writers[node - rules - reads].iter().copied())
    }
}
