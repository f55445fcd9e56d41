//! Which rules lead from the writer of a group to a site.

use std::collections::BTreeSet;

use transship_rules::{Document, Failover, Rule, Writers};

/// The rules in force between sites of `group` while `writer` is the writer, each under the name that its tasks have then.
/// `document` is the written one.
pub fn rules_between(document: &Document, group: &Failover, writer: &str) -> Vec<Rule> {
    let writers = Writers::from([(group.name.clone(), writer.to_owned())]);
    let rules = document.with_writers(&writers).rules.into_iter();
    rules.filter(|rule| rule.enabled && group.has_rule(rule)).collect()
}

/// The rules that lead from `writer` to `site`, directly or through other sites. Empty if none does.
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
