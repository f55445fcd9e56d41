//! The document: parses and validates it, and evaluates its rules for a push.

use std::collections::BTreeMap;

use transship_oci::RegistryHost;

use crate::check;
use crate::error::Errors;
use crate::error::{Diagnostics, Warning};
use crate::failover::Failover;
use crate::import::Import;
use crate::index::Index;
use crate::policy::Topology;
use crate::registry::Registry;
use crate::rule::Rule;
use crate::syntax;
use crate::verdict::{Evaluation, Pushed, Verdict};

/// A validated document: registries, rules and imports.
#[derive(Debug, Clone)]
pub struct Document {
    /// The registries by name.
    pub registries: BTreeMap<String, Registry>,
    /// Which chains of rules are allowed.
    pub topology: Topology,
    /// Exceptions to topology and partitions.
    pub links: Vec<Link>,
    /// The rules, in the order of the document.
    pub rules: Vec<Rule>,
    /// The imports, in the order of the document.
    pub imports: Vec<Import>,
    /// The failover groups, in the order of the document.
    pub failover: Vec<Failover>,
    /// Finds rules by what they read.
    pub(crate) index: Index,
}

/// An exception: rules from one registry to the other do not count for cycles and partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name or the region of the source registry.
    pub from: String,
    /// The name or the region of the destination registry.
    pub to: String,
    /// Why the exception is safe.
    pub because: String,
}

/// A document and its warnings.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The document.
    pub document: Document,
    /// Settings that are probably a mistake.
    pub warnings: Vec<Warning>,
}

impl Document {
    /// Parses a document, YAML or JSON. It is accepted or rejected as a whole. The error lists every fault that can be
    /// distinguished, with the path of its field and, if known, line and column.
    pub fn parse(text: &str) -> Result<Parsed, Errors> {
        let raw = syntax::read(text)?;
        let mut diagnostics = Diagnostics::default();
        let document = check::document(raw, &mut diagnostics);
        let warnings = diagnostics.finish(text)?;
        Ok(Parsed { document, warnings })
    }

    /// The result of each rule, in the order of the document, for a push to the registry named `source_registry`.
    pub fn evaluate(&self, source_registry: &str, pushed: &Pushed<'_>) -> Vec<Evaluation<'_>> {
        self.rules
            .iter()
            .map(|rule| Evaluation {
                rule,
                verdict: rule.evaluate(source_registry, pushed),
            })
            .collect()
    }

    /// The rules that match a push to the registry named `source_registry`, with their destinations, in the order of the
    /// document. The time does not depend on the number of rules that read elsewhere.
    pub fn matching<'a>(
        &'a self,
        source_registry: &'a str,
        pushed: &'a Pushed<'_>,
    ) -> impl Iterator<Item = Evaluation<'a>> {
        let found = self.candidates(source_registry, pushed);
        found.filter(|found| !matches!(found.verdict, Verdict::No(_)))
    }

    /// The results of the rules whose registry and repositories can be those of a push, in the order of the document. No other
    /// rule matches.
    pub fn candidates<'a>(
        &'a self,
        source_registry: &'a str,
        pushed: &'a Pushed<'_>,
    ) -> impl Iterator<Item = Evaluation<'a>> {
        let positions = self.index.candidates(source_registry, pushed.repository);
        let rules = positions
            .into_iter()
            .filter_map(|position| self.rules.get(position as usize));
        rules.map(|rule| Evaluation {
            rule,
            verdict: rule.evaluate(source_registry, pushed),
        })
    }

    /// The names of the registries with the host `host`.
    pub fn registries_called<'a>(&'a self, host: &'a RegistryHost) -> impl Iterator<Item = (&'a str, &'a Registry)> {
        self.registries
            .iter()
            .filter(|(_, registry)| registry.is_called(host))
            .map(|(name, registry)| (name.as_str(), registry))
    }

    /// The registry that `host` names: one of its hosts, or else the name of a failover group, which leads to its writer.
    pub fn registry_at(&self, host: &RegistryHost) -> Option<&str> {
        let mut registries = self.registries.iter();
        if let Some((name, _)) = registries.find(|(_, registry)| registry.is_called(host)) {
            return Some(name);
        }
        let group = self.failover.iter().find(|group| group.is_called(host))?;
        Some(&group.writer)
    }

    /// The rule named `name`.
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// The import named `name`.
    pub fn import(&self, name: &str) -> Option<&Import> {
        self.imports.iter().find(|import| import.name == name)
    }
}
