//! Checks the groups against the rules: every standby is replicated to, and the rules start at the writer.

use std::collections::BTreeSet;

use transship_oci::Code;

use super::invalid;
use crate::document::Document;
use crate::error::{Diagnostics, fault};
use crate::failover::{Failover, Writers};
use crate::path::Path;
use crate::rule::Rule;
use crate::topology;

/// Notes every site that no rule leads to, every rule that is written in the other direction, and every rule between sites
/// that renames images.
pub(in crate::check) fn check_rules(document: &Document, diagnostics: &mut Diagnostics) {
    for (position, group) in document.failover.iter().enumerate() {
        let path = Path::of("failover").index(position);
        let rules: Vec<(usize, &Rule)> = between_sites(group, document).collect();
        check_reached(group, &rules, &path, diagnostics);
        for (number, rule) in rules {
            check_direction(group, rule, number, diagnostics);
            check_names(group, rule, number, diagnostics);
            check_one_group(document, group, rule, number, diagnostics);
        }
        check_reverse(document, group, &path, diagnostics);
    }
}

/// The enabled rules from one site of the group to another, with their positions.
fn between_sites<'a>(group: &'a Failover, document: &'a Document) -> impl Iterator<Item = (usize, &'a Rule)> {
    let rules = document.rules.iter().enumerate();
    rules.filter(|(_, rule)| rule.enabled && group.has_rule(rule))
}

fn check_reached(group: &Failover, rules: &[(usize, &Rule)], path: &Path, diagnostics: &mut Diagnostics) {
    let mut reached = BTreeSet::from([group.writer.as_str()]);
    // A site may be reached through another one. There are at most as many steps as sites.
    for _ in &group.sites {
        for (_, rule) in rules {
            if reached.contains(rule.source.registry.as_str()) {
                reached.insert(&rule.destination.registry);
            }
        }
    }
    for (number, site) in group.sites.iter().enumerate() {
        if !reached.contains(site.registry.as_str()) {
            let sentence = format!(
                "no enabled rule leads from the writer {:?} to the site {:?}, so it stays empty: add a rule with source.registry: {} and destination.registry: {}",
                group.writer, site.registry, group.writer, site.registry
            );
            let path = path.key("sites").index(number).key("registry");
            diagnostics.error(path, fault(Code::FailoverWithoutRule, sentence));
        }
    }
}

/// The reverse of a rule is derived, and is active only while another site is the writer.
fn check_direction(group: &Failover, rule: &Rule, number: usize, diagnostics: &mut Diagnostics) {
    if rule.destination.registry == group.writer {
        let sentence = format!(
            "the rule copies to the writer of the group {:?}: remove it, because the reverse of each rule is derived and used after a switch",
            group.name
        );
        let path = Path::of("rules").index(number).key("destination").key("registry");
        diagnostics.error(path, invalid(sentence));
    }
}

/// Clients pull the same repository and tag from every site.
fn check_names(group: &Failover, rule: &Rule, number: usize, diagnostics: &mut Diagnostics) {
    if !rule.keeps_names() {
        let sentence = format!(
            "the rule renames images, but clients of the group {:?} pull the same names from every site: write the namespace of the source, and no templates",
            group.name
        );
        diagnostics.error(Path::of("rules").index(number).key("destination"), invalid(sentence));
    }
}

/// A rule has one direction, so one group decides it.
fn check_one_group(document: &Document, group: &Failover, rule: &Rule, number: usize, diagnostics: &mut Diagnostics) {
    let before = document.failover.iter().take_while(|other| other.name != group.name);
    for other in before.filter(|other| other.has_rule(rule)) {
        let sentence = format!(
            "the rule is between sites of the groups {:?} and {:?}, and each would reverse it: use one group with several zones",
            other.name, group.name
        );
        diagnostics.error(Path::of("rules").index(number).key("destination"), invalid(sentence));
    }
}

/// The rules are valid also while another site is the writer.
fn check_reverse(document: &Document, group: &Failover, path: &Path, diagnostics: &mut Diagnostics) {
    if !diagnostics.is_clean() {
        return;
    }
    for site in group.sites.iter().filter(|site| site.registry != group.writer) {
        let writers = Writers::from([(group.name.clone(), site.registry.clone())]);
        let reversed = document.with_writers(&writers);
        let name = reversed
            .rules
            .iter()
            .enumerate()
            .find(|(position, rule)| *position >= document.rules.len() && document.rule(&rule.name).is_some());
        if let Some((_, rule)) = name {
            let sentence = format!("the name {:?} is that of a derived rule: rename the rule", rule.name);
            diagnostics.error(path.clone(), invalid(sentence));
            return;
        }
        let mut found = Diagnostics::default();
        topology::check(&reversed, &mut found);
        if let Some(why) = found.first() {
            let sentence = format!(
                "the rules would not be valid while {:?} is the writer: {why}",
                site.registry
            );
            diagnostics.error(path.key("sites"), invalid(sentence));
            return;
        }
    }
}
