//! Two rules that write one destination tag from different sources: the last push would have it.
//!
//! Only what is certain is refused: rules that name their images in the same way and select the same names, or that name one
//! repository. A link that is the exception for one of them allows both.

use std::collections::HashMap;

use transship_oci::Code;

use super::identity::Identities;
use crate::error::{Diagnostics, fault};
use crate::path::Path;
use crate::pattern::Scope;
use crate::rule::Rule;

/// Rules that a rule is compared with, of those that write the same names.
const COMPARED_MAX: usize = 64;

/// What two rules have in common if they give the same names.
#[derive(PartialEq, Eq, Hash)]
enum Names {
    /// The same pattern of names, of repositories that the same filter selects.
    Pattern(u32, String, String),
    /// One repository.
    Repository(u32, String),
}

/// A rule, and what it reads.
struct Writer<'r> {
    position: usize,
    rule: &'r Rule,
    registry: u32,
    read: Scope,
}

/// Reports each rule that writes the tags of an earlier one.
pub(super) fn check(rules: &[(usize, &Rule)], identities: &Identities<'_>, diagnostics: &mut Diagnostics) {
    let mut known: HashMap<Names, Vec<Writer<'_>>> = HashMap::new();
    for &(position, rule) in rules {
        let registry = identities.number(&rule.source.registry);
        let to = identities.number(&rule.destination.registry);
        let naming = &rule.destination.naming;
        let namespace = rule.source.namespace.scope(&Scope::ALL);
        let selected = rule.source.repository.signature();
        let mut names = vec![(Names::Pattern(to, naming.pattern(), selected), namespace)];
        for read in rule.source.scopes() {
            let written = naming.scope(&read);
            if written.is_exact {
                names.push((Names::Repository(to, written.text), read));
            }
        }
        let mut other = None;
        for (names, read) in names {
            let writer = Writer {
                position,
                rule,
                registry,
                read,
            };
            let writers = known.entry(names).or_default();
            let earlier = writers
                .iter()
                .take(COMPARED_MAX)
                .find(|earlier| earlier.collides(&writer));
            other = other.or(earlier.map(|earlier| earlier.rule));
            writers.push(writer);
        }
        if let Some(other) = other {
            report(position, rule, other, diagnostics);
        }
    }
}

fn report(position: usize, rule: &Rule, other: &Rule, diagnostics: &mut Diagnostics) {
    let source = |rule: &Rule| {
        let source = format!("{}/{}", rule.source.registry, rule.source.namespace);
        source.trim_end_matches('/').to_owned()
    };
    let sentence = format!(
        "the rules {:?} and {:?} write the same tags from different sources ({} and {}), so that the last push would have them: give each a namespace of its own, choose different tags, or allow one of them under links",
        other.name,
        rule.name,
        source(other),
        source(rule)
    );
    let path = Path::of("rules").index(position).key("destination");
    diagnostics.error(path, fault(Code::DestinationConflict, sentence));
}

impl Writer<'_> {
    /// True if both write a tag that the other writes, of another image.
    fn collides(&self, other: &Self) -> bool {
        let is_one_source = self.registry == other.registry && self.read == other.read;
        let (one, two) = (self.rule, other.rule);
        let is_of_one_kind =
            one.kinds.is_empty() || two.kinds.is_empty() || one.kinds.iter().any(|kind| two.kinds.contains(kind));
        self.position != other.position
            && !is_one_source
            && is_of_one_kind
            && one.source.labels.is_empty()
            && two.source.labels.is_empty()
            && one.destination.naming.tag_pattern() == two.destination.naming.tag_pattern()
            && one.source.tag.certainly_meets(&two.source.tag)
    }
}
