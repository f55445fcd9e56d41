//! The rules of a document while other sites than the written ones are the writers of its groups.
//!
//! The rules between the sites of a group lead away from its writer. While another site is the writer, those that led to it are
//! replaced by their reverse: the same images under the same names, with the registries exchanged. The others stay. What must
//! hold: the rules never lead to the writer, and never form a cycle.

use std::collections::{BTreeMap, BTreeSet};

use transship_oci::{Existing, Platforms};

use super::Failover;
use crate::document::Document;
use crate::index::Index;
use crate::rule::Rule;

/// The end of the name of a derived rule.
pub const REVERSE_SUFFIX: &str = ".reverse";

/// The writers of groups, by the name of the group. A group that is not in it has the writer of the document.
pub type Writers = BTreeMap<String, String>;

impl Failover {
    /// True if the rule copies from one site of the group to another.
    pub fn has_rule(&self, rule: &Rule) -> bool {
        self.joins(&rule.source.registry, &rule.destination.registry)
    }

    /// True if both registries are sites of the group, and not the same one.
    pub fn joins(&self, from: &str, to: &str) -> bool {
        from != to && self.site(from).is_some() && self.site(to).is_some()
    }

    /// The sites from which rules as they are written lead to `writer`, and `writer` itself. Rules among these are reversed.
    fn upstream_of<'a>(&self, document: &'a Document, writer: &'a str) -> BTreeSet<&'a str> {
        let rules = || document.rules.iter().filter(|rule| rule.enabled && self.has_rule(rule));
        let mut upstream = BTreeSet::from([writer]);
        // There are at most as many steps as sites.
        for _ in &self.sites {
            for rule in rules() {
                if upstream.contains(rule.destination.registry.as_str()) {
                    upstream.insert(&rule.source.registry);
                }
            }
        }
        upstream
    }
}

impl Document {
    /// The group between whose sites `from` and `to` a copy is.
    pub fn failover_between(&self, from: &str, to: &str) -> Option<&Failover> {
        self.failover.iter().find(|group| group.joins(from, to))
    }

    /// The document with the rules of `writers`. Equal to this one if every writer is the written one.
    #[must_use]
    pub fn with_writers(&self, writers: &Writers) -> Self {
        let mut document = self.clone();
        for group in &self.failover {
            let writer = writers.get(&group.name).filter(|writer| group.site(writer).is_some());
            let Some(writer) = writer.filter(|writer| **writer != group.writer) else {
                continue;
            };
            let upstream = group.upstream_of(self, writer);
            for rule in &mut document.rules {
                if rule.enabled && group.has_rule(rule) && upstream.contains(rule.destination.registry.as_str()) {
                    *rule = Rule {
                        enabled: false,
                        ..rule.clone()
                    };
                }
            }
            let reversed = self.rules.iter().filter(|rule| {
                rule.enabled && group.has_rule(rule) && upstream.contains(rule.destination.registry.as_str())
            });
            document.rules.extend(reversed.map(reverse));
        }
        document.index = Index::of(&document.rules);
        document
    }

    /// True if the rule between two sites is in force as far as the writer of their group decides, for a copy from `from` to
    /// `to`. A copy that an operator orders by hand has no rule; it is allowed to every site but the writer.
    pub fn is_active(&self, group: &Failover, writer: &str, rule: &str, (from, to): (&str, &str)) -> bool {
        let (name, is_reverse) = match rule.strip_suffix(REVERSE_SUFFIX) {
            Some(name) if self.rule(rule).is_none() => (name, true),
            _ => (rule, false),
        };
        let Some(written) = self.rule(name).filter(|rule| group.has_rule(rule)) else {
            return to != writer;
        };
        let (source, destination) = (written.source.registry.as_str(), written.destination.registry.as_str());
        let ends = if is_reverse {
            (destination, source)
        } else {
            (source, destination)
        };
        let is_reversed = writer != group.writer && group.upstream_of(self, writer).contains(destination);
        is_reverse == is_reversed && ends == (from, to)
    }

    /// True if `rule` is the name of a derived rule of this document, or of a rule between the sites of a group.
    pub fn is_of_failover(&self, rule: &str) -> bool {
        let name = rule.strip_suffix(REVERSE_SUFFIX).unwrap_or(rule);
        let rules = [rule, name].into_iter().filter_map(|name| self.rule(name));
        rules
            .into_iter()
            .any(|rule| self.failover.iter().any(|group| group.has_rule(rule)))
    }
}

/// The rule in the other direction. It replaces only what is known to be replicated, and copies everything that is missing.
fn reverse(rule: &Rule) -> Rule {
    let mut reverse = rule.clone();
    std::mem::swap(&mut reverse.source.registry, &mut reverse.destination.registry);
    reverse.name = format!("{}{REVERSE_SUFFIX}", rule.name);
    reverse.description = Some(format!(
        "the reverse of {}, while its destination is the writer",
        rule.name
    ));
    // What both sides changed is a conflict, and never replaced by a rule.
    if reverse.existing != Existing::Keep {
        reverse.existing = Existing::Follow;
    }
    reverse.platforms = Platforms::default();
    // Everything that was pushed to the new writer is missing at the old one, also what was pushed before the reversal.
    reverse.backfill = true;
    reverse.selection = rule.selection.reversed();
    reverse
}
