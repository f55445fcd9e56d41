//! Which rules lead from the writer of a group to a site.

use std::collections::BTreeSet;

use transship_rules::{Document, Failover, Rule};

/// The enabled rules between sites of `group`, as they are while `writer` is the writer: each leads away from it.
pub fn rules_between(document: &Document, group: &Failover, writer: &str) -> Vec<Rule> {
    let is_site = |registry: &str| group.site(registry).is_some();
    let written = document.rules.iter().filter(|rule| {
        let (from, to) = (rule.source.registry.as_str(), rule.destination.registry.as_str());
        rule.enabled && from != to && is_site(from) && is_site(to)
    });
    let mut left: Vec<Rule> = written.cloned().collect();
    let (mut reached, mut rules) = (BTreeSet::from([writer.to_owned()]), Vec::new());
    while !left.is_empty() {
        let (near, far): (Vec<Rule>, Vec<Rule>) = left
            .into_iter()
            .partition(|rule| reached.contains(&rule.source.registry) || reached.contains(&rule.destination.registry));
        if near.is_empty() {
            break;
        }
        let mut next = reached.clone();
        for mut rule in near {
            if !reached.contains(&rule.source.registry) {
                std::mem::swap(&mut rule.source.registry, &mut rule.destination.registry);
            }
            next.insert(rule.destination.registry.clone());
            rules.push(rule);
        }
        (reached, left) = (next, far);
    }
    rules
}

/// The rules on any way from `writer` to `site`, the last of each way among them. Empty if there is no way.
pub fn legs_to<'a>(rules: &'a [Rule], writer: &str, site: &str) -> Vec<&'a Rule> {
    let from_writer = reach(rules, writer, |rule| {
        (&rule.source.registry, &rule.destination.registry)
    });
    let to_site = reach(rules, site, |rule| (&rule.destination.registry, &rule.source.registry));
    let is_on_way = |rule: &&Rule| {
        from_writer.contains(rule.source.registry.as_str()) && to_site.contains(rule.destination.registry.as_str())
    };
    rules.iter().filter(is_on_way).collect()
}

/// `start`, and what can be reached from it by rules, each from its first to its second end.
fn reach<'a>(
    rules: &'a [Rule],
    start: &'a str,
    ends: impl Fn(&'a Rule) -> (&'a String, &'a String),
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::from([start]);
    // Each round reaches one more registry, or is the last.
    for _ in rules {
        for rule in rules {
            let (near, far) = ends(rule);
            if reached.contains(near.as_str()) {
                reached.insert(far);
            }
        }
    }
    reached
}
