//! Which registries of a document are one registry with several names.

use std::collections::{BTreeMap, HashMap};

use crate::registry::Registry;

/// A number for each registry: the same for two names of one registry.
pub(super) struct Identities<'a>(HashMap<&'a str, u32>);

impl<'a> Identities<'a> {
    /// Two registries are the same if they share a host.
    pub(super) fn of(registries: &'a BTreeMap<String, Registry>) -> Self {
        let mut parent: Vec<u32> = Vec::with_capacity(registries.len());
        let mut owner: HashMap<String, u32> = HashMap::new();
        for (number, registry) in (0_u32..).zip(registries.values()) {
            parent.push(number);
            for host in registry.canonical_hosts() {
                let earlier = *owner.entry(host).or_insert(number);
                let (one, other) = (root(&parent, earlier), root(&parent, number));
                parent[one.max(other) as usize] = one.min(other);
            }
        }
        let numbers = (0_u32..).zip(registries.keys());
        Self(
            numbers
                .map(|(number, name)| (name.as_str(), root(&parent, number)))
                .collect(),
        )
    }

    /// The number of the registry `name`; that of no registry if there is none.
    pub(super) fn number(&self, name: &str) -> u32 {
        self.0.get(name).copied().unwrap_or(u32::MAX)
    }
}

fn root(parent: &[u32], mut number: u32) -> u32 {
    while parent[number as usize] != number {
        number = parent[number as usize];
    }
    number
}
