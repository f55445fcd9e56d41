//! Checks that concern several rules or registries: no rule may start itself again, no two rules may write one tag from
//! different sources, and partitions and editions must be respected.
//!
//! A rule that writes where another rule reads starts it, so the rules form a graph. The check uses the registry and what the
//! names begin with that a rule reads or writes. This is coarser than the patterns, so a harmless document can be rejected. An
//! exclusion of the destination's tree, a narrower namespace, or a link resolves this. Disabled rules are not checked.

mod conflicts;
mod cycles;
mod graph;
mod identity;
mod strict;

use std::collections::HashSet;

use transship_oci::Code;

use crate::document::Document;
use crate::error::{Diagnostics, fault};
use crate::path::Path;
use crate::policy::Topology;
use crate::registry::PUBLIC_PARTITION;
use crate::rule::Rule;
use graph::Graph;
use identity::Identities;

/// Adds every fault that concerns several rules or registries.
pub(crate) fn check(document: &Document, diagnostics: &mut Diagnostics) {
    let links: HashSet<(&str, &str)> = document
        .links
        .iter()
        .map(|link| (link.from.as_str(), link.to.as_str()))
        .collect();
    // A link names registries or regions.
    let region = |name: &str| {
        document
            .registries
            .get(name)
            .and_then(|registry| registry.region.as_deref())
    };
    let is_linked = |rule: &Rule| {
        let (from, to) = (rule.source.registry.as_str(), rule.destination.registry.as_str());
        let names = |name| [Some(name), region(name)].into_iter().flatten();
        !links.is_empty() && names(from).any(|from| names(to).any(|to| links.contains(&(from, to))))
    };
    for (position, rule) in document.rules.iter().enumerate().filter(|(_, rule)| rule.enabled) {
        let path = Path::of("rules").index(position);
        check_edition(document, rule, &path, diagnostics);
        if !is_linked(rule) {
            check_partition(document, rule, &path, diagnostics);
        }
    }
    let identities = Identities::of(&document.registries);
    let rules: Vec<(usize, &Rule)> = document
        .rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.enabled && !is_linked(rule))
        .collect();
    let graph = Graph::of(&rules, &identities);
    cycles::check(&graph, diagnostics);
    if document.topology == Topology::Strict {
        strict::check(&graph, diagnostics);
    } else {
        conflicts::check(&rules, &identities, diagnostics);
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
