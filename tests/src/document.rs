//! The configuration of a scenario: source `a`, destination `b`, and the rules between them.

use std::collections::BTreeMap;

/// Builds the one document `serve` reads.
#[derive(Debug, Clone, Default)]
pub struct Document {
    registries: BTreeMap<String, String>,
    rules: Vec<String>,
    imports: Vec<String>,
    groups: Vec<String>,
}

impl Document {
    /// Registry `a` at `source` (its deliveries need [`crate::HOOK_SECRET`]) and registry `b` at `destination`; no rule.
    pub fn between(source: &str, destination: &str) -> Self {
        Self::default()
            .registry("a", source, "webhook: { secret: \"env:HOOK\" }")
            .registry("b", destination, "description: the other side")
    }

    /// Adds or replaces a registry; `host` may be a whole endpoint; `more` are further fields in YAML flow style.
    #[must_use]
    pub fn registry(mut self, name: &str, host: &str, more: &str) -> Self {
        let scheme = if host.contains("://") { "" } else { "http://" };
        let fields = format!("{{ provider: distribution, endpoint: \"{scheme}{host}\", {more} }}");
        self.registries.insert(name.to_owned(), fields);
        self
    }

    /// Adds a rule from namespace `from` of `a` to namespace `to` of `b`; `more` are further fields in YAML flow style,
    /// such as `existing: overwrite`.
    #[must_use]
    pub fn rule(self, name: &str, from: &str, to: &str, more: &str) -> Self {
        self.rule_between(name, ("a", from), ("b", to), more)
    }

    /// The same between the namespaces of any two registries.
    #[must_use]
    pub fn rule_between(mut self, name: &str, from: (&str, &str), to: (&str, &str), more: &str) -> Self {
        let more = if more.is_empty() { "enabled: true" } else { more };
        self.rules.push(format!(
            "{{ name: {name}, source: {{ registry: {}, namespace: \"{}\" }}, \
             destination: {{ registry: {}, namespace: \"{}\" }}, trigger: [event], {more} }}",
            from.0, from.1, to.0, to.1
        ));
        self
    }

    /// Adds an import of what lies below `prefix` of `bucket` into namespace `to` of `b`.
    #[must_use]
    pub fn import(mut self, name: &str, bucket: &str, prefix: &str, to: &str) -> Self {
        self.imports.push(format!(
            "{{ name: {name}, bucket: {bucket}, prefix: \"{prefix}\", destination: {{ registry: b, namespace: \"{to}\" }} }}"
        ));
        self
    }

    /// Adds a failover group, in YAML flow style.
    #[must_use]
    pub fn failover(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }

    /// The document as YAML.
    pub fn yaml(&self) -> String {
        let registries: Vec<_> = self
            .registries
            .iter()
            .map(|(name, fields)| format!("  {name}: {fields}\n"))
            .collect();
        let list = |name: &str, entries: &[String]| {
            let lines: Vec<_> = entries.iter().map(|entry| format!("  - {entry}\n")).collect();
            let none = if entries.is_empty() { " []" } else { "" };
            format!("{name}:{none}\n{}", lines.concat())
        };
        format!(
            "version: 1\nregistries:\n{}{}{}{}",
            registries.concat(),
            list("rules", &self.rules),
            list("imports", &self.imports),
            list("failover", &self.groups)
        )
    }
}
