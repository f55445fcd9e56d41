//! From the written document to the one that is used: every field is read, and everything that cannot be honoured is
//! refused with its path.

mod failover;
mod import;
mod pattern;
mod registry;
mod rule;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};

use transship_oci::{Code, Kind, Provider};

use crate::document::{Document, Link};
use crate::error::{Diagnostics, fault, shown};
use crate::index::Index;
use crate::namespace::Namespace;
use crate::path::Path;
use crate::raw;
use crate::registry::Registry;
use crate::rule::Source;
use crate::topology;

/// The registries that the document names.
type Known = BTreeMap<String, Provider>;

/// Checks the whole document. What could not be read is missing from the result, and noted in `diagnostics`.
pub(crate) fn document(raw: raw::Document, diagnostics: &mut Diagnostics) -> Document {
    if raw.version != 1 {
        let sentence = format!("version {} of the document is not known: write 1", raw.version);
        diagnostics.error(Path::of("version"), fault(Code::ConfigInvalid, sentence));
    }
    let providers = raw.registries.iter();
    let names: Known = providers.map(|(name, raw)| (name.clone(), raw.provider)).collect();
    let regions: BTreeSet<String> = raw.registries.values().filter_map(|raw| raw.region.clone()).collect();
    let registries: BTreeMap<String, Registry> = raw
        .registries
        .into_iter()
        .filter_map(|(name, raw)| {
            let path = Path::of("registries").key(&name);
            registry::registry(&name, raw, &path, diagnostics).map(|registry| (name, registry))
        })
        .collect();
    let links = raw
        .links
        .into_iter()
        .enumerate()
        .map(|(position, link)| {
            check_link(
                link,
                (&names, &regions),
                &Path::of("links").index(position),
                diagnostics,
            )
        })
        .collect();
    let rule_names: BTreeSet<String> = raw.rules.iter().map(|rule| rule.name.clone()).collect();
    let rules = rule::rules(raw.rules, &names, diagnostics);
    let imports = import::imports(raw.imports, &rule_names, &names, diagnostics);
    let failover = failover::groups(raw.failover, &names, diagnostics);
    let later = [("operators", raw.operators), ("notify", raw.notify)];
    for (key, _) in later.into_iter().filter(|(_, section)| section.is_some()) {
        diagnostics.not_yet(Path::of(key), &format!("the section {key}"));
    }
    let document = Document {
        registries,
        topology: raw.topology,
        links,
        index: Index::of(&rules),
        rules,
        imports,
        failover,
    };
    // Where a rule leads is only known when all of them could be read.
    if diagnostics.is_clean() {
        topology::check(&document, diagnostics);
        warn_of_deliveries(&document, diagnostics);
        import::warn_of_overlaps(&document, diagnostics);
        failover::check_rules(&document, diagnostics);
    }
    document
}

/// The images of a selection that a document had; [`None`] if this release cannot read it.
pub(crate) fn selected_source(raw: &raw::Source) -> Option<Source> {
    let mut diagnostics = Diagnostics::default();
    // Its registry need not be in the document any more.
    let known = Known::from([(raw.registry.clone(), Provider::Generic)]);
    let source = rule::source(raw, &Path::of("source"), &known, &mut diagnostics);
    source.filter(|_| diagnostics.is_clean())
}

/// The kinds of such a selection.
pub(crate) fn selected_kinds(raw: &[raw::KindWord]) -> Vec<Kind> {
    rule::kinds(raw)
}

fn check_link(
    raw: raw::Link,
    (names, regions): (&Known, &BTreeSet<String>),
    path: &Path,
    diagnostics: &mut Diagnostics,
) -> Link {
    for (key, name) in [("from", &raw.from), ("to", &raw.to)] {
        if !regions.contains(name) {
            check_known(name, names, &path.key(key), diagnostics);
        }
    }
    if raw.because.trim().is_empty() {
        let sentence = "the reason is empty: say why this exception is safe".to_owned();
        diagnostics.error(path.key("because"), fault(Code::ConfigInvalid, sentence));
    }
    Link {
        from: raw.from,
        to: raw.to,
        because: raw.because,
    }
}

/// Notes a fault if no registry is called `name`.
fn check_known(name: &str, names: &Known, path: &Path, diagnostics: &mut Diagnostics) {
    if names.contains_key(name) {
        return;
    }
    let known = names.keys().map(String::as_str);
    let hint = did_you_mean(name, known).unwrap_or_else(|| "write it under registries first".to_owned());
    let sentence = format!("there is no registry {}: {hint}", shown(name));
    diagnostics.error(path.clone(), fault(Code::UnknownRegistry, sentence));
}

/// A suggestion of the nearest of `known`, if one is near.
fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let (_, nearest) = known
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3 + usize::from(known.len() > 2))?;
    Some(format!("did you mean {nearest}?"))
}

fn namespace(text: &str, path: &Path, diagnostics: &mut Diagnostics) -> Option<Namespace> {
    let parsed = Namespace::parse(text).map_err(|why| fault(Code::RuleInvalid, format!("{} {why}", shown(text))));
    diagnostics.accept(path, parsed)
}

/// `[a-z0-9][a-z0-9-._]*`, at most 128 characters: fit for an address and for a file name.
fn check_name(name: &str) -> Result<(), String> {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = name.len() <= 128
        && name.bytes().next().is_some_and(word)
        && name
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'-' | b'.' | b'_'));
    if valid {
        Ok(())
    } else {
        Err(format!(
            "the name {} is not valid: write lower-case letters, digits, - . and _, beginning with a letter or digit, at most 128",
            shown(name)
        ))
    }
}

/// A rule that waits for events its source cannot deliver loads, and never runs.
fn warn_of_deliveries(document: &Document, diagnostics: &mut Diagnostics) {
    for (name, registry) in &document.registries {
        let Some(rule) = document
            .rules
            .iter()
            .find(|rule| rule.is_on_event() && rule.source.registry == *name)
        else {
            continue;
        };
        let path = Path::of("registries").key(name).key("webhook");
        if registry.webhook.is_none() && registry.provider.cloud().is_some() {
            // The cloud brings its events to a stack deployed there, and proves where they come from.
            continue;
        }
        if registry.webhook.is_none() {
            diagnostics.warn(
                Code::WebhookMissing,
                &path,
                format!(
                    "it has no webhook secret, so its deliveries are refused and events never start the rule {:?}: add webhook, or write trigger: [] in the rule",
                    rule.name
                ),
            );
        } else if registry.webhook == Some(crate::Webhook::Anyone) {
            diagnostics.warn(
                Code::WebhookOpen,
                &path,
                "anyone with access to the address can start its rules: add a secret if the sender supports one",
            );
        }
    }
}
