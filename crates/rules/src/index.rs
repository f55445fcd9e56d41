//! Finds the rules that can match a push without looking at all of them.

use std::collections::HashMap;

use transship_oci::Repository;

use crate::pattern::Scope;
use crate::rule::Rule;

/// The rules by their source registry and by what their repositories begin with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index(HashMap<String, Places>);

/// The rules of one source registry, by their positions in the document.
#[derive(Debug, Clone, Default)]
struct Places {
    /// By the name of one repository.
    names: HashMap<String, Vec<u32>>,
    /// By what the names begin with.
    prefixes: HashMap<String, Vec<u32>>,
    /// The lengths of these texts, each once, ascending.
    lengths: Vec<usize>,
}

impl Index {
    pub(crate) fn of(rules: &[Rule]) -> Self {
        let mut index: HashMap<String, Places> = HashMap::new();
        for (position, rule) in (0_u32..).zip(rules) {
            let places = index.entry(rule.source.registry.clone()).or_default();
            for Scope { text, is_exact } in rule.source.scopes() {
                let rules = if is_exact {
                    places.names.entry(text).or_default()
                } else {
                    places.prefixes.entry(text).or_default()
                };
                if rules.last() != Some(&position) {
                    rules.push(position);
                }
            }
        }
        for places in index.values_mut() {
            places.lengths = places.prefixes.keys().map(String::len).collect();
            places.lengths.sort_unstable();
            places.lengths.dedup();
        }
        Self(index)
    }

    /// The positions of the rules that can match a push to `repository`, in the order of the document.
    pub(crate) fn candidates(&self, registry: &str, repository: &Repository) -> Vec<u32> {
        let Some(places) = self.0.get(registry) else {
            return Vec::new();
        };
        let name = repository.as_str();
        let prefixes = places.lengths.iter().filter_map(|length| name.get(..*length));
        let mut found: Vec<u32> = prefixes
            .filter_map(|prefix| places.prefixes.get(prefix))
            .chain(places.names.get(name))
            .flatten()
            .copied()
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
