//! Two rules that write one destination tag from different sources: the last push would have it.
//!
//! Refused are rules that name their images in the same way and select a common name, and rules that name one repository. Rules
//! that meet only if a source has a repository of a special name (`team/app` in `core` beside `app` in `core/team`) are a
//! warning. A link that is the exception for one of them allows both.

use std::collections::{BTreeMap, HashMap};

use transship_oci::Code;

use super::identity::Identities;
use crate::error::{Diagnostics, fault};
use crate::path::Path;
use crate::pattern::{Filter, Scope};
use crate::rule::Rule;

/// Rules that a rule is compared with, of those that write the same names.
const COMPARED_MAX: usize = 64;
/// The same for rules that keep paths.
const OVERLAPS_COMPARED_MAX: usize = 16;

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
    let overlaps = Keepers::of(rules, identities).overlaps();
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
            report(position, rule, other, true, diagnostics);
        } else if let Some(overlap) = overlaps.get(&position) {
            report(position, rule, overlap.other, overlap.is_certain, diagnostics);
        }
    }
}

fn report(position: usize, rule: &Rule, other: &Rule, is_certain: bool, diagnostics: &mut Diagnostics) {
    let source = |rule: &Rule| {
        let source = format!("{}/{}", rule.source.registry, rule.source.namespace);
        source.trim_end_matches('/').to_owned()
    };
    let verb = if is_certain { "write" } else { "can write" };
    let sentence = format!(
        "the rules {:?} and {:?} {verb} the same tags from different sources ({} and {}), so that the last push would have them: give each a namespace of its own, choose different tags, or allow one of them under links",
        other.name,
        rule.name,
        source(other),
        source(rule)
    );
    let path = Path::of("rules").index(position).key("destination");
    if is_certain {
        diagnostics.error(path, fault(Code::DestinationConflict, sentence));
    } else {
        diagnostics.warn(Code::DestinationConflict, &path, sentence);
    }
}

impl Writer<'_> {
    /// True if both write a tag that the other writes, of another image.
    fn collides(&self, other: &Self) -> bool {
        let is_one_source = self.registry == other.registry && self.read == other.read;
        self.position != other.position && !is_one_source && tags_meet(self.rule, other.rule)
    }
}

/// True if two rules certainly write tags of the same names and kinds, in a repository that both write.
fn tags_meet(one: &Rule, two: &Rule) -> bool {
    let is_of_one_kind =
        one.kinds.is_empty() || two.kinds.is_empty() || one.kinds.iter().any(|kind| two.kinds.contains(kind));
    is_of_one_kind
        && one.source.labels.is_empty()
        && two.source.labels.is_empty()
        && one.destination.naming.tag_pattern() == two.destination.naming.tag_pattern()
        && one.source.tag.certainly_meets(&two.source.tag)
}

/// The rules that keep the path below a place of the destination, by registry and place.
struct Keepers<'r>(BTreeMap<(u32, String), Vec<Keeper<'r>>>);

struct Keeper<'r> {
    position: usize,
    rule: &'r Rule,
    registry: u32,
    /// The source namespace, with a slash at its end.
    read: String,
}

/// That a rule and an earlier one write a repository of one name.
struct Overlap<'r> {
    other: &'r Rule,
    is_certain: bool,
}

impl<'r> Keepers<'r> {
    fn of(rules: &[(usize, &'r Rule)], identities: &Identities<'_>) -> Self {
        let mut keepers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for &(position, rule) in rules {
            if let Some(place) = kept_below(rule) {
                let to = identities.number(&rule.destination.registry);
                keepers.entry((to, place)).or_default().push(Keeper {
                    position,
                    rule,
                    registry: identities.number(&rule.source.registry),
                    read: rule.source.namespace.scope(&Scope::ALL).text,
                });
            }
        }
        Self(keepers)
    }

    /// Rules that overlap with an earlier one, by position. Each is compared with those of its own place and of the places around
    /// it, [`OVERLAPS_COMPARED_MAX`] of each.
    fn overlaps(&self) -> HashMap<usize, Overlap<'r>> {
        let mut found: HashMap<usize, Overlap<'r>> = HashMap::new();
        for ((to, place), inner) in &self.0 {
            let ends = place.match_indices('/').map(|(slash, _)| slash + 1);
            for (outer, shift) in std::iter::once(0)
                .chain(ends)
                .filter_map(|end| place.split_at_checked(end))
            {
                let Some(outer) = self.0.get(&(*to, outer.to_owned())) else {
                    continue;
                };
                for inner in inner {
                    let mut others = outer.iter().take(OVERLAPS_COMPARED_MAX);
                    if let Some(outer) = others.find(|outer| outer.shares_a_name(inner, shift)) {
                        let (earlier, later) = if outer.position < inner.position {
                            (outer, inner)
                        } else {
                            (inner, outer)
                        };
                        let is_certain = shift.is_empty();
                        let overlap = found.entry(later.position).or_insert(Overlap {
                            other: earlier.rule,
                            is_certain,
                        });
                        if is_certain && !overlap.is_certain {
                            *overlap = Overlap {
                                other: earlier.rule,
                                is_certain,
                            };
                        }
                    }
                }
            }
        }
        found
    }
}

impl Keeper<'_> {
    /// True if both rules write a repository of one name, of different images: `inner` writes it `shift` below the place of this
    /// one.
    fn shares_a_name(&self, inner: &Self, shift: &str) -> bool {
        let is_one_source =
            self.registry == inner.registry && inner.read.strip_prefix(self.read.as_str()) == Some(shift);
        if self.position == inner.position || is_one_source || !tags_meet(self.rule, inner.rule) {
            return false;
        }
        let (of_outer, of_inner) = (&self.rule.source.repository, &inner.rule.source.repository);
        let suggested = names_of(of_outer)
            .into_iter()
            .filter_map(|name| Some(name.strip_prefix(shift)?.to_owned()));
        let mut names = names_of(of_inner).into_iter().chain(suggested);
        names.any(|name| of_inner.admits(&name) && of_outer.admits(&format!("{shift}{name}")))
    }
}

/// The place at the destination below which `rule` writes the path that a repository has below the source namespace.
fn kept_below(rule: &Rule) -> Option<String> {
    let pattern = rule.destination.naming.pattern();
    let place = pattern.strip_suffix("{below}")?;
    (!place.contains('{') && (place.is_empty() || place.ends_with('/'))).then(|| place.to_owned())
}

/// Names that pass `filter`, as far as what they begin with shows it.
fn names_of(filter: &Filter) -> Vec<String> {
    let name = |scope: Scope| {
        if scope.is_exact {
            scope.text
        } else {
            format!("{}app", scope.text)
        }
    };
    filter.scopes().into_iter().take(COMPARED_MAX).map(name).collect()
}
