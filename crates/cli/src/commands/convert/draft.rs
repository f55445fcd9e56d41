//! The document that is being made: registries, rules, and what has no equivalent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use transship_oci::{Code, Provider, Result};
use transship_rules::Document;

use super::invalid;
use crate::failure::Failure;

/// The document that is being made.
#[derive(Debug, Default)]
pub(super) struct Draft {
    registries: BTreeMap<String, Registry>,
    rules: Vec<Rule>,
    lost: Vec<String>,
}

/// A registry of the document.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    pub(super) provider: Provider,
    pub(super) endpoint: String,
    /// A reference to its credentials.
    pub(super) credentials: Option<String>,
    pub(super) requests_per_second: Option<f64>,
    pub(super) region: Option<String>,
}

impl Registry {
    pub(super) fn new(provider: Provider, endpoint: impl Into<String>) -> Self {
        Self {
            provider,
            endpoint: endpoint.into(),
            credentials: None,
            requests_per_second: None,
            region: None,
        }
    }
}

/// A rule of the document.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) enabled: bool,
    pub(super) on_event: bool,
    /// A cron expression of five fields.
    pub(super) schedule: Option<String>,
    /// The fields of `source`, in their order.
    pub(super) source: Vec<(&'static str, Value)>,
    /// The fields of `destination`, in their order.
    pub(super) destination: Vec<(&'static str, Value)>,
    /// Further fields, in their order.
    pub(super) more: Vec<(&'static str, Value)>,
}

impl Rule {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: None,
            enabled: true,
            on_event: false,
            schedule: None,
            source: Vec::new(),
            destination: Vec::new(),
            more: Vec::new(),
        }
    }
}

impl Draft {
    /// Adds a registry called like `wanted`; returns its name, which is that of an equal one if there is one.
    pub(super) fn registry(&mut self, wanted: &str, registry: Registry) -> String {
        let known = self
            .registries
            .iter_mut()
            .find(|(_, known)| host(&known.endpoint) == host(&registry.endpoint));
        if let Some((name, known)) = known {
            known.credentials = known.credentials.take().or(registry.credentials);
            return name.clone();
        }
        let name = free(&word(wanted), |name| self.registries.contains_key(name));
        self.registries.insert(name.clone(), registry);
        name
    }

    /// Adds a rule; its name is made valid and unique.
    pub(super) fn rule(&mut self, mut rule: Rule) {
        rule.name = free(&word(&rule.name), |name| {
            self.rules.iter().any(|rule| rule.name == name)
        });
        self.rules.push(rule);
    }

    /// Notes what has no equivalent.
    pub(super) fn lose(&mut self, sentence: impl Into<String>) {
        let sentence = one_line(&sentence.into());
        if !self.lost.contains(&sentence) {
            self.lost.push(sentence);
        }
    }

    /// The document and what has no equivalent. A rule that the document cannot hold is switched off or left out.
    pub(super) fn finish(mut self, tool: &str) -> Result<(String, Vec<String>), Failure> {
        if self.registries.is_empty() {
            return Err(invalid("the file has nothing to convert: it names no registry"));
        }
        loop {
            let text = self.text(tool);
            let Err(errors) = Document::parse(&text) else {
                return Ok((text, self.lost));
            };
            // From the last to the first, so that what is left out moves none that is still to come.
            let mut faults: BTreeMap<usize, (Code, String)> = BTreeMap::new();
            for error in errors.iter() {
                let Some(number) = rule_of(error.path()) else {
                    return Err(invalid(&format!("the configuration cannot be converted: {error}")));
                };
                let sentence = error.fault.message().to_owned();
                faults.entry(number).or_insert((error.fault.kind(), sentence));
            }
            for (number, (code, sentence)) in faults.into_iter().rev() {
                self.give_way(number, code, &sentence)?;
            }
        }
    }

    /// Switches a rule off, or leaves it out if that does not help.
    fn give_way(&mut self, number: usize, code: Code, sentence: &str) -> Result<(), Failure> {
        let Some(rule) = self.rules.get_mut(number) else {
            return Err(invalid(&format!("the configuration cannot be converted: {sentence}")));
        };
        let is_between_rules = matches!(code, Code::RuleCycle | Code::DestinationConflict);
        let (name, was_enabled) = (rule.name.clone(), rule.enabled);
        let code = code.as_str();
        if is_between_rules && was_enabled {
            rule.enabled = false;
            self.lose(format!("rule {name}: switched off, because of {code}: {sentence}"));
        } else {
            self.rules.remove(number);
            self.lose(format!("rule {name}: left out, because of {code}: {sentence}"));
        }
        Ok(())
    }

    fn text(&self, tool: &str) -> String {
        let mut text = format!("# Made by transship convert {tool}.\n");
        if !self.lost.is_empty() {
            text.push_str("# Without an equivalent:\n");
            for sentence in &self.lost {
                let _ = writeln!(text, "# - {sentence}");
            }
        }
        text.push_str("version: 1\nregistries:\n");
        for (name, registry) in &self.registries {
            let _ = writeln!(text, "  {name}:");
            let mut field = |key: &str, value: Value| {
                let _ = writeln!(text, "    {key}: {value}");
            };
            field("provider", json!(registry.provider.as_str()));
            field("endpoint", json!(registry.endpoint));
            if let Some(region) = &registry.region {
                field("region", json!(region));
            }
            if let Some(credentials) = &registry.credentials {
                field("credentials", json!(credentials));
            }
            if self.sends_events(name) && registry.provider.cloud().is_none() {
                field("webhook", json!({ "secret": format!("env:{}_HOOK", variable(name)) }));
            }
            if let Some(rate) = registry.requests_per_second {
                field("limits", json!({ "requests_per_second": rate }));
            }
        }
        text.push_str(if self.rules.is_empty() {
            "rules: []\n"
        } else {
            "rules:\n"
        });
        for rule in &self.rules {
            rule.write(&mut text);
        }
        text
    }

    fn sends_events(&self, registry: &str) -> bool {
        let is_source = |rule: &Rule| {
            rule.source
                .iter()
                .any(|(key, value)| *key == "registry" && value == registry)
        };
        self.rules.iter().any(|rule| rule.on_event && is_source(rule))
    }
}

impl Rule {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "  - name: {}", json!(self.name));
        let mut field = |key: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "    {key}: {value}");
        };
        if let Some(description) = &self.description {
            field("description", &json!(description));
        }
        if !self.enabled {
            field("enabled", &false);
        }
        field("source", &flow(&self.source));
        field("destination", &flow(&self.destination));
        let event = self.on_event.then(|| "event".to_owned());
        let schedule = self
            .schedule
            .as_ref()
            .map(|schedule| flow(&[("schedule", json!(schedule))]));
        let triggers: Vec<String> = event.into_iter().chain(schedule).collect();
        field("trigger", &format_args!("[{}]", triggers.join(", ")));
        for (key, value) in &self.more {
            field(key, value);
        }
    }
}

/// A cron expression of five fields, if `text` is one in the syntax that every cron has.
pub(super) fn schedule(text: &str) -> Option<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let is_plain = |field: &&str| {
        field
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"*,/-".contains(&byte))
    };
    (fields.len() == 5 && fields.iter().all(is_plain)).then(|| fields.join(" "))
}

/// A mapping in one line. JSON is YAML.
fn flow(fields: &[(&'static str, Value)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{ {} }}", fields.join(", "))
}

/// An address without its scheme.
fn host(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, host)| host)
}

/// The position of the rule in `rules[3].source`.
fn rule_of(path: &str) -> Option<usize> {
    path.strip_prefix("rules[")?.split_once(']')?.0.parse().ok()
}

/// `text` as a name of the document.
pub(super) fn word(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mapped: String = lower
        .chars()
        .map(|character| match character {
            'a'..='z' | '0'..='9' | '-' | '.' | '_' => character,
            _ => '-',
        })
        .take(100)
        .collect();
    match mapped.trim_matches(['-', '.', '_']) {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// The name of an environment variable for a registry.
pub(super) fn variable(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '_'
            }
        })
        .collect()
}

fn free(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(wanted) {
        return wanted.to_owned();
    }
    let numbered = (2_u32..).map(|number| format!("{wanted}-{number}"));
    numbered
        .into_iter()
        .find(|name| !is_taken(name))
        .unwrap_or_else(|| wanted.to_owned())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
